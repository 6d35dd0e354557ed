"""Tasks that kill or hang their workers: set aside after some tries, seen, and sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.conftest import APP, EMBEDDED, Home
from tests.fakes import eventually

TASKS = (
    APP
    + '''
import ctypes, signal


def note(line):
    with (here / "trace").open("a") as trace:
        trace.write(f"{line}\\n")


@app.task
def kill(what):
    """Kill a process, unless that is mended."""
    note(f"kill {what}")
    if (here / "mended").exists():
        return "mended"
    if what == "crash":
        ctypes.string_at(0)
    os.kill(os.getppid() if what == "parent" else os.getpid(), signal.SIGKILL)
    time.sleep(60)


@app.task
def slow(number):
    note(f"slow {number}")
    time.sleep(0.2)
    note(f"done {number}")
'''
)

FLEET = """
name: {name}
app: shop
{broker}
queues: {{{queue}: }}
celery: {{task_acks_late: true, task_reject_on_worker_lost: true}}
pools:
  web: {{queues: [{queue}], pool: {pool}, concurrency: {concurrency}, restart: {{backoff: 10ms, max_backoff: 50ms}}}}
"""


def failed(home: Home) -> list[dict[str, Any]]:
    found = json.loads(home.run("failed", "--json").stdout)
    assert found["schema_version"] == 1
    return list(found["tasks"])


def up(home: Home, where: dict[str, str], pool: str = "prefork", concurrency: int = 1) -> Home:
    return home.write(FLEET.format(**where, pool=pool, concurrency=concurrency), TASKS).up()


@pytest.mark.parametrize(
    ("broker", "pool", "what"),
    [
        ("embedded", "prefork", "self"),
        ("embedded", "prefork", "parent"),
        ("embedded", "solo", "crash"),
        ("embedded", "threads", "self"),
        ("rabbit", "prefork", "self"),
        ("rabbit", "solo", "crash"),
    ],
    indirect=["broker"],
)
def test_a_task_that_kills_its_process_again_and_again_is_set_aside_and_can_be_retried(
    broker: dict[str, str], home: Home, pool: str, what: str
) -> None:
    up(home, broker, pool)
    poison = home.post("kill", what)
    home.post("slow", "1")
    eventually(lambda: f"parked shop.kill[{poison}]" in home.log("web-1"))
    (told,) = eventually(lambda: failed(home))
    assert (told["id"], told["task"], told["queue"]) == (poison, "shop.kill", broker["queue"])
    assert told["worker"] == "web-1"
    assert "3 times" in told["error"]
    assert home.trace().count(f"kill {what}") == 3
    eventually(lambda: "done 1" in home.trace())
    eventually(home.ready)
    parked = f"{broker['name']}.failed"
    assert [queue["ready"] for queue in home.status()["queues"] if queue["name"] == parked] == [1]
    assert "celeryfleet failed" in home.run("status").stdout
    assert poison in home.run("failed", "--since", "1h", "--task", "shop.*").stdout
    assert home.run("retry", "nobody", check=False).returncode == 1
    (home.path / "mended").touch()
    assert home.run("retry", poison).stderr == "1 task is sent again.\n"
    eventually(lambda: home.trace().count(f"kill {what}") == 4)
    assert failed(home) == []


def test_those_that_ran_beside_it_are_not_taken_for_it(home: Home) -> None:
    up(home, EMBEDDED, "threads", 4)
    calls = [{"task": "slow", "args": [number]} for number in range(12)]
    calls.insert(3, {"task": "kill", "args": ["self"]})
    (home.path / "calls.jsonl").write_text("".join(f"{json.dumps(call)}\n" for call in calls))
    home.run("send", "slow", "--from", "calls.jsonl", "--no-wait")
    eventually(lambda: {f"done {number}" for number in range(12)} <= set(home.trace()))
    (told,) = eventually(lambda: failed(home))
    assert told["task"] == "shop.kill"
    assert home.log().count("shop.slow") >= 3, "they ran beside it"


def test_a_task_that_is_stopped_cold_again_and_again_is_not_to_blame(home: Home) -> None:
    fleet = FLEET.format(**EMBEDDED, pool="prefork", concurrency=1)
    home.write(fleet.replace("restart:", "park_after: 1, restart:"), TASKS).up()
    home.run("send", "until", "flag", "--no-wait")
    for number in range(2):
        eventually(lambda number=number: home.trace().count("start flag") == number + 1)  # type: ignore[misc]
        home.run("down", "--cold")
        home.run("up", "-d", "--wait")
    (home.path / "flag").touch()
    eventually(lambda: "end flag" in home.trace())
    assert failed(home) == []


def test_a_caller_is_told_that_a_task_was_set_aside(home: Home) -> None:
    up(home, EMBEDDED)
    done = home.run("send", "kill", "self", "--timeout", "40", check=False)
    assert done.returncode == 1
    assert "parked" in done.stderr


def test_what_is_acknowledged_early_does_not_come_back_and_is_not_set_aside(home: Home) -> None:
    fleet = FLEET.format(name="shop", broker="", queue="default", pool="prefork", concurrency=1)
    home.write(fleet.replace("task_acks_late: true", "task_acks_late: false"), TASKS).up()
    done = home.run("send", "kill", "self", "--timeout", "40", check=False)
    assert "WorkerLostError" in done.stderr
    assert home.send("add", "1", "1") == 2
    assert home.trace() == ["kill self"]
    assert ["parked" in told["error"] for told in failed(home)] == [False]


def test_what_was_compressed_can_be_set_aside_and_sent_again(home: Home) -> None:
    fleet = FLEET.format(name="shop", broker="", queue="default", pool="prefork", concurrency=1)
    fleet = fleet.replace("task_acks_late", "task_compression: zlib, task_acks_late").replace(
        "restart:", "park_after: 1, restart:"
    )
    home.write(fleet, TASKS).up()
    poison = home.post("kill", "self")
    eventually(lambda: failed(home))
    (home.path / "mended").touch()
    home.run("retry", poison)
    eventually(lambda: home.trace().count("kill self") == 2)
