"""The fork server's process: starting it, asking it for workers, hearing from it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.records import Record, receive_with_fds, send_with_fds
from celeryfleet.supervise import process
from celeryfleet.worker_protocol import App, Broken, LogFile, Preload, Preloaded, Start

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan
    from celeryfleet.supervise.reconciler import Reconciler

#: lines of its log that are told of a server that dies while it imports the app
_LAST_WORDS = 8


class ServerProcess:
    """One fork server process and the channel to it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        #: its log, and how much was in it before
        self.log: tuple[Path, int] | None = None
        self._waiting: deque[tuple[Record, list[int]]] = deque()

    @classmethod
    def start(cls, log: str = os.devnull) -> ServerProcess:
        """Start a server; it imports Celery at once, and the app when it is told which. Raises OSError.

        Until then it writes to `log`: never to what a parent of ours may be reading to its end.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [*process.PYTHON, "-m", "celeryfleet.worker", "server", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            pid = process.spawn(argv, os.environ, [theirs.fileno()], out=log)
        ours.setblocking(False)
        return cls(pid, ours)

    def send(self, message: Record, fds: list[int]) -> bool:
        """Send a request with descriptors, which are closed once sent; False if it must wait (see `flush`)."""
        self._waiting.append((message, fds))
        return self.flush()

    def flush(self) -> bool:
        """Send what waits; False while the server is too busy to take it."""
        while self._waiting:
            message, fds = self._waiting[0]
            try:
                send_with_fds(self.channel, message, fds)
            except BlockingIOError:
                return False
            except OSError:  # it is gone, or we are out of descriptors: its exit will tell, and the next one is told
                process.tell(self.pid, signal.SIGKILL)
            self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        return True

    def receive(self) -> Any:
        """Read a Preloaded or Broken; None when the server has closed the channel. Raises BlockingIOError."""
        try:
            return receive_with_fds(self.channel, Preloaded | Broken)[0]
        except (ConnectionResetError, ValueError):
            return None

    def close(self) -> None:
        """Close the channel, at which the server exits."""
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self.channel.close()


class ForkServer:
    """Whichever fork server process an app has now, and the one before it for as long as it may be needed."""

    def __init__(self, fleet: Reconciler, lifeline: int, prepared: ServerProcess | None = None, app: str = "") -> None:
        self._fleet = fleet
        self._app = app
        self._lifeline = lifeline
        self._process = prepared
        self._former: ServerProcess | None = None
        #: it imports Celery already, and has not been told the app
        self._fresh = prepared is not None
        if prepared is not None:
            self._listen(prepared)

    @property
    def pid(self) -> int | None:
        """The server's pid."""
        return None if self._process is None else self._process.pid

    @property
    def _of(self) -> str:
        return f" of {self._app}" if self._app else ""

    def owns(self, pid: int) -> bool:
        """Tell whether this is a fork server of the app."""
        return pid in (self.pid, self._former and self._former.pid)

    def start(self, keep: bool = False) -> None:
        """Have a server import the app; the one before, if any, is closed or kept."""
        from celeryfleet.supervise.decide.events import ForkServerExited

        plan = self._fleet.plan
        log = log_file(plan, plan.app(self._app).preload_log)
        if not self._fresh or self._process is None:
            if keep:
                self.drop(former=True)
                self._former, self._process = self._process, None
            else:
                self.drop()
            try:
                self._process = ServerProcess.start(log.path)
            except OSError as error:
                self._fleet.happen(ForkServerExited(f"it could not be started: {error.strerror}", app=self._app))
                return
            self._listen(self._process)
        self._fresh = False
        self._process.log = (Path(log.path), _size(log.path))
        scheduler = plan.beat.scheduler if plan.beat and plan.beat.app == self._app else None
        preload = Preload(app_of(plan, self._app), plan.env, log, scheduler)
        self._send(self._process, preload, [os.dup(self._lifeline)])

    def fork(self, start: Start, heartbeat: int, former: bool = False) -> None:
        """Ask a server for a worker; `heartbeat` is its end of the line, and is closed here."""
        server = self._former if former else self._process
        if server is None:
            os.close(heartbeat)  # at which the worker counts as ended
        else:
            self._send(server, start, [heartbeat])

    def drop(self, former: bool = False) -> None:
        """Close a server; its workers live on."""
        if former:
            server, self._former = self._former, None
        else:
            server, self._process = self._process, None
            self._fresh = False
        if server is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(server.channel)
            loop.remove_writer(server.channel)
            server.close()
            process.tell(server.pid, signal.SIGKILL)  # it may be in the middle of a long import

    def ended(self, pid: int, code: int) -> bool:
        """Take note of a child's exit, if it was a server; tell whether it was."""
        from celeryfleet.supervise.decide.events import ForkServerExited
        from celeryfleet.supervise.decide.state import Phase

        if not self.owns(pid):
            return False
        reason, server, former = process.explain(code), self._process, pid != self.pid
        self.drop(former)
        if not former and server is not None and self._fleet.state.app(self._app).fork_server.phase is Phase.STARTING:
            reason = "\n".join([f"importing the app ends the fork server: {reason}", *_told(server)])
        which = f"the fork server{self._of}{' of the code before' if former else ''}"
        self._fleet.say(f"{which} has ended: {reason}")
        self._fleet.happen(ForkServerExited(reason, former, self._app))
        return True

    def _listen(self, server: ServerProcess) -> None:
        asyncio.get_running_loop().add_reader(server.channel, self._hear, server)

    def _send(self, server: ServerProcess, message: Record, fds: list[int]) -> None:
        if not server.send(message, fds):
            asyncio.get_running_loop().add_writer(server.channel, self._flush, server)

    def _flush(self, server: ServerProcess) -> None:
        if server.flush():
            asyncio.get_running_loop().remove_writer(server.channel)

    def _hear(self, server: ServerProcess) -> None:
        from celeryfleet.supervise.decide.events import ForkServerBroken, ForkServerReady

        try:
            message = server.receive()
        except BlockingIOError:
            return
        match message:
            case Preloaded(unsafe, tasks, seconds):
                self._fleet.say(f"{f'the app {self._app}'.strip()} is imported, in {seconds:.2f} s; {len(tasks)} tasks")
                generation = self._fleet.state.app(self._app).fork_server.generation
                self._fleet.happen(ForkServerReady(generation, unsafe, tasks, self._app))
            case Broken(error):
                self._fleet.happen(ForkServerBroken(error, self._app))
            case None:
                asyncio.get_running_loop().remove_reader(server.channel)  # its exit will be reaped


class ForkServers:
    """The fork servers of a fleet: one for each app."""

    def __init__(self, fleet: Reconciler, lifeline: int, prepared: ServerProcess | None) -> None:
        self._fleet = fleet
        self._lifeline = lifeline
        forking = [app.name for app in fleet.plan.apps if fleet.target.forks(app.name)]
        first = (forking or [""])[0]
        self._of = {first: ForkServer(fleet, lifeline, prepared, first)}
        if not forking:
            self[first].drop()

    def __getitem__(self, app: str) -> ForkServer:
        if app not in self._of:
            self._of[app] = ForkServer(self._fleet, self._lifeline, app=app)
        return self._of[app]

    @property
    def pids(self) -> dict[str, int | None]:
        """The servers' pids, by names that no worker has."""
        return {f"server:{app}" if app else "server": server.pid for app, server in self._of.items()}

    def owns(self, pid: int) -> bool:
        """Tell whether this is a fork server."""
        return any(server.owns(pid) for server in self._of.values())

    def ended(self, pid: int, code: int) -> bool:
        """Take note of a child's exit, if it was a server; tell whether it was."""
        return any(server.ended(pid, code) for server in self._of.values())


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _told(server: ServerProcess) -> list[str]:
    """Return what a server has last written to its log, if anything: where it crashed, or else its last lines."""
    from celeryfleet.logs.read import last_lines

    if server.log is None or _size(str(server.log[0])) == server.log[1]:
        return []
    lines = last_lines(server.log[0], 10 * _LAST_WORDS)
    crash = [number for number, line in enumerate(lines) if line.startswith("Fatal Python error")]
    return lines[crash[-1] :][:_LAST_WORDS] if crash else lines[-_LAST_WORDS:]


def app_of(plan: Plan, name: str) -> App:
    """Say how processes of the plan load an app."""
    app, folder = plan.app(name), str(Path(plan.file).parent)
    return App(app.path, app.django, folder, plan.settings, f"{plan.state_dir}/settings.json")


def log_file(plan: Plan, name: str) -> LogFile:
    """Say where a process of the plan logs."""
    return LogFile(f"{plan.state_dir}/logs/{name}.log", plan.logs.max_size, plan.logs.max_files)
