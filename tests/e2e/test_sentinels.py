"""A fleet whose Redis is found by sentinels: what it does there is what it does on any Redis, also after a failover."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from celeryfleet.redis_client import Connection, connect
from tests.e2e.conftest import FLEET, Home
from tests.e2e.test_kills import busy, release
from tests.fakes import eventually
from tests.tls_servers import free_port, redis_with, sentinel

pytestmark = pytest.mark.slow


@dataclass
class Group:
    """A master, its replica and a sentinel."""

    master: subprocess.Popen[str]
    replica: int
    settings: dict[str, dict[str, str]]
    url: str

    def connect(self) -> Connection:
        """Connect to the master of the moment."""
        return connect(self.url, settings=self.settings)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    master, replica, port = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        leader = stack.enter_context(redis_with(tmp_path, {"port": master}))
        stack.enter_context(redis_with(tmp_path, {"port": replica, "replicaof": f"127.0.0.1 {master}"}))
        stack.enter_context(sentinel(tmp_path / "s", master, {"port": port}))
        options = {"broker_transport_options": {"master_name": "shop"}}
        found = Group(leader, replica, options, f"sentinel://127.0.0.1:1/2;sentinel://127.0.0.1:{port}/2")
        with found.connect() as connection:
            eventually(lambda: connection.call("WAIT", 1, 100) == 1)
        yield found


def fleet_on(group: Group) -> str:
    options = json.dumps(group.settings["broker_transport_options"])
    return FLEET.replace("celery: {", f"broker: {group.url}\ncelery: {{broker_transport_options: {options}, ")


def test_a_killed_worker_s_messages_come_back_and_the_queues_are_seen_and_purged(home: Home, group: Group) -> None:
    home.write(fleet_on(group)).up()
    assert home.send("add", "1", "2") == 3
    busy(home)
    assert {queue["name"]: queue["unacked"] for queue in home.status()["queues"]}["mail"] >= 1
    before = home.pid("mail-1")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["pid"] not in (None, before))
    release(home)
    done = json.loads(home.run("send", "add", "1", "2", "--count", "50", "--no-wait", "--json").stdout)
    assert done["sent"] == 50
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    home.run("pause", "default")
    home.post("add", "3", "4")
    assert "dropped 1 message" in home.run("down", "--purge").stderr


def test_tasks_go_on_through_a_failover(home: Home, group: Group) -> None:
    """kombu would end a worker whose task acknowledges by a connection that is lost."""
    home.write(fleet_on(group)).up()
    busy(home)
    pids = [home.pid("mail-1"), home.pid("web-1")]
    with group.connect() as connection:
        assert connection.call("WAIT", 1, 5000) == 1
    group.master.kill()
    release(home)
    eventually(home.ready)
    with group.connect() as connection:
        assert connection.where.endswith(f":{group.replica}")
    assert home.send("add", "1", "2") == 3
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    assert [home.pid("mail-1"), home.pid("web-1")] == pids
    each_once = [f"{verb} {name}" for verb in ("end", "start") for name in ("one", "three", "two")]
    assert sorted(home.trace()) == each_once
