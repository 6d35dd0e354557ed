"""Two hosts of one fleet.yaml, one beat, and queues that are paused on both: a folder and a name each, one Redis."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from celeryfleet.plan.broker import socket_url
from tests.e2e.conftest import Home, home_of
from tests.fakes import eventually
from tests.servers import redis_server

FLEET = """
name: shop
app: shop
broker: {broker}
hosts: {{a: [beat], b: [web, beat]}}
queues: {{default: , mail: }}
pools: {{web: {{queues: [default, mail]}}}}
beat: {{schedule: {{tick: {{task: shop.note, every: 200ms}}}}, lease: 3s}}
"""
#: each host notes what its own beat has sent, which it says in the task's `origin`
APP = """
import pathlib
from celery import Celery

app = Celery("shop")
app.conf.task_ignore_result = True


@app.task(bind=True)
def note(self):
    with pathlib.Path("{trace}").open("a") as trace:
        trace.write(self.request.origin + "\\n")
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Home, Home]]:
    with redis_server() as server, home_of("a") as a, home_of("b") as b:
        for home in (a, b):
            home.write(FLEET.format(broker=socket_url(str(server))), APP.format(trace=a.path / "trace"))
        yield a, b


def sends(home: Home, origin: int) -> None:
    """Wait until the beat of this pid has sent something more."""
    seen = len(home.trace())
    eventually(lambda: any(f"gen{origin}@" in line for line in home.trace()[seen:]))


def test_beat_runs_on_one_host_and_another_takes_over_and_pauses_are_for_all(hosts: tuple[Home, Home]) -> None:
    a, b = hosts
    b.up("web")
    first = a.up().pid("beat-1")
    sends(a, first)
    second = b.up().pid("beat-1")
    eventually(lambda: b.worker("beat-1")["state"] == "standby")
    assert b.status()["state"] == "ready"
    assert "beat runs on host a" in b.run("status").stdout
    a.run("pause", "mail")
    eventually(lambda: re.search(r"Paused queues: mail \(by .+ on a\)", b.run("status").stdout))
    assert re.search(r"mail has been paused for \d+s, by .+ on a", b.run("why", "mail").stdout)
    b.run("resume", "--here", "mail")
    assert "Paused" in a.run("status").stdout
    b.run("resume")  # whatever is paused on any host
    eventually(lambda: "Paused" not in a.run("status").stdout)
    os.kill(first, signal.SIGKILL)  # its supervisor has another, which need not wait
    eventually(lambda: a.pid("beat-1") != first)
    third = a.pid("beat-1")
    sends(a, third)
    supervisor = a.status()["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGSTOP)  # beat does not need it
    sends(a, third)
    os.kill(supervisor, signal.SIGKILL)  # but goes with it
    sends(a, second)
    origins = [line.split("@")[0] for line in a.trace()]
    assert origins == sorted(origins, key=[f"gen{pid}" for pid in (first, third, second)].index)
