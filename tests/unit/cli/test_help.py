"""What `--help` of each command shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from celeryfleet.cli.main import app, run


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    if path:
        yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from paths(below, (*path, name))


COMMANDS = list(paths(typer.main.get_command(app)))


def called(example: str) -> Iterator[list[str]]:
    """Yield the words of each celeryfleet that a shell line calls."""
    words = shlex.shlex(example, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    call: list[str] = []
    for word in [*words, "|"]:
        if set(word) <= set("();<>|&"):
            if call[:1] == ["celeryfleet"]:
                yield call[1:]
            call = []
        else:
            call.append(word)


def without_effect(command: Any) -> Any:
    """Return a command that does no more than reading its words, and so those below it."""
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        without_effect(below)
    return command


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_no_noise_and_ends_with_examples_that_can_be_run(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run([*path, "--help"])
    shown = capsys.readouterr().out
    assert not re.findall(r"<(?:bool|str|list|int|float|path)\b[^>]*>", shown)
    lines = [line.strip() for line in shown.strip().splitlines()]
    assert "Examples:" in lines, "there are none"
    examples = lines[lines.index("Examples:") + 1 :]
    assert examples
    for example in examples:
        calls = list(called(example))
        assert calls, example
        for words in calls:
            without_effect(typer.main.get_command(app)).main(words, prog_name="celeryfleet", standalone_mode=False)
