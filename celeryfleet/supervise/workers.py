"""The workers' processes: spawning them, hearing their heartbeats, signalling them, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from celeryfleet.logs.read import last_lines
from celeryfleet.plan.values import WorkerSpec
from celeryfleet.protocol import LastExit
from celeryfleet.records import Lines, Room, encode
from celeryfleet.supervise import process
from celeryfleet.supervise.bookkeeper import Bookkeeper
from celeryfleet.supervise.decide.events import Exited, Heard
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.forkserver import ForkServers, app_of, log_file
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.text import clean, counted
from celeryfleet.worker_protocol import (
    WORKER_LIMIT,
    Beat,
    Exec,
    Hello,
    Poke,
    Ran,
    Ready,
    Recorded,
    Revoke,
    Revoked,
    Said,
    Start,
    Strikes,
    TellAnew,
    Told,
    running,
)

#: ids of revoked tasks kept for workers that start later
_REVOKED = 2000
#: tasks remembered that have ended or hung a process
_SUSPECTS = 2000
#: seconds of silence at most, for a worker to which nothing happens
_KEEPALIVE = 10.0
#: seconds that `poke` waits for the workers' answers
_POKE = 0.05
#: bytes that all workers together may have said of messages that are not whole
_ROOM = 16 * WORKER_LIMIT
#: lines of its log kept when a worker ends unexpectedly
_LAST_WORDS = 12
#: lines of its log that are searched for the stacks of a worker that hung, and frames of each thread that are kept
_STACKS, _FRAMES = 200, 3


class _Line:
    """The socket to one worker's heartbeat."""

    def __init__(self, sock: socket.socket, room: Room) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.messages = Lines(Said | Recorded, WORKER_LIMIT, room)
        self.pid: int | None = None
        self.greeted = False

    @property
    def open(self) -> bool:
        return self.socket.fileno() >= 0

    def hang_up(self) -> None:
        if self.open:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
            self.messages.drop()


class Workers:
    """All workers of a fleet."""

    def __init__(self, fleet: Reconciler, fork_servers: ForkServers, lifeline: int, owner: str = "") -> None:
        self._fleet = fleet
        self._fork_servers = fork_servers
        self._lifeline = lifeline
        #: by which others who use the broker know what is this supervisor's
        self.owner = owner
        self._lines: dict[str, _Line] = {}
        self._room = Room(_ROOM)
        #: ids of revoked tasks, oldest first: a worker that starts must know them
        self._revoked: dict[str, None] = {}
        #: how often tasks, by id, have ended or hung a process
        self._strikes: dict[str, int] = {}
        #: none where no ledger is kept
        self._books: Bookkeeper | None = None
        self._pokes: dict[int, tuple[set[str], asyncio.Event]] = {}
        self._poke = 0

    # --- Starting -----------------------------------------------------------------------------------------

    def spawn(self, spec: WorkerSpec, fork: bool, former: bool = False) -> None:
        """Start a worker, by the fork server of the code before if `former`; what becomes of it is told by events."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self.gone(spec.name, 1, f"it could not be started: {error.strerror}")
            return
        line = self._lines[spec.name] = _Line(ours, self._room)
        asyncio.get_running_loop().add_reader(ours, self._hear, spec.name, line)
        start = self._start_message(spec)
        with theirs:
            if fork:
                self._fork_servers[spec.app].fork(start, theirs.detach(), former)
                return
            try:
                line.pid = self._exec(spec, start, theirs)
            except OSError as error:
                self.gone(spec.name, 1, f"it could not be started: {error.strerror}")
            else:
                self._fleet.happen(Heard(spec.name, Hello(line.pid)))

    def _start_message(self, spec: WorkerSpec) -> Start:
        plan, state = self._fleet.plan, self._fleet.state
        return Start(
            name=spec.name,
            argv=spec.argv,
            options=spec.options,
            conf=spec.conf,
            defaults=spec.defaults,
            env=spec.env,
            log=log_file(plan, spec.name),
            log_format=plan.logs.format,
            scratch=str(self._scratch(spec.name)),
            patience=self._fleet.target.pools[spec.pool].health.heartbeat_within,
            # Two of three signs of life may be late before silence counts.
            keepalive=min(_KEEPALIVE, self._fleet.target.pools[spec.pool].health.heartbeat_within / 3),
            running=str(self._running(spec.name)),
            park_after=self._fleet.target.pools[spec.pool].park_after,
            parked=plan.parked,
            strikes=self._strikes,
            restore=(spec.node,) if plan.broker.transport == "redis" else (),
            fleet=plan.fleet,
            owner=self.owner if plan.broker.transport == "redis" and not plan.broker.argv else "",
            revoked=tuple(self._revoked),
            paused=tuple(sorted(state.paused & set(spec.options.get("queues", ())))),
            ledger=plan.ledger is not None,
            hide=plan.ledger.hide if plan.ledger else (),
        )

    def _exec(self, spec: WorkerSpec, start: Start, heartbeat: socket.socket) -> int:
        """Start a worker in a process that imports the app by itself; its orders lie in a file without a name."""
        with tempfile.TemporaryFile() as orders:
            orders.write(encode(Exec(app_of(self._fleet.plan, spec.app), start, os.getpid())))
            orders.flush()
            orders.seek(0)
            fds = [heartbeat.fileno(), orders.fileno()]
            argv = [*process.PYTHON, "-m", "celeryfleet.worker", "exec", *map(str, fds)]
            return process.spawn(argv, {**os.environ, **spec.env}, [*fds, self._lifeline])

    def _scratch(self, name: str) -> Path:
        """Name the folder of a worker's shared memory: short, since sockets may lie in it, and the same each time."""
        digest = hashlib.blake2b(os.fsencode(self._fleet.home), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"celeryfleet-{os.geteuid()}-{digest}-{name}"

    # --- Hearing ------------------------------------------------------------------------------------------

    def _hear(self, name: str, line: _Line) -> bool:
        """Read what a worker says; tell whether it said anything."""
        if not line.open:
            return False
        try:
            data = line.socket.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            line.hang_up()
            if line.pid is None and self._lines.get(name) is line:
                self.gone(name, 1, "it ended before it had started")
            return False
        try:
            for message in line.messages.feed(data):
                self._take(name, line, message)
        except ValueError as error:
            self._fleet.trouble(f"what {name} says is not understood; it is to stop", error)
            line.hang_up()  # at which it stops warmly
            if line.pid is None:
                self.gone(name, 1, "what it said was not understood")
            return False
        return True

    def _take(self, name: str, line: _Line, message: Said | Recorded) -> None:
        match message:
            case Recorded(rows):
                if self._books is not None:
                    self._books.tell(name, rows)
                return
            case Hello(pid):
                if line.greeted or line.pid not in (None, pid) or not self._may_be(pid, line):
                    raise ValueError(f"{pid} is not its pid, or it was said before")
                line.pid, line.greeted = pid, True
            case Ready():
                self._fleet.say(f"{name} is ready")
            case Revoked(ids):
                self._learn_revoked(ids)
            case Strikes(counts):
                self._spread(counts, but=name)
            case Beat(poke=int(number)) if number in self._pokes:
                waiting, done = self._pokes[number]
                waiting.discard(name)
                if not waiting:
                    done.set()
        self._fleet.happen(Heard(name, message))
        worker = self._fleet.state.workers.get(name)
        if isinstance(message, Hello) and worker is not None and worker.status is not Status.STARTING:
            self.signal(name, signal.SIGTERM)  # it was told to stop before it had a pid

    def _may_be(self, pid: int, line: _Line) -> bool:
        """Tell whether a worker can have this pid: of a child of ours, and of no other worker."""
        others = [other.pid for other in self._lines.values() if other is not line]
        return pid not in others and not self._fork_servers.owns(pid) and process.is_child(pid)

    def is_revoked(self, task_id: str) -> bool:
        """Tell whether a worker has said that a task is revoked."""
        return task_id in self._revoked

    async def poke(self, pools: Collection[str] = ()) -> None:
        """Have every worker that can answer, in these pools or in all, say how it is now."""
        workers = [worker for worker in self._fleet.state.workers.values() if worker.pool in pools or not pools]
        ready = {one.name for one in workers if one.status is Status.READY and not one.beat.loop_busy}
        self._poke += 1
        poke, done = self._poke, asyncio.Event()
        self._pokes[poke] = (set(ready), done)
        for name in ready:
            self.tell(name, Poke(poke))
        try:
            if ready:
                await asyncio.wait_for(done.wait(), _POKE)
        except TimeoutError:
            pass  # its latest beat has to do
        finally:
            del self._pokes[poke]

    def revoke(self, ids: tuple[str, ...], terminate: bool) -> None:
        """Have the workers, and those that start later, throw tasks away."""
        self._learn_revoked(ids)
        for name in self._lines:
            self.tell(name, Revoke(ids, terminate))

    def _learn_revoked(self, ids: tuple[str, ...]) -> None:
        self._revoked |= dict.fromkeys(ids)
        for old in list(self._revoked)[:-_REVOKED]:
            del self._revoked[old]

    # --- What becomes of tasks ----------------------------------------------------------------------------

    def keep_books(self) -> None:
        """Keep the ledger that the plan asks for."""
        plan, anew = self._fleet.plan.ledger, self._books is None
        if self._books is not None and self._books.plan != plan:
            self.close_books()
        if self._books is None and plan is not None:
            self._books = Bookkeeper(plan, self._fleet.say, self._have_told_anew, anew)

    def close_books(self) -> None:
        """Write what is left to be written of tasks."""
        if self._books is not None:
            self._books.close()
            self._books = None

    async def written(self) -> None:
        """Wait until what was heard of tasks is written."""
        if self._books is not None:
            await self._books.written()

    @property
    def unwritten(self) -> str:
        """Say why the ledger is not written; empty if it is."""
        trouble = self._books.trouble if self._books is not None else ""
        return f"The ledger can't be written: {trouble}. What becomes of tasks is not kept." if trouble else ""

    def _have_told_anew(self) -> None:
        for name in self._lines:
            self.tell(name, TellAnew())

    # --- Tasks that end their workers ---------------------------------------------------------------------

    def _running(self, name: str) -> Path:
        """Name the file in which a worker tells which tasks it runs."""
        return self._fleet.home / "running" / name

    def blame_all(self, alive: Collection[str]) -> None:
        """Suspect the tasks of workers that were killed along with their supervisor, wanted again or not."""
        for file in sorted((self._fleet.home / "running").glob("*")):
            if file.name not in alive:
                self._blame(file.name, self._ran(file.name))

    def _ran(self, name: str) -> list[Ran]:
        """Return which tasks ran when a worker ended, and forget them."""
        file = self._running(name)
        try:
            tasks = running(file.read_bytes())
            file.unlink()
        except FileNotFoundError:
            tasks = {}
        if self._books is not None:
            self._books.gone(name, tasks.values())
        return list(tasks.values())

    def _blame(self, name: str, tasks: list[Ran]) -> None:
        """Suspect the tasks that ran when a worker was killed or hung."""
        counts = {one.id: self._strikes.get(one.id, 0) + 1 for one in tasks}
        for one in tasks:
            times = counted(counts[one.id], "time")
            self._fleet.say(clean(f"{one.task}[{one.id}] ran when {name} ended, {times} so far"))
        self._spread(counts)

    def _spread(self, counts: dict[str, int], but: str = "") -> None:
        """Remember how often tasks have ended a process, and tell the workers."""
        self._strikes = {task: count for task, count in (self._strikes | counts).items() if count}
        for old in list(self._strikes)[:-_SUSPECTS]:
            del self._strikes[old]
        for name in self._lines if counts else ():
            if name != but:
                self.tell(name, Strikes(counts))

    # --- Telling ------------------------------------------------------------------------------------------

    def tell(self, name: str, message: Told) -> None:
        """Send a worker a message."""
        line = self._lines.get(name)
        if line is not None:
            with contextlib.suppress(OSError):  # it is about to be gone, and its exit will tell
                line.socket.send(encode(message))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a worker's main process; one that has not said its pid yet gets TERM when it does."""
        pid = self._fleet.state.workers[name].pid
        if pid is not None:
            process.tell(pid, number)

    def kill(self, name: str) -> None:
        """SIGKILL a worker with all that belongs to it."""
        pid = self._fleet.state.workers[name].pid
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
                while self._hear(name, line):
                    pass  # and so may its last beat, and what became of its last tasks
                self.gone(name, code, process.explain(code))

    def gone(self, name: str, code: int, reason: str) -> None:
        """Take note that a worker's process is gone."""
        line = self._lines.pop(name, None)
        if line is not None:
            line.hang_up()
        worker = self._fleet.state.workers.get(name)
        log: tuple[str, ...] = ()
        if worker is not None and (worker.deadline is None or worker.stuck):
            file = self._fleet.home / "logs" / f"{name}.log"
            log = stacks(last_lines(file, _STACKS)) if worker.stuck else tuple(last_lines(file, _LAST_WORDS))
        shutil.rmtree(self._scratch(name), ignore_errors=True)
        self._fleet.say(f"{name} has ended: {reason}")
        ran = self._ran(name)
        if worker is not None and (worker.status is not Status.STOPPING or worker.stuck):
            self._blame(name, ran)
        number = reason.rpartition(" ")[2] if code < 0 else None
        self._fleet.happen(Exited(name, LastExit(code, number, round(time.time(), 3), reason, log)))


def stacks(lines: list[str]) -> tuple[str, ...]:
    """Cut the stacks that a hung worker wrote last to where each thread was; its last lines if it wrote none."""
    heads = [at for at, line in enumerate(lines) if line.endswith("(most recent call first):")]
    first = heads[-1] if heads else len(lines)
    while first and (lines[first - 1].startswith("  File ") or first - 1 in heads):
        first -= 1
    kept = [line for at in heads if at >= first for line in lines[at : at + _FRAMES + 1]]
    return tuple(kept[:_LAST_WORDS] or lines[-_LAST_WORDS:])
