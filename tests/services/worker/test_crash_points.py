"""Wherever a worker dies between two messages to or from Redis: its tasks are done, in their queues or unacknowledged.

A proxy kills the worker instead of passing on message n, and so on for every n until the scenario ends before.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.plan.broker import socket_url
from celeryfleet.redis_client import connect
from celeryfleet.supervise import process
from tests.fakes import eventually, forget_pools
from tests.servers import redis_server
from tests.services.worker.children import NODE, Line, fork_server, settings_of
from tests.services.worker.proxy import Proxy

APP = """
import os, pathlib
from celery import Celery

app = Celery("shop")
trace = os.open(pathlib.Path(__file__).parent / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.task(ignore_result=True)
def note(number):
    os.write(trace, b"%d\\n" % number)


@app.task(ignore_result=True, acks_late=True)
def note_late(number):
    os.write(trace, b"%d\\n" % number)
"""
CONCURRENCY = 2
EARLY, LATE = "shop.note", "shop.note_late"
NUMBERS = range(5)
#: messages that go by before a worker takes anything, at most
STARTED = 40


Script: TypeAlias = "Callable[[Scene, Line, int], Iterator[None]]"
Act: TypeAlias = Callable[[int], None]
NOTHING: Mapping[int, Act] = MappingProxyType({})


class Scene:
    """A server, and a fork server for the workers that reach it by a proxy."""

    def __init__(self, folder: Path, server: Path, task: str) -> None:
        self.trace = folder / "trace"
        self.proxy_path = folder / "proxy.sock"
        self.server = server
        self.task = task
        self.broker = connect(socket_url(str(server)))
        self.producer = Celery("producer", set_as_current=False)
        apply(self.producer, settings_of(server, "web", "mail"))
        self.sent: set[int] = set()
        self.send(NUMBERS)  # so that it is connected
        self.fork: Callable[[], tuple[Line, int]]

    def send(self, numbers: Iterable[int]) -> None:
        """Send tasks to both queues, of several priorities."""
        for number in numbers:
            self.sent.add(number)
            self.producer.send_task(self.task, (number,), queue=("web", "mail")[number % 2], priority=number % 3)

    def done(self) -> set[int]:
        """Tell which tasks were done."""
        return {int(line) for line in self.trace.read_text().split()}

    def kept(self) -> set[int]:
        """Tell which tasks are in a queue or unacknowledged."""
        found = [json.loads(entry)[0] for entry in self._items("HVALS", f"unacked:{NODE}")]
        for key in self._items("KEYS", "*"):
            if key.split(b"\x06")[0] in (b"web", b"mail"):
                found += map(json.loads, self._items("LRANGE", key.decode(), "0", "-1"))
        return {int(message["headers"]["argsrepr"].strip("(,)")) for message in found}

    def clients(self) -> int:
        """Count the connections to the server."""
        listed = self.broker.call("CLIENT", "LIST")
        assert isinstance(listed, bytes)
        return listed.count(b"\n")

    def _items(self, *command: str) -> list[bytes]:
        reply = self.broker.call(*command)
        assert isinstance(reply, list)
        return [item for item in reply if isinstance(item, bytes)]


@pytest.fixture(params=[LATE], ids=["late"])
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    (tmp_path / "shop.py").write_text(APP)
    with redis_server() as server:
        scene = Scene(tmp_path, server, request.param)
        settings = settings_of(scene.proxy_path, "web", "mail", worker_prefetch_multiplier=2)
        with fork_server(tmp_path, settings, concurrency=CONCURRENCY) as scene.fork:
            yield scene
        scene.broker.close()
        forget_pools(scene.producer)


def busy(scene: Scene, line: Line, pid: int) -> Iterator[None]:
    """Do what was there before the worker."""
    while scene.done() != set(NUMBERS) or scene.kept():
        yield


def idle(scene: Scene, line: Line, pid: int) -> Iterator[None]:
    """Do one by one."""
    for number in NUMBERS:
        while not scene.done().issuperset(range(number)) or scene.kept():
            yield
        scene.send([number])
    yield from busy(scene, line, pid)


def stopping(scene: Scene, line: Line, pid: int) -> Iterator[None]:
    """Stop while there is more to do."""
    while not scene.done():
        yield
    process.tell(pid, signal.SIGTERM)
    while alive(pid):
        yield


def run(scene: Scene, script: Script, at: Mapping[int, Act]) -> int:
    """Play a scene in which things happen at some messages; return how many messages were seen."""
    scene.broker.call("FLUSHALL")
    scene.trace.write_text("")
    scene.sent.clear()
    if script is not idle:
        scene.send(NUMBERS)
    before = scene.clients()
    proxy = Proxy(scene.proxy_path, scene.server)
    try:
        line, pid = scene.fork()
        proxy.at = {number: partial(act, pid) for number, act in at.items()}
        with line.socket:
            played = script(scene, line, pid)
            eventually(lambda: not alive(pid) or next(played, "played") == "played", pause=0.002)
            process.tell(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    finally:
        proxy.close()
        scene.proxy_path.unlink()
    eventually(lambda: scene.clients() <= before, pause=0.002)  # the server has done all that it was asked
    return proxy.seen


@pytest.mark.parametrize("scene", [EARLY, LATE], indirect=True, ids=["early", "late"])
def test_no_message_is_lost_wherever_a_busy_worker_dies(scene: Scene) -> None:
    # A worker starts alike, however its tasks are acknowledged.
    assert kill_everywhere(scene, busy, STARTED if scene.task == EARLY else 0) > 80


def test_no_message_is_lost_wherever_an_idle_worker_dies(scene: Scene) -> None:
    assert kill_everywhere(scene, idle, STARTED) > 70


def test_no_message_is_lost_wherever_a_stopping_worker_dies(scene: Scene) -> None:
    assert kill_everywhere(scene, stopping, STARTED) > 70


def test_no_message_is_lost_wherever_a_worker_dies_that_has_lost_its_connections(scene: Scene) -> None:
    assert kill_everywhere(scene, busy, 70, {70: leave}) > 120


def kill_everywhere(scene: Scene, script: Script, after: int = 0, at: Mapping[int, Act] = NOTHING) -> int:
    """Play a scene with a kill at each message after that one, until it ends before; return the last number."""
    seen = number = after
    while seen >= number:
        number += 1
        seen = run(scene, script, {**at, number: kill})
        lacking = scene.sent - scene.done() - scene.kept()
        # With an early acknowledgement, who has begun and dies is lost, as everywhere.
        assert len(lacking) <= (CONCURRENCY if scene.task == EARLY else 0), f"lost at message {number}: {lacking}"
    return number


def kill(pid: int) -> None:
    process.tell(pid, signal.SIGKILL)


def leave(pid: int) -> None:
    """Have the connections cut, that is all."""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
