"""Queues in hand: looked into, moved, waited for and purged by the commands, on the embedded broker and a RabbitMQ."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from celeryfleet.text import counted
from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import ending, eventually
from tests.machine_services import rabbit as rabbit_server


@pytest.fixture(params=["embedded", "rabbit"])
def shop(request: pytest.FixtureRequest, home: Home) -> Iterator[tuple[Home, str, str]]:
    """Give a fleet whose queue of `until` is read, and another that nobody reads."""
    if request.param == "embedded":
        home.write(FLEET.replace("mail: }", "mail: , low: }")).up()
        yield home, "mail", "low"
        return
    with rabbit_server() as rabbit:
        mail, low, default = map(rabbit.name, ("mail", "low", "default"))
        fleet = FLEET.replace("mail: }", "mail: , low: }").replace("mail", mail).replace("low", low)
        fleet = fleet.replace("default", default).replace("shop\napp", f"{rabbit.fleet}\napp", 1)
        home.write(f"{fleet}broker: {rabbit.url}\nresults: none\n").up()
        yield home, mail, low
        home.run("down", "--cold")


def queue(home: Home, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(queue for queue in home.status()["queues"] if queue["name"] == name)
    return found


def pause(home: Home, name: str) -> None:
    home.run("pause", name)
    eventually(lambda: queue(home, name)["consumers"] == 0)


def peeked(home: Home, name: str) -> list[list[Any]]:
    found = json.loads(home.run("queues", "peek", name, "--json").stdout)
    assert (found["schema_version"], found["queue"]) == (1, name)
    for message in found["messages"]:
        assert list(message) == ["id", "task", "args", "kwargs", "age_s", "priority"]
    return [message["args"] for message in found["messages"]]


def test_what_waits_is_seen_and_moved_and_mistakes_are_told(shop: tuple[Home, str, str]) -> None:
    home, mail, low = shop
    pause(home, mail)
    ids = [home.post("until", name, "--force") for name in ("one", "two", "three")]
    eventually(lambda: queue(home, mail)["ready"] == 3)
    assert peeked(home, mail) == [["one"], ["two"], ["three"]]
    eventually(lambda: queue(home, mail)["ready"] == 3)
    table = home.run("queues", "peek", mail, "-n", "1").stdout
    assert "shop.until('one')" in table
    assert ids[0] in table
    assert ids[1] not in table
    eventually(lambda: queue(home, mail)["ready"] == 3)
    moved = home.run("queues", "move", mail, low, "-n", "2").stderr
    assert moved == f"moved 2 messages from {mail} to {low}.\nwarning: no pool reads {low}.\n"
    assert (
        home.run("queues", "move", mail, low, "--task", "shop.add").stderr
        == f"moved 0 messages from {mail} to {low}.\n"
    )
    eventually(lambda: (queue(home, mail)["ready"], queue(home, low)["ready"]) == (1, 2))
    assert peeked(home, low) == [["one"], ["two"]]
    for words in (["move", mail, low[:-1] + "x"], ["peek", mail + "l"], ["purge", "-y", mail + "l"]):
        done = home.run("queues", *words, check=False)
        assert done.returncode == 2, words
        assert "Did you mean" in done.stderr
    eventually(lambda: queue(home, low)["ready"] == 2)
    home.run("queues", "move", low, mail)
    home.run("resume", mail)
    for name in ("one", "two", "three"):
        (home.path / name).touch()
    eventually(lambda: home.trace().count("end two") == 1 and len(home.trace()) == 6)
    starts = [line for line in home.trace() if line.startswith("start")]
    assert starts == ["start three", "start one", "start two"]


@pytest.mark.parametrize("shop", ["rabbit"], indirect=True)
def test_a_move_that_is_interrupted_leaves_each_message_in_one_queue_and_says_how_many_went(
    shop: tuple[Home, str, str],
) -> None:
    """It stopped between a message's confirmation and its acknowledgement, and left it in both queues."""
    home, mail, low = shop
    pause(home, mail)
    home.run("send", "until", "one", "--count", "5000", "--no-wait", "--force")
    eventually(lambda: queue(home, mail)["ready"] == 5000)
    with ending(home.start("queues", "move", mail, low)) as moving:
        eventually(lambda: queue(home, low)["ready"])
        moving.send_signal(signal.SIGINT)
        said, _ = moving.communicate(timeout=60)
    assert moving.returncode == 130, said
    moved = int(said.split()[1].replace(",", ""))
    assert said == f"moved {counted(moved, 'message')} from {mail} to {low}.\n"
    eventually(lambda: (queue(home, mail)["ready"], queue(home, low)["ready"]) == (5000 - moved, moved))


def test_a_queue_is_waited_for_until_its_tasks_are_done(shop: tuple[Home, str, str]) -> None:
    home, mail, low = shop
    pause(home, mail)
    for name in ("one", "two"):
        home.post("until", name, "--force")
    eventually(lambda: queue(home, mail)["ready"] == 2)
    paused = home.run("queues", "drain", mail, check=False)
    assert paused.returncode == 3
    assert f"{mail} is paused by " in paused.stderr
    assert f"Go on: celeryfleet resume {mail}" in paused.stderr
    home.run("resume", mail)
    eventually(lambda: "start one" in home.trace())
    late = home.run("queues", "drain", mail, "--timeout", "0.3", check=False)
    assert late.returncode == 124
    assert f"2 messages of {mail} are not done." in late.stderr
    (home.path / "one").touch()
    eventually(lambda: "start two" in home.trace())
    assert queue(home, mail)["ready"] == 0, "what is running counts by itself"
    with ending(home.start("queues", "drain", mail)) as waiting:
        eventually(lambda: queue(home, mail)["ready"] == 0)
        assert waiting.poll() is None
        (home.path / "two").touch()
        said, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, said) == (0, f"{mail} is empty.\n")
    assert home.trace()[-1] == "end two"
    assert home.run("queues", "drain", low).stderr == f"{low} is empty.\n"


def test_what_was_acknowledged_before_it_ran_is_waited_for_too(home: Home) -> None:
    """The broker knows nothing more of it, so that its queue was called empty while it ran."""
    home.write(FLEET.replace("{task_acks_late: true, task_reject_on_worker_lost: true}", "{}")).up()
    home.post("until", "one")
    eventually(lambda: "start one" in home.trace())
    late = home.run("queues", "drain", "mail", "--timeout", "0.1", check=False)
    assert (late.returncode, "1 message of mail is not done." in late.stderr) == (124, True)
    (home.path / "one").touch()
    home.run("queues", "drain", "mail", "--timeout", "30")
    assert "end one" in home.trace()


def test_on_a_rabbitmq_a_worker_that_is_busy_with_another_queue_keeps_no_queue_from_being_empty(home: Home) -> None:
    with rabbit_server() as rabbit:
        mail, default = map(rabbit.name, ("mail", "default"))
        fleet = FLEET.partition("pools:")[0] + "pools:\n  web: {queues: [default, mail], concurrency: 2}\n"
        fleet = fleet.replace("mail", mail).replace("default", default).replace("shop\napp", f"{rabbit.fleet}\napp", 1)
        home.write(f"{fleet}broker: {rabbit.url}\nresults: none\n").up()
        home.post("until", "one")
        eventually(lambda: "start one" in home.trace())
        home.post("add", "1", "1")
        assert home.run("queues", "drain", default, "--timeout", "30").stderr == f"{default} is empty.\n"
        assert home.run("queues", "drain", mail, "--timeout", "0", check=False).returncode == 124
        home.run("down", "--cold")


def answered(home: Home, answer: str, *words: str) -> tuple[int, str]:
    """Run a command on a terminal, where its question is answered; return its exit code and what it wrote."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "celeryfleet", *words]
    started = subprocess.Popen(argv, cwd=home.path, stdin=slave, stdout=slave, stderr=slave, env=home.env)
    with ending(started) as process:
        os.close(slave)
        seen = b""
        try:
            while part := os.read(master, 65536):
                seen += part
                if part.rstrip().endswith(b"[y/N]:"):
                    os.write(master, answer.encode())
        except OSError:  # how Linux says that the other side has closed
            pass
        code = process.wait(60)
    os.close(master)
    return code, seen.decode()


def test_a_purge_asks_on_a_terminal_and_is_refused_where_nobody_can_be_asked(home: Home) -> None:
    home.write().up()
    pause(home, "mail")
    home.post("until", "one")
    home.post("until", "two")
    refused = home.run("queues", "purge", "mail", check=False)
    assert refused.returncode == 2
    assert "this would drop 2 messages of mail" in refused.stderr
    code, said = answered(home, "n\n", "queues", "purge", "mail")
    assert code == 130
    assert "Drop 2 messages of mail?" in said
    assert queue(home, "mail")["ready"] == 2
    code, said = answered(home, "y\n", "queues", "purge", "mail", "default")
    assert (code, "dropped 2 messages." in said) == (0, True)
    assert queue(home, "mail")["ready"] == 0


def test_parked_tasks_are_told_among_the_dead_letters(home: Home) -> None:
    app = APP + "\nimport signal\n\n@app.task\ndef die():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    home.write(FLEET.replace("stop_grace_period: 30s}", "park_after: 1}", 1), app).up()
    assert json.loads(home.run("queues", "dead", "--json").stdout) == {
        "schema_version": 1,
        "queues": [{"name": "shop.failed", "ready": 0, "from": ["default", "mail"], "reasons": None}],
    }
    home.post("die")
    eventually(lambda: [one["name"] for one in home.status()["queues"]][-1] == "shop.failed")
    said = home.run("queues", "dead").stdout
    assert "1 parked" in said
    assert "Back: celeryfleet retry --all" in said
