"""What is said of words that no command takes."""

from __future__ import annotations

import pytest

from celeryfleet.cli.main import run
from celeryfleet.errors import Exit, FleetError


@pytest.mark.parametrize("command", ["why", "result", "revoke", "retry"])
def test_the_id_of_a_variable_that_was_never_set_is_refused(command: str) -> None:
    """`why ''` and `result ''` showed a traceback, `revoke ''` said that one task was revoked."""
    with pytest.raises(FleetError, match="the id is empty"):
        run([command, ""])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("snd add", 'there is no command "celeryfleet snd". Did you mean "send"?'),
        ("queues purg", 'there is no command "celeryfleet queues purg". Did you mean "purge"?'),
        ("zzzzzz", 'there is no command "celeryfleet zzzzzz". `celeryfleet -h` lists them.'),
        ("send --qeue x", 'celeryfleet send has no option --qeue. Did you mean "--queue"?'),
        ("status --zzz", "celeryfleet status has no option --zzz. `celeryfleet status -h` lists its options."),
        (
            "status -f x",
            "celeryfleet status has no option -f. It stands before the command: celeryfleet -f … status",
        ),
        ("--profil x status", 'celeryfleet has no option --profil. Did you mean "--profile"?'),
        ("init dmo", 'there is no template "dmo". Did you mean "demo"?'),
        ("init zzz", 'there is no template "zzz". The templates are demo, priorities, app and django.'),
        ("config --format pyton", 'there is no format "pyton". Did you mean "python"?'),
        ("graph --format mermiad", 'there is no format "mermiad". Did you mean "mermaid"?'),
        ("import composee x", 'there is no format "composee". Did you mean "compose"?'),
        ("check --format jsn", 'there is no format "jsn". Did you mean "json"?'),
        ("check --explain queue-unraed", 'there is no finding "queue-unraed". Did you mean "queue-unread"?'),
    ],
)
def test_an_unknown_word_is_told_with_a_guess(words: str, said: str) -> None:
    with pytest.raises(FleetError) as caught:
        run(words.split())
    assert str(caught.value) == said
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("command", ["logs", "reload", "down", "why x --stack"])
def test_what_is_of_this_host_alone_says_so_when_it_is_asked_of_another(command: str) -> None:
    """It was said that there is no option --host."""
    with pytest.raises(FleetError) as caught:
        run([*command.split(), "--host", "b"])
    hint = "Run it on that host. `up`, `scale` and `restart` take --host; `status --all` shows all hosts."
    assert str(caught.value) == f"not supported: celeryfleet {command.split()[0]} with --host. {hint}"
    assert caught.value.code is Exit.USAGE


def test_a_word_that_is_missing_or_of_the_wrong_kind_is_told_with_the_usage() -> None:
    for words, said in (
        ("result", "celeryfleet result: Missing argument"),
        ("down -t -5", "celeryfleet down: Invalid"),
    ):
        with pytest.raises(FleetError) as caught:
            run(words.split())
        assert str(caught.value).startswith(said)
        assert "Usage: celeryfleet " in str(caught.value)


def test_no_word_at_all_is_a_question_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == Exit.OK
    assert "Usage: celeryfleet" in capsys.readouterr().out
