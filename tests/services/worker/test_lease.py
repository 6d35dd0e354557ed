"""Beats of two hosts on one broker: one sends at a time, whatever stops, kills or cuts off the other."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.plan.broker import socket_url
from celeryfleet.worker.redis_channel import Channel
from celeryfleet.worker.redis_lease import RedisLease
from celeryfleet.worker_protocol import Beat, Ready
from tests.fakes import eventually, forget_pools
from tests.gate import Gate, gate
from tests.machine_services import rabbit
from tests.servers import redis_server
from tests.services.worker.children import Line, settings_of, start_message, worker

#: seconds
LEASE = 3.0
EVERY = 0.1


class Site:
    """A broker that two hosts reach, each through a gate of its own, and what their beats have sent."""

    def __init__(self, folder: Path, settings: dict[str, Any], fleet: str, behind: Callable[[], socket.socket]) -> None:
        self.folder, self.settings, self.fleet, self.behind = folder, settings, fleet, behind
        self.app = Celery("shop", set_as_current=False)
        apply(self.app, settings)
        self._sent: list[str] = []

    def url(self, port: int) -> str:
        """Return the broker's URL through a gate."""
        at = urlsplit(str(self.settings["broker_url"]))
        if at.scheme == "amqp":
            return at._replace(netloc=f"{at.username}:{at.password}@127.0.0.1:{port}").geturl()
        return f"redis://127.0.0.1:{port}/0"

    @contextlib.contextmanager
    def beat(self, host: str) -> Iterator[tuple[Line, subprocess.Popen[bytes], Gate]]:
        """Run the beat of a host."""
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        (folder / "shop.py").write_text("from celery import Celery\nimport celeryfleet\napp = Celery('shop')\n")
        entry = {"task": "shop.often", "schedule": EVERY, "options": {"headers": {"host": host}}}
        with gate(self.behind) as door:
            settings = {**self.settings, "broker_url": self.url(door.port)}
            order = start_message(folder, settings, "beat")
            options = {"schedule": str(folder / "schedule"), "loglevel": "INFO"}
            lease = {"lease": LEASE, "fleet": self.fleet, "host": host}
            conf = {**order.start.conf, "beat_schedule": {"often": entry}}
            with worker(folder, settings, "beat", options={**options, **lease}, conf=conf) as (line, process):
                line.first(Ready)
                yield line, process, door

    def sent(self) -> list[str]:
        """Name the host of each task that has been sent so far, in the broker's order."""
        with self.app.connection_for_read() as connection:
            queue = self.app.amqp.queues[self.settings["task_default_queue"]].bind(connection.default_channel)
            queue.declare()
            while message := queue.get(no_ack=True):
                self._sent.append(message.headers["host"])
        return self._sent

    def sends(self, host: str) -> None:
        """Wait until a host sends."""
        seen = len(self.sent())
        eventually(lambda: host in self.sent()[seen:])

    def turns(self) -> list[str]:
        """Name the hosts in the order in which they have sent, each once for all that it sent in a row."""
        return [host for host, _ in itertools.groupby(self.sent())]


@contextlib.contextmanager
def on_redis(folder: Path) -> Iterator[Site]:
    with redis_server() as server:

        def behind() -> socket.socket:
            found = socket.socket(socket.AF_UNIX)
            found.connect(str(server))
            return found

        site = Site(folder, settings_of(server, "web", task_ignore_result=True), "shop", behind)
        yield site
        forget_pools(site.app)


@contextlib.contextmanager
def on_rabbitmq(folder: Path) -> Iterator[Site]:
    with redis_server() as results, rabbit() as broker:
        at = urlsplit(broker.url)
        options = {"confirm_publish": True}
        settings = settings_of(results, broker.name("web"), broker_url=broker.url, broker_transport_options=options)
        yield Site(
            folder, settings, broker.fleet, lambda: socket.create_connection((at.hostname or "", at.port or 5672))
        )


def stands_by(line: Line, host: str) -> None:
    """Wait until a beat says that this host's sends, and it does not."""
    seen = len(line.hear())
    eventually(lambda: any(isinstance(one, Beat) and one.standby == f"host {host}" for one in line.hear()[seen - 1 :]))


@pytest.mark.parametrize("broker", [on_redis, on_rabbitmq])
def test_one_beat_sends_at_a_time(broker: Any, tmp_path: Path) -> None:
    with broker(tmp_path) as site, site.beat("a") as (a, stopped, _):
        site.sends("a")
        with site.beat("b") as (b, _, door):
            stands_by(b, "a")
            os.kill(stopped.pid, signal.SIGSTOP)
            site.sends("b")
            os.kill(stopped.pid, signal.SIGCONT)
            stands_by(a, "b")
            door.cut()  # b does not get through any more, and the broker does not know
            site.sends("a")
            door.tell()
            door.open()
            stands_by(b, "a")
            stopped.kill()
            site.sends("b")
        # Two at once would take turns ten times a second; a busy machine may lose a lease now and then.
        assert 4 <= len(site.turns()) < 9


def test_a_beat_has_the_lease_of_the_one_before_it_on_its_host_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "fence", None)  # to have it back: a lease sets it
    with redis_server() as server:
        app = Celery("shop", broker=socket_url(str(server)), set_as_current=False)
        before, now, elsewhere = (RedisLease(app, "shop", host, 60.0) for host in ("a", "a", "b"))
        assert (before.take(), elsewhere.take(), elsewhere.holder) == (True, False, "a")
        assert (now.take(), now.take()) == (True, True)
        assert (before.take(), elsewhere.take()) == (False, False)
        for one in (before, now, elsewhere):
            one.let_go()
