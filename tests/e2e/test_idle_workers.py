"""Several workers of one queue on Redis: messages go to who is idle, whoever else stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from celeryfleet.plan.broker import socket_url
from celeryfleet.redis_client import connect
from tests.e2e.conftest import APP, Home
from tests.fakes import eventually

FLEET = """
name: shop
app: shop
queues: {default: }
pools:
  web: {queues: [default], replicas: 4, concurrency: 1}
"""
PRODUCER = """
import sys, celeryfleet, shop
celeryfleet.install(shop.app)
for name in sys.argv[1:]:
    shop.until.delay(name)
"""


@pytest.fixture
def fleet(home: Home) -> Home:
    home.write(FLEET, APP).up()
    eventually(lambda: all_idle(home))
    return home


def all_idle(home: Home) -> bool:
    """Tell whether all four wait for messages."""
    (socket,) = home.path.glob(".celeryfleet/*/broker.sock")
    with connect(socket_url(str(socket))) as broker:
        waiting = broker.pipeline([("ZCARD", f"{what}:default") for what in ("watching", "sleeping")])
    return waiting == [2, 2]


def send(home: Home, *names: str) -> None:
    subprocess.run([sys.executable, "-c", PRODUCER, *names], cwd=home.path, env=home.env, check=True)


def started(home: Home, *names: str) -> bool:
    return {f"start {name}" for name in names} <= set(home.trace())


def finish(home: Home, *names: str) -> None:
    """End tasks, and wait until all workers are idle again."""
    for name in names:
        Path(home.path, name).touch()
    eventually(lambda: {f"end {name}" for name in names} <= set(home.trace()))
    eventually(lambda: all_idle(home))


def test_as_many_tasks_as_there_are_idle_workers_begin_at_once(fleet: Home) -> None:
    for turn in "abc":
        names = [f"{turn}{number}" for number in range(4)]
        send(fleet, *names)
        eventually(partial(started, fleet, *names))
        finish(fleet, *names)


def test_a_message_does_not_wait_for_workers_that_stand_still(fleet: Home) -> None:
    pids = [fleet.pid(f"web-{number}") for number in range(1, 5)]
    for left in pids:
        still = [pid for pid in pids if pid != left]
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        try:
            send(fleet, f"of-{left}")
            eventually(partial(started, fleet, f"of-{left}"), timeout=8)
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)
    finish(fleet, *[f"of-{pid}" for pid in pids])
