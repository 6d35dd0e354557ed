"""Sending by the hundred and with every option, through the command line and a real fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.e2e.conftest import APP, Home
from tests.fakes import eventually

TOLD = '''

@app.task(bind=True)
def told(self, *args):
    """Return what the message says besides the arguments."""
    request = self.request
    return {"tenant": request.get("tenant"), "eta": request.eta, "expires": request.expires, "args": list(args)}
'''


def waiting(home: Home) -> dict[str, int]:
    return {queue["name"]: queue["ready"] for queue in home.status()["queues"]}


def written(home: Home, *lines: object, name: str = "tasks.jsonl") -> str:
    """Write a file of JSON lines; a text stands as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (home.path / name).write_text("".join(f"{text}\n" for text in texts))
    return name


@pytest.fixture
def unread(home: Home) -> Home:
    """Give a fleet whose workers are all down, so that what is sent stays."""
    return home.write(app=APP + TOLD).up("--scale", "web=0", "--scale", "mail=0")


def test_many_and_single_tasks_of_all_kinds_are_run(home: Home) -> None:
    home.write(app=APP + TOLD).up()
    done = json.loads(home.run("send", "add", "4", "4", "--count", "300", "--no-wait", "--json").stdout)
    assert list(done) == ["schema_version", "sent", "seconds", "per_second"]
    assert (done["schema_version"], done["sent"]) == (1, 300)
    file = written(home, {"args": [1, 2]}, "", {"task": "told", "kwargs": {}}, {"args": [1], "kwargs": {"b": 2}})
    told = home.run("send", "add", "--from", file)
    assert told.stdout.startswith("sent 3 tasks in ")
    assert told.stdout.endswith(" to default\n")
    assert told.stderr == "", "no bar where there is no terminal"
    eventually(lambda: home.worker("web-1")["processed"] == 303)
    assert home.worker("web-1")["failed"] == 0


def test_headers_eta_and_expires_reach_the_task(home: Home) -> None:
    home.write(app=APP + TOLD).up()
    told = home.send("told", "a", "--header", "tenant=acme", "--expires", "60", "--countdown", "0.2")
    assert (told["tenant"], told["args"]) == ("acme", ["a"])
    assert told["eta"] < told["expires"]
    options = ["--header", "tenant=acme", "--expires", "60", "--countdown", "0.2", "--json"]
    expression = "group(told.s(), chain(told.si(1), told.si(2).set(headers={'own': 1})))"
    first, second = json.loads(home.run("canvas", expression, *options).stdout)["result"]
    assert (first["tenant"], second["tenant"]) == ("acme", "acme")
    assert first["eta"] is not None
    assert second["eta"] is None, "only the first step of a chain waits"
    assert first["expires"] == second["expires"], "one moment for all steps"
    late = home.run("canvas", "told.s() | told.s()", "--eta", "2020-01-01T00:00:00", "--expires", "0", check=False)
    assert late.returncode == 1
    assert "expired" in late.stderr


def test_lines_come_from_a_file_from_stdin_or_from_a_pipe(unread: Home) -> None:
    file = written(unread, *({"args": [n, n], "queue": "mail" if n % 3 else "default"} for n in range(1500)))
    text = (unread.path / file).read_bytes()
    words = [sys.executable, "-m", "celeryfleet", "send", "add", "--force", "--json", "--from"]
    for source in (file, "-", "/dev/stdin"):
        done = subprocess.run(
            [*words, source], cwd=unread.path, env=unread.env, input=text, capture_output=True, check=True
        )
        assert json.loads(done.stdout)["sent"] == 1500, source
    assert waiting(unread) == {"default": 1500, "mail": 3000}


def test_all_wrong_lines_are_told_at_once_and_nothing_is_sent(unread: Home) -> None:
    file = written(
        unread,
        {"args": [1, 2]},
        '{"args": [1, 2]',
        [1],
        {"arg": [1]},
        {"args": 3},
        {"task": "ad"},
        {"args": [1, 2], "queue": "mial"},
        {"args": [1]},
        {"args": [1, 2], "priority": 11},
        {"args": [1, 2], "eta": "tomorrow"},
        {"args": [1, 2], "countdown": True},
        {"args": [1, 2], "headers": {"id": "x"}},
        {"args": [1, 2], "eta": "2030-01-01T00:00:00", "countdown": 3},
    )
    done = unread.run("send", "add", "--from", file, check=False)
    assert done.returncode == 2
    missing = "add() missing 1 required positional argument: 'b'"
    problems = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert problems == [
        "error: tasks.jsonl:2: this is no JSON: Expecting ',' delimiter (column 16).",
        "error: tasks.jsonl:3: this is a list.",
        'error: tasks.jsonl:4: There is no "arg".',
        'error: tasks.jsonl:5: "args" is a list such as [4, 4], not int.',
        'error: tasks.jsonl:6: No task is called "ad".',
        'error: tasks.jsonl:7: the queue "mial" is unknown.',
        f"error: tasks.jsonl:8: shop.add cannot take these arguments: {missing}.",
        "error: tasks.jsonl:9: A priority is a whole number from 0 to 9, and 9 runs first.",
        'error: tasks.jsonl:10: eta is no time: "tomorrow".',
        "error: tasks.jsonl:11: countdown is a number of seconds, not True.",
        'error: tasks.jsonl:12: The header "id" is one of Celery\'s own.',
        'error: tasks.jsonl:13: "countdown" and "eta" exclude each other.',
        "error: nothing was sent.",
    ]
    for guess in ('Did you mean "args"?', 'Did you mean "add"?', 'Did you mean "mail"?'):
        assert guess in done.stderr
    many = unread.run("send", "add", "--from", written(unread, *["x"] * 50), check=False)
    assert "tasks.jsonl: 30 more lines are wrong." in many.stderr
    assert waiting(unread) == {"default": 0, "mail": 0}


def test_what_nobody_reads_is_refused_once_for_each_task_and_queue(home: Home) -> None:
    home.write().up("--scale", "mail=0")
    lines = [{"args": [1, 2]}, *({"args": [1, 2], "queue": "mail"} for _ in range(9)), {"task": "until", "args": ["x"]}]
    done = home.run("send", "add", "--from", written(home, *lines), check=False)
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if "error" in line] == [
        "error: shop.add would go to the queue mail, which no worker reads now.",
        "error: shop.until would go to the queue mail, which no worker reads now.",
    ]
    counted = home.run("send", "add", "1", "2", "--count", "5", "--no-wait", "--queue", "mail", check=False)
    assert counted.returncode == 3
    assert sum(waiting(home).values()) == 0


REFUSED = [
    (["add", "--from", "nowhere.jsonl"], "nowhere.jsonl cannot be read: No such file or directory."),
    (["add", "3", "--from", "tasks.jsonl"], "ARG does not go together with --from."),
    (["add", "--count", "3", "--from", "tasks.jsonl"], "--count does not go together with --from."),
    (["--from", "tasks.jsonl"], "no task is named."),
    (["add", "1", "2", "--count", "3"], "--count needs --no-wait"),
    (["add", "1", "--count", "3", "--no-wait", "--force"], "It is called as add(a, b)."),
    (["add", "1", "2", "--queue", "mial", "--count", "3", "--no-wait", "--force"], 'Did you mean "mail"?'),
    (["add", "1", "2", "--countdown", "3", "--eta", "2030-01-01"], "--countdown and --eta exclude each other."),
    (["add", "1", "2", "--header", "tenant"], '--header: "tenant" is no header.'),
    (["add", "1", "2", "--header", "root_id=1"], 'The header "root_id" is one of Celery\'s own.'),
    (["add", "--from", "tasks.jsonl", "--queue", "mial"], 'the queue "mial" is unknown.'),
]


def test_words_that_make_no_sense_are_refused(unread: Home) -> None:
    written(unread, {"args": [1, 2]})
    for words, said in REFUSED:
        done = unread.run("send", *words, check=False)
        assert done.returncode == 2, words
        assert said in done.stderr
    assert sum(waiting(unread).values()) == 0


def test_priority_and_routes_hold_for_many_as_for_one(unread: Home) -> None:
    unread.run("send", "until", "x", "--count", "3", "--no-wait", "--force", "--priority", "9")
    unread.run("send", "add", "1", "2", "--count", "2", "--no-wait", "--force", "--priority", "2", "--queue", "mail")
    from celeryfleet.redis_client import connect

    with connect(f"redis+socket://{unread.path}/.celeryfleet/shop/broker.sock") as broker:
        assert (broker.call("LLEN", "mail"), broker.call("LLEN", "mail\x06\x167")) == (3, 2)


def started(home: Home, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "celeryfleet", *words],
        cwd=home.path,
        env=home.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_says_how_many_were_sent_and_how_to_go_on(unread: Home) -> None:
    lines = 150_000
    (unread.path / "tasks.jsonl").write_text('{"args": [1, 2]}\n' * lines)
    process = started(unread, "send", "add", "--from", "tasks.jsonl", "--force")
    eventually(lambda: waiting(unread)["default"] > 0)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    sent = waiting(unread)["default"]
    assert 0 < sent < lines
    assert said.startswith(f"interrupted: {sent:,} of 150,000 tasks are sent. Go on from line {sent + 1}: tail -n +")
    assert "Traceback" not in said


def test_a_broker_that_dies_in_the_middle_ends_it_with_69_and_how_to_go_on(unread: Home) -> None:
    (unread.path / "tasks.jsonl").write_text('{"args": [1, 2]}\n' * 150_000)
    process = started(unread, "send", "add", "--from", "tasks.jsonl", "--force")
    eventually(lambda: waiting(unread)["default"] > 0)
    pids = [pid for pid, command in unread.processes().items() if "valkey-server" in command or "redis" in command]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 69, said
    assert "it was lost: " in said
    assert "of the items are surely sent" in said
    assert "Go on from line " in said
    assert "Traceback" not in said


def test_bulk_works_in_a_producer_that_has_installed_the_fleet(unread: Home) -> None:
    code = """
import celeryfleet, itertools, json, shop
celeryfleet.install(shop.app)
done = celeryfleet.bulk(shop.app, shop.until, itertools.repeat(("x",), 700), priority=9)
print(json.dumps([done.sent, dict(done.queues), done.reason, done.ids[0]]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=unread.path, env=unread.env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sent, queues, reason, first = json.loads(done.stdout)
    assert (sent, queues, reason) == (700, {"mail": 700}, "")
    assert waiting(unread)["mail"] == 700
    assert unread.run("result", first, check=False).returncode == 124


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'celery', 'kombu', 'redis', 'typing'}"
    code = f"import sys, celeryfleet; celeryfleet.bulk; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
