"""`check` as a person, a script and a pull request see it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.cli import launch
from celeryfleet.cli.session import Session
from celeryfleet.client.broker import opened
from celeryfleet.client.conflicts import found_on
from celeryfleet.routing.queue import Queue
from tests.fakes import ending
from tests.machine_services import Rabbit
from tests.machine_services import rabbit as rabbit_server

APP = """
from celery import Celery

app = Celery("shop")


@app.task
def add(a, b):
    return a + b
"""
IGNORE = "# celeryfleet: ignore[CF010]"
FLEET = "name: shop\napp: shop\nqueues: {default: , low: }\npools:\n  web: {queues: [default]}\n"


def check(folder: Path, *words: str, fleet: str = FLEET, app: str = APP, before: tuple[str, ...] = ()) -> Any:
    (folder / "fleet.yaml").write_text(fleet)
    (folder / "shop.py").write_text(app)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY", "GITHUB"))}
    return subprocess.run(
        [sys.executable, "-m", "celeryfleet", *before, "check", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- For people -------------------------------------------------------------------------------------------


def test_warnings_are_results_and_what_is_said_of_them_is_not(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0
    assert "warning: fleet.yaml:3:21: no pool reads" in done.stdout
    assert "info: fleet.yaml:2:1: the app does not call celeryfleet.install" in done.stdout
    assert done.stderr == (
        "shop: 1 pool, 2 queues, 0 routes, 1 task: 1 warning, 1 note. `celeryfleet check --explain CF010` says more.\n"
    )


def test_a_warning_is_a_failure_with_strict_and_a_note_is_not(tmp_path: Path) -> None:
    assert check(tmp_path, "--strict").returncode == 1
    sound = FLEET.replace("[default]", "[default, low]").replace("pools:", "pools: # {}")
    assert check(tmp_path, "--strict", fleet=sound.replace("low]", "low], order: round_robin")).returncode == 0


def test_colour_is_for_terminals_only(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("queues: {default: , low: }\npools: {web: {queues: [default]}}\n")
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": "60"}
    environ.pop("NO_COLOR", None)
    argv = [sys.executable, "-m", "celeryfleet", "check"]
    with ending(subprocess.Popen(argv, cwd=tmp_path, stdout=theirs, stderr=theirs, env=environ)) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # the terminal's other end is closed
            pass
        process.wait(60)
    os.close(ours)
    lines = shown.decode().splitlines()
    assert lines[0] == '\x1b[33mwarning:\x1b[0m fleet.yaml:1:21: no pool reads the queue "low": its'
    assert lines[1] == "  tasks wait for ever. [CF010]"


# --- Errors -----------------------------------------------------------------------------------------------


def test_errors_of_the_file_have_codes_in_every_form(tmp_path: Path) -> None:
    wrong = FLEET.replace("[default]", "[defualt]") + "celery: {CELERY_ACKS_LATE: true}\n"
    done = check(tmp_path, fleet=wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'error: fleet.yaml:5:18: pool "web" reads the unknown queue "defualt". [CF001]' in done.stderr
    assert "  Did you mean" in done.stderr
    done = check(tmp_path, "--json", fleet=wrong)
    document = json.loads(done.stdout)
    assert (done.returncode, document["fleet"]) == (2, None)
    assert [(found["code"], found["level"], found["line"]) for found in document["findings"]] == [
        ("CF001", "error", 5),
        ("CF003", "error", 6),
    ]
    done = check(tmp_path, "--format", "github", fleet=wrong)
    assert done.returncode == 2
    assert done.stdout.startswith("::error file=fleet.yaml,line=5,col=18,title=CF001 unknown-queue::pool ")


def test_other_commands_name_the_code_too(tmp_path: Path) -> None:
    check(tmp_path, fleet=FLEET.replace("[default]", "[defualt]"))
    done = subprocess.run(
        [sys.executable, "-m", "celeryfleet", "config"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 'reads the unknown queue "defualt". [CF001]' in done.stderr


def test_an_app_that_fails_to_import_is_an_error_beside_what_can_be_said_without_it(tmp_path: Path) -> None:
    done = check(tmp_path, app="1 / 0\n")
    assert done.returncode == 2
    assert 'error: fleet.yaml:2:1: the app "shop" fails to import at shop.py:1: ZeroDivisionError' in done.stderr
    assert 'shop.py", line 1' in done.stderr
    assert "no pool reads" in done.stdout
    assert "install" not in done.stdout, "of an app that nobody knows nothing is said"


def test_a_missing_file_is_an_error_in_the_document(tmp_path: Path) -> None:
    done = check(tmp_path, "--json", before=("-f", "nowhere.yaml"))
    assert done.returncode == 2
    assert json.loads(done.stdout)["counts"] == {"error": 1, "warning": 0, "info": 0}


# --- For scripts and pull requests ------------------------------------------------------------------------


def test_the_document_says_all_there_is_to_a_finding(tmp_path: Path) -> None:
    document = json.loads(check(tmp_path, "--json").stdout)
    assert list(document) == ["schema_version", "fleet", "findings", "ignored", "counts"]
    assert document["findings"][0] == {
        "code": "CF010",
        "name": "queue-unread",
        "level": "warning",
        "where": "fleet.yaml:3:21",
        "file": "fleet.yaml",
        "line": 3,
        "column": 21,
        "what": 'no pool reads the queue "low": its tasks wait for ever.',
        "hint": "Add it to the `queues` of a pool, or remove it.",
        "page": "docs/checks/CF010.md",
    }


def test_two_forms_at_once_are_refused(tmp_path: Path) -> None:
    assert check(tmp_path, "--json", "--format", "github").returncode == 2
    assert check(tmp_path, "--json", "--format", "json").returncode == 0


# --- Silence ----------------------------------------------------------------------------------------------


def test_a_comment_silences_a_warning(tmp_path: Path) -> None:
    fleet = FLEET.replace("{default: , low: }", f"\n  default:\n  low:  {IGNORE} read by hand")
    done = check(tmp_path, "--strict", fleet=fleet)
    assert done.returncode == 0
    assert "no pool reads" not in done.stdout
    assert "0 warnings, 1 note, 1 ignored" in done.stderr
    document = json.loads(check(tmp_path, "--json", fleet=fleet).stdout)
    assert [found["code"] for found in document["ignored"]] == ["CF010"]


@pytest.mark.parametrize("silenced", [False, True])
def test_up_warns_of_what_no_comment_silences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], silenced: bool
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET.replace("low: }", f"low: }}  {IGNORE}" if silenced else "low: }"))
    session = Session(path)
    launch.warn(session, session.plan)
    said = capsys.readouterr().err
    assert ("no pool reads" in said) is not silenced
    assert said.endswith("[CF010]\n") or silenced


def test_a_comment_in_the_override_counts_there(tmp_path: Path) -> None:
    (tmp_path / "fleet.override.yaml").write_text("queues:\n  more:  # celeryfleet: ignore[queue-unread]\n")
    done = check(tmp_path, fleet=FLEET.replace(", low: ", ""))
    assert "0 warnings, 1 note, 1 ignored" in done.stderr
    (tmp_path / "fleet.override.yaml").write_text("queues:\n  more:\nname: x  # celeryfleet: ignore[CF010]\n")
    done = check(tmp_path, fleet=FLEET.replace(", low: ", ""))
    assert "fleet.override.yaml:3:10: nothing is found here" in done.stdout


# --- Pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["CF010", "cf010", "queue-unread"])
def test_a_page_is_printed_by_its_code_or_name_without_any_fleet(tmp_path: Path, word: str) -> None:
    done = check(tmp_path, "--explain", word, fleet="nonsense: [\n")
    assert done.returncode == 0
    assert done.stdout.startswith("# CF010 queue-unread\n")


def test_a_page_that_there_is_not_is_guessed(tmp_path: Path) -> None:
    done = check(tmp_path, "--explain", "queue-unraed")
    assert done.returncode == 2
    assert 'Did you mean "queue-unread"?' in done.stderr


# --- The broker -------------------------------------------------------------------------------------------


def test_a_broker_that_is_down_is_mentioned_once_and_no_failure(tmp_path: Path) -> None:
    done = check(tmp_path, fleet=FLEET + "broker: redis://:${PW:-}@127.0.0.1:1/0\n")
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert first == (
        "the broker redis://:${PW}@127.0.0.1:1/0 was not asked for its limits: "
        "nothing listens there (connection refused)."
    )
    assert second.startswith("shop: 1 pool")


# --- What a RabbitMQ has ----------------------------------------------------------------------------------


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    with rabbit_server() as found:
        yield found


def declared(rabbit: Rabbit, *queues: Queue) -> None:
    with opened(rabbit.url) as connection:
        assert found_on(connection, queues, declare=True) == []


def test_what_rabbitmq_has_otherwise_is_an_error_with_all_that_differs(tmp_path: Path, rabbit: Rabbit) -> None:
    video, events = rabbit.name("video"), rabbit.name("events")
    declared(
        rabbit,
        Queue(video, video, "direct", video, {"x-max-priority": 5}),
        Queue(rabbit.name("log"), events, "fanout"),
    )
    fleet = (
        f"name: shop\napp: shop\nbroker: {rabbit.url}\nqueues:\n  {video}:\n    max_priority: 9\n    max_length: 7\n"
        f"  {rabbit.name('new')}:\n    exchange: {{name: {events}, type: topic}}\n"
        f"default_queue: {video}\npools:\n  web: {{queues: [{video}, {rabbit.name('new')}]}}\n"
    )
    done = check(tmp_path, fleet=fleet)
    assert done.returncode == 2
    first, second = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert f'the queue "{video}" is on the broker with' in first
    assert "max_priority 5 (fleet.yaml: 9)" in first
    assert "without max_length (fleet.yaml: 7)" in first
    assert first.endswith("[CF045]")
    said = f'the exchange "{events}" is on the broker with type fanout (fleet.yaml: topic). [CF045]'
    assert second == f"error: fleet.yaml:9:{fleet.splitlines()[8].index('type:') + 1}: {said}"
    assert f"rabbitmqctl delete_queue {video} --if-empty" in done.stderr
    with opened(rabbit.url) as connection, pytest.raises(connection.channel_errors, match="NOT_FOUND"):
        connection.channel().queue_declare(rabbit.name("new"), passive=True)


def test_what_rabbitmq_has_as_it_is_written_is_no_finding(tmp_path: Path, rabbit: Rabbit) -> None:
    name = rabbit.name("video")
    declared(rabbit, Queue(name, name, "direct", name, {"x-max-priority": 5}))
    queues = f"queues: {{{name}: {{max_priority: 5}}}}\npools: {{web: {{queues: [{name}]}}}}\n"
    done = check(tmp_path, fleet=f"name: shop\napp: shop\nbroker: {rabbit.url}\n{queues}")
    assert (done.returncode, "was not asked" in done.stderr) == (0, False)


def test_a_rabbitmq_that_is_down_is_mentioned_once_and_no_failure(tmp_path: Path) -> None:
    done = check(tmp_path, fleet=FLEET + "broker: amqp://u:${PW:-}@127.0.0.1:1//\n")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "the broker amqp://u:${PW}@127.0.0.1:1// was not asked for its queues: 127.0.0.1:1: Connection refused."
    )


# --- What commands would refuse ---------------------------------------------------------------------------


def test_a_broker_that_kombu_has_no_transport_for_ends_every_command(tmp_path: Path) -> None:
    done = check(tmp_path, fleet=FLEET + "broker: foo://h\n")
    assert done.returncode == 2
    assert 'fleet.yaml:6:9: broker is an URL of the unknown kind "foo://".' in done.stderr
    for words in (("status",), ("send", "add", "1", "2"), ("up", "-d")):
        other = subprocess.run(
            [sys.executable, "-m", "celeryfleet", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert other.returncode == 2
        assert 'broker is an URL of the unknown kind "foo://".' in other.stderr
        assert "Traceback" not in other.stderr


def test_a_named_canvas_that_cannot_be_run_is_an_error_of_its_line(tmp_path: Path) -> None:
    canvases = 'canvases:\n  good: add.s(1, 2) | add.s(3)\n  typo: "add.s(1, 2) | ad.s(3)"\n  open: add.s(1, 2\n'
    done = check(tmp_path, "--json", fleet=FLEET + canvases)
    assert done.returncode == 2
    told = [(f["code"], f["line"], f["what"]) for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
    assert [(code, line) for code, line, _ in told] == [("CF072", 8), ("CF072", 9)]
    assert told[0][2].startswith('canvas "typo": No task is called "ad".')
    assert told[1][2].startswith('canvas "open": This is no expression: ')


def test_a_router_is_asked_about_every_task(tmp_path: Path) -> None:
    app = APP + "\n\ndef ghost(*_, **__):\n    return 'ghost'\n"
    done = check(tmp_path, "--strict", fleet=FLEET + "routes: [{router: shop.ghost}]\n", app=app)
    assert done.returncode == 1
    assert (
        'warning: fleet.yaml:6:11: the router shop.ghost sends "shop.add" to the unknown queue "ghost": '
        "a send fails. [CF028]"
    ) in done.stdout


def test_a_limit_for_all_tasks_of_an_app_is_said_of_its_settings(tmp_path: Path) -> None:
    app = APP.replace('Celery("shop")', 'Celery("shop")\napp.conf.task_time_limit = 50')
    done = check(tmp_path, fleet=FLEET.replace("[default]", "[default], pool: threads"), app=app)
    assert "task_time_limit of the app's settings does nothing in a threads pool." in done.stdout
    assert "in the code of" not in done.stdout
