"""Workers and children that hang or are stopped: found, told of with their stacks, and replaced."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.conftest import APP, Home
from tests.e2e.test_kills import children
from tests.fakes import eventually

TASKS = (
    APP
    + '''
import itertools, re


@app.task
def hold(name, seconds):
    """Hold the interpreter's lock in C, for longer and longer."""
    with (here / "trace").open("a") as trace:
        trace.write(f"hold {name}\\n")
    for length in itertools.count(16):
        began = time.monotonic()
        re.match("(a+)+$", "a" * length + "b")
        if time.monotonic() - began > seconds:
            return "held"


@app.task
def sleep_for_ever():
    time.sleep(1000)
'''
)

FLEET = """
name: shop
app: shop
queues: {{default: }}
celery: {{task_acks_late: true, task_reject_on_worker_lost: true}}
pools:
  web: {{queues: [default], pool: {pool}, park_after: {park_after}, stop_grace_period: {grace}, {more}
        restart: {{backoff: 10ms}}, healthcheck: {{heartbeat_within: 2s}}}}
"""


def up(home: Home, pool: str, grace: str = "30s", park_after: int = 3, more: str = "") -> Home:
    return home.write(FLEET.format(pool=pool, grace=grace, park_after=park_after, more=more), TASKS).up()


def test_a_worker_that_hangs_in_a_task_leaves_its_stack_in_its_log_and_the_task_is_set_aside(home: Home) -> None:
    up(home, "threads", grace="1s", park_after=1)
    poison = home.post("hold", "x", "1000")
    eventually(lambda: poison in home.run("failed").stdout)
    assert home.trace() == ["hold x"]
    worker = home.worker("web-1")
    assert worker["last_exit"]["reason"].startswith("it has been silent for ")
    assert worker["last_exit"]["signal"] == "SIGKILL"
    assert 'shop.py", line' in home.log("web-1").partition("most recent call first")[2]
    assert any("in hold" in line for line in worker["last_exit"]["log"])
    assert f"shop.hold[{poison}] ran when web-1 ended, 1 time so far" in home.log()


def test_workers_that_are_killed_for_hanging_count_as_dead_ones_and_fail_in_the_end(home: Home) -> None:
    home.write(
        FLEET.format(pool="threads", grace="0s", park_after=0, more="").replace("10ms", "10ms, max_restarts: 1"), TASKS
    ).up()
    home.post("hold", "x", "1000")
    eventually(lambda: home.worker("web-1")["state"] == "failed")
    assert "it has been silent for " in home.run("status").stdout


def test_a_call_that_holds_the_lock_for_less_than_the_silence_and_the_grace_is_not_killed(home: Home) -> None:
    up(home, "threads")
    assert home.send("hold", "x", "4") == "held"
    eventually(lambda: home.worker("web-1")["restarts"] == 1 and home.ready())
    assert home.worker("web-1")["last_exit"]["code"] == 0
    assert home.trace() == ["hold x"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_child_that_is_stopped_is_replaced_and_its_task_done(home: Home, busy: bool) -> None:
    up(home, "prefork")
    (child,) = children(home.pid("web-1"))
    if busy:
        home.post("until", "flag")
        eventually(lambda: "start flag" in home.trace())
    os.kill(child, signal.SIGSTOP)
    if not busy:
        home.post("until", "flag")
    eventually(lambda: f"child {child} has been stopped" in home.log("web-1"))
    (home.path / "flag").touch()
    eventually(lambda: "end flag" in home.trace())
    assert home.worker("web-1")["restarts"] == 0


def test_the_stack_of_a_task_whose_time_is_over_is_in_the_log(home: Home) -> None:
    up(home, "prefork", more="time_limit: 1s,")
    home.run("send", "sleep_for_ever", "--timeout", "30", check=False)
    assert "in sleep_for_ever" in home.log("web-1")
