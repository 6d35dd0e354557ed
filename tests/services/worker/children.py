"""A worker as its supervisor starts it, and a fork server, each with a test at the other end of the line."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from celeryfleet.plan.broker import socket_url
from celeryfleet.records import Lines, Record, encode
from celeryfleet.supervise import process
from celeryfleet.supervise.forkserver import ServerProcess
from celeryfleet.worker_protocol import App, Beat, Exec, Hello, LogFile, Poke, Preload, Preloaded, Recorded, Said, Start
from tests.fakes import eventually

NODE = "web-1@shop.host"
R = TypeVar("R", bound=Record)


def settings_of(server: Path, *queues: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a fleet on this server."""
    url = socket_url(str(server))
    return {
        "broker_url": url,
        "result_backend": url,
        "task_default_queue": queues[0],
        "task_queues": [
            {"name": name, "exchange": name, "exchange_type": "direct", "routing_key": name, "arguments": {}}
            for name in queues
        ],
        "broker_transport_options": {"priority_steps": list(range(10)), "sep": "\x06\x16"},
        **more,
    }


class Line:
    """The supervisor's end of a worker's heartbeat."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.heard: list[Record] = []
        self._lines = Lines(Said | Recorded)

    def hear(self) -> list[Record]:
        """Return all that has been heard so far."""
        with contextlib.suppress(BlockingIOError):
            while data := self.socket.recv(1 << 16):
                self.heard += self._lines.feed(data)
        return self.heard

    def first(self, kind: type[R]) -> R:
        """Wait for a message of a kind."""
        return eventually(lambda: [m for m in self.hear() if isinstance(m, kind)])[0]

    def beat(self, **fields: Any) -> Beat:
        """Wait until the latest beat says so."""

        def latest() -> list[Beat]:
            beats = [m for m in self.hear() if isinstance(m, Beat)]
            return [beat for beat in beats[-1:] if beat.but(**fields) == beat]

        return eventually(latest)[0]

    def asked(self, **fields: Any) -> Beat:
        """Ask until the worker says so: an idle one looks only every five seconds whether something has changed."""

        def answer() -> list[Beat]:
            self.tell(Poke(1))
            beats = [m for m in self.hear() if isinstance(m, Beat)]
            return [beat for beat in beats[-1:] if beat.but(**fields) == beat]

        return eventually(answer, pause=0.1)[0]

    def tell(self, message: Record) -> None:
        """Tell the worker something."""
        self.socket.sendall(encode(message))


def start_message(folder: Path, settings: dict[str, Any], pool: str, concurrency: int = 2, **more: Any) -> Exec:
    """Return what a worker of this app is started with."""
    queues = [queue["name"] for queue in settings["task_queues"]]
    keys = {f"{key}_key": f"{key}:{NODE}" for key in ("unacked", "unacked_index", "unacked_mutex")}
    options = {
        "hostname": NODE,
        "queues": queues,
        "loglevel": "INFO",
        "quiet": True,
    }
    lean = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
    (folder / "settings.json").write_text(json.dumps(settings))
    start = Start(
        name="web-1",
        argv=("celery", "-A", "shop", "worker", str(folder)),
        options={**options, **lean},
        conf={
            "worker_pool": pool,
            "worker_concurrency": concurrency,
            "broker_transport_options": {**settings["broker_transport_options"], **keys},
        },
        env={},
        log=LogFile(str(folder / "web-1.log"), 1_000_000, 2),
        log_format="text",
        scratch=str(folder / "scratch"),
        running=str(folder / "running" / "web-1"),
        keepalive=10.0,
        patience=30.0,
        restore=(NODE,),
    )
    app = App("shop", "", str(folder), settings, str(folder / "settings.json"))
    return Exec(app, start.but(**more), os.getpid())


@contextlib.contextmanager
def worker(
    folder: Path, settings: dict[str, Any], pool: str = "prefork", **more: Any
) -> Iterator[tuple[Line, subprocess.Popen[bytes]]]:
    """Run one exec'd worker."""
    ours, theirs = socket.socketpair()
    orders = folder / "orders"
    orders.write_bytes(encode(start_message(folder, settings, pool, **more)))
    with theirs, orders.open("rb") as file:
        fds = [theirs.fileno(), file.fileno()]
        argv = [sys.executable, "-P", "-m", "celeryfleet.worker", "exec", *map(str, fds)]
        with (folder / "stray").open("wb") as out:
            process = subprocess.Popen(argv, pass_fds=fds, start_new_session=True, stdout=out, stderr=out)
    try:
        with ours:
            yield Line(ours), process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def fork_server(
    folder: Path, settings: dict[str, Any], pool: str = "prefork", **more: Any
) -> Iterator[Callable[[], tuple[Line, int]]]:
    """Run a fork server, and this process as the parent of its workers; give what forks one: its line and pid."""
    order = start_message(folder, settings, pool, **more)
    assert process.become_subreaper()
    server = ServerProcess.start(str(folder / "server.log"))
    pids = [server.pid]

    def fork() -> tuple[Line, int]:
        ours, theirs = socket.socketpair()
        server.send(order.start, [theirs.detach()])
        line = Line(ours)
        pids.append(line.first(Hello).pid)
        return line, pids[-1]

    try:
        server.send(Preload(order.app, {}, order.start.log), [])
        eventually(lambda: _answer(server))
        yield fork
    finally:
        server.close()
        for pid in pids:
            process.tell(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@contextlib.contextmanager
def forked_worker(
    folder: Path, settings: dict[str, Any], pool: str = "prefork", **more: Any
) -> Iterator[tuple[Line, int]]:
    """Run one worker that a fork server has forked; give its pid."""
    with fork_server(folder, settings, pool, **more) as fork:
        line, pid = fork()
        with line.socket:
            yield line, pid


def _answer(server: ServerProcess) -> list[Any]:
    try:
        message = server.receive()
    except BlockingIOError:
        return []
    assert isinstance(message, Preloaded), message
    return [message]
