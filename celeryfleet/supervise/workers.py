"""The workers' processes: spawning them, hearing their heartbeats, signalling them, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.logs.read import last_lines
from celeryfleet.plan.values import WorkerSpec
from celeryfleet.protocol import Lines, encode
from celeryfleet.supervise import process
from celeryfleet.supervise.core import Core
from celeryfleet.supervise.decide.events import Beaten, Exited, Hello, Ready, Restored
from celeryfleet.supervise.decide.state import Beat, LastExit, Status
from celeryfleet.supervise.forkserver import Forkery

if TYPE_CHECKING:
    from celeryfleet.protocol import Message

#: ids of revoked tasks kept for workers that start later
_REVOKED = 2000
#: seconds of silence at most, for a worker to which nothing happens
_KEEPALIVE = 10.0
#: seconds that `poke` waits for the workers' answers
_POKE = 0.05
#: lines of its log kept when a worker ends unexpectedly
_LAST_WORDS = 12


class _Line:
    """The socket to one worker's heartbeat."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.messages = Lines()
        self.pid: int | None = None

    @property
    def open(self) -> bool:
        return self.socket.fileno() >= 0

    def hang_up(self) -> None:
        if self.open:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()


class Crew:
    """All workers of a fleet."""

    def __init__(self, core: Core, forkery: Forkery, lifeline: int) -> None:
        self._core = core
        self._forkery = forkery
        self._lifeline = lifeline
        self._lines: dict[str, _Line] = {}
        #: ids of revoked tasks, oldest first: a worker that starts must know them
        self._revoked: dict[str, None] = {}
        self._pokes: dict[int, tuple[set[str], asyncio.Event]] = {}
        self._poke = 0

    # --- Starting -----------------------------------------------------------------------------------------

    def spawn(self, spec: WorkerSpec, fork: bool) -> None:
        """Start a worker; what becomes of it is told by events."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self.gone(spec.name, 1, f"it could not be started: {error.strerror}")
            return
        line = self._lines[spec.name] = _Line(ours)
        asyncio.get_running_loop().add_reader(ours, self._hear, spec.name, line)
        plan = self._core.plan
        start = {
            "spec": {**asdict(spec), "digest": ""},
            "restore": [spec.node] if plan.broker.kind == "redis" else [],
            "log": self._core.log(spec.name),
            "log_format": plan.logs.format,
            "revoked": list(self._revoked),
            "scratch": str(self._scratch(spec.name)),
            "paused": sorted(self._core.state.paused & set(spec.options.get("queues", ()))),
            # Two of three signs of life may be late before silence counts.
            "keepalive": min(_KEEPALIVE, self._core.target.pools[spec.pool].health.heartbeat_within / 3),
        }
        with theirs:
            if fork:
                self._forkery.fork(start, theirs.detach())
                return
            try:
                line.pid = self._exec(spec, start, theirs)
            except OSError as error:
                self.gone(spec.name, 1, f"it could not be started: {error.strerror}")
            else:
                self._core.happen(Hello(spec.name, line.pid))

    def _exec(self, spec: WorkerSpec, start: Message, heartbeat: socket.socket) -> int:
        """Start a worker in a process that imports the app by itself; its orders lie in a file without a name."""
        whole = {**self._core.app(), **start, "supervisor": os.getpid()}
        with os.fdopen(_nameless(self._core.home), "r+b") as orders:
            orders.write(json.dumps(whole).encode())
            orders.flush()
            orders.seek(0)
            fds = [heartbeat.fileno(), orders.fileno()]
            argv = [*process.PYTHON, "-m", "celeryfleet.worker", "exec", *map(str, fds)]
            return process.spawn(argv, {**os.environ, **spec.env}, [*fds, self._lifeline])

    def _scratch(self, name: str) -> Path:
        """Name the folder of a worker's shared memory: short, since sockets may lie in it, and the same each time."""
        digest = hashlib.blake2b(os.fsencode(self._core.home), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"celeryfleet-{os.geteuid()}-{digest}-{name}"

    # --- Hearing ------------------------------------------------------------------------------------------

    def _hear(self, name: str, line: _Line) -> None:
        if not line.open:
            return
        try:
            data = line.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            line.hang_up()
            if line.pid is None and self._lines.get(name) is line:
                self.gone(name, 1, "it ended before it had started")
            return
        try:
            for message in line.messages.feed(data):
                self._take(name, line, message)
        except (ValueError, LookupError, TypeError) as error:
            self._core.trouble(f"{name} talks nonsense, and is left", error)
            line.hang_up()  # at which it stops warmly

    def _take(self, name: str, line: _Line, message: Message) -> None:
        match message["t"]:
            case "hello":
                line.pid = message["pid"]
                self._core.happen(Hello(name, message["pid"]))
                worker = self._core.state.workers.get(name)
                if worker is not None and worker.status is not Status.STARTING:
                    self.signal(name, signal.SIGTERM)  # it was told to stop before it had a pid
            case "ready":
                self._core.say(f"{name} is ready")
                self._core.tasks = message["tasks"] or self._core.tasks
                self._core.happen(Ready(name))
            case "revoked":
                self._revoked |= dict.fromkeys(message["ids"])
                for old in list(self._revoked)[:-_REVOKED]:
                    del self._revoked[old]
            case "restored":
                self._core.happen(Restored(name, tuple(message["nodes"])))
            case "beat":
                fields = {key: message[key] for key in Beat.__slots__ if key in message}
                self._core.happen(Beaten(name, Beat(**{**fields, "paused": tuple(message["paused"])})))
                self._answered(name, message.get("poke"))

    def _answered(self, name: str, poke: int | None) -> None:
        if poke in self._pokes:
            waiting, done = self._pokes[poke]
            waiting.discard(name)
            if not waiting:
                done.set()

    async def poke(self) -> None:
        """Have every worker that can answer say how it is now, so that what `status` shows is exact."""
        workers = self._core.state.workers.items()
        ready = {name for name, worker in workers if worker.status is Status.READY and not worker.beat.blocks}
        self._poke += 1
        poke, done = self._poke, asyncio.Event()
        self._pokes[poke] = (set(ready), done)
        for name in ready:
            self.tell(name, {"do": "poke", "poke": poke})
        try:
            if ready:
                await asyncio.wait_for(done.wait(), _POKE)
        except TimeoutError:
            pass  # its latest beat has to do
        finally:
            del self._pokes[poke]

    # --- Telling ------------------------------------------------------------------------------------------

    def tell(self, name: str, message: Message) -> None:
        """Send a worker a message."""
        line = self._lines.get(name)
        if line is not None:
            with contextlib.suppress(OSError):  # it is about to be gone, and its exit will tell
                line.socket.send(encode(message))

    def set_paused(self, name: str, pause: tuple[str, ...], resume: tuple[str, ...]) -> None:
        """Tell a worker which of its queues to leave alone."""
        for do, queues in (("pause", pause), ("resume", resume)):
            if queues:
                self.tell(name, {"do": do, "queues": list(queues)})

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a worker's main process; one that has not said its pid yet gets TERM when it does."""
        pid = self._core.state.workers[name].pid
        if pid is not None:
            process.tell(pid, number)

    def kill(self, name: str) -> None:
        """SIGKILL a worker with all that belongs to it."""
        pid = self._core.state.workers[name].pid
        if pid is not None:
            process.kill_group(pid)
        else:  # it never said who it is: without its line it ends by itself
            self.gone(name, 1, "it never started")

    # --- Ends ---------------------------------------------------------------------------------------------

    def owns(self, pid: int) -> bool:
        """Tell whether this is a worker's main process."""
        for name, line in list(self._lines.items()):
            if line.pid is None:
                self._hear(name, line)  # its hello may still wait to be read
        return any(line.pid == pid for line in self._lines.values())

    def ended(self, pid: int, code: int) -> None:
        """Take note of a child's exit, if it was a worker's main process."""
        for name, line in list(self._lines.items()):
            if line.pid == pid:
                self._hear(name, line)  # and so may its last beat
                self.gone(name, code, process.explain(code))

    def gone(self, name: str, code: int, reason: str) -> None:
        """Take note that a worker's process is gone."""
        line = self._lines.pop(name, None)
        if line is not None:
            line.hang_up()
        worker = self._core.state.workers.get(name)
        log: tuple[str, ...] = ()
        if worker is not None and worker.deadline is None:
            log = tuple(last_lines(self._core.home / "logs" / f"{name}.log", _LAST_WORDS))
        shutil.rmtree(self._scratch(name), ignore_errors=True)
        self._core.say(f"{name} has ended: {reason}")
        self._core.happen(Exited(name, LastExit(code, time.time(), reason, log)))


def _nameless(folder: Path) -> int:
    """Open a file that has no name, and so needs no cleaning up."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("celeryfleet")
    fd, name = tempfile.mkstemp(dir=folder)
    Path(name).unlink()
    return fd
