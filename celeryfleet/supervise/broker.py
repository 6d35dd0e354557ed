"""The embedded broker as one more process: starting it, knowing when it answers, and its end.

A keeper, a shell of half a megabyte, holds the read end of a pipe whose write ends are the supervisor's and the
workers'. When all of them are gone, however that came about, it stops the broker: workers that outlive a killed
supervisor can finish their tasks, and nothing is left behind after them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial
from pathlib import Path

from celeryfleet import private, trust
from celeryfleet.logs.read import last_lines
from celeryfleet.logs.write import shift
from celeryfleet.plan.values import BrokerPlan, LogPlan
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.events import BrokerExited, BrokerFound, BrokerUp
from celeryfleet.supervise.reconciler import Reconciler

#: seconds between two tries to reach a broker that is starting
RETRY = 0.01
#: the same while it loads its data
LOADING = 0.2
#: seconds a starting broker may be silent; one that loads its data is not
PATIENCE = 120.0

# Until the end of the pipe, whatever a task may write into it by mistake.
_KEEPER = 'while read -r _; do :; done; kill -TERM "$1" 2>/dev/null'


def start(plan: BrokerPlan, log: Path, limits: LogPlan) -> int:
    """Start the server on its own socket and data; return its pid. Raises OSError."""
    data = Path(plan.data)
    private.folder(str(data.parent), data.name)
    Path(plan.socket).unlink(missing_ok=True)
    if log.exists() and log.stat().st_size >= limits.max_size:
        shift(log, limits.max_files)
    out = private.opened(str(log), os.O_WRONLY | os.O_APPEND)
    try:
        with private.umask():
            return process.spawn(plan.argv, os.environ, out=out)
    finally:
        os.close(out)


def keep(pid: int, lifeline: int) -> int:
    """Start the keeper of a broker; `lifeline` is the read end. Return the keeper's pid."""
    return process.spawn(["/bin/sh", "-c", _KEEPER, "celeryfleet-broker-keeper", str(pid)], os.environ, stdin=lifeline)


def running(path: str) -> int | None:
    """Return the pid of the server that listens on this socket; None: there is none."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(path)
        except OSError:
            return None
        return trust.peer_pid(sock) or None


async def ask(path: str) -> bytes:
    """Ask the server on this socket once how it is; nothing if it does not answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, path)
            await loop.sock_sendall(sock, b"PING\r\n")
            reply = await asyncio.wait_for(loop.sock_recv(sock, 64), 1.0)
        except (OSError, TimeoutError):
            return b""
    return bytes(reply)


async def until_it_answers(path: str) -> bool:
    """Wait for the server on this socket to be ready to work; False if it stays silent too long."""
    loop = asyncio.get_running_loop()
    heard_at, pause = loop.time(), RETRY
    while not (reply := await ask(path)).startswith(b"+PONG"):
        if reply:
            heard_at, pause = loop.time(), LOADING  # -LOADING: what it has kept is much
        elif loop.time() > heard_at + PATIENCE:
            return False
        await asyncio.sleep(pause)
    return True


class EmbeddedBroker:
    """The broker of a fleet, and its keeper."""

    def __init__(self, fleet: Reconciler, lifeline: int) -> None:
        self._fleet = fleet
        #: the read end of the pipe whose write ends keep the broker alive
        self._lifeline = lifeline
        self.pid: int | None = None
        self.keeper: int | None = None

    def start(self) -> None:
        """Start the server and its keeper; what becomes of it is told by events."""
        plan = self._fleet.plan.broker
        try:
            self.pid = start(plan, self._log, self._fleet.plan.logs)
            self.keeper = keep(self.pid, self._lifeline)
        except OSError as error:
            if self.pid is not None:  # there is no keeper; two servers on one folder would be worse than none
                process.kill_group(self.pid)
                self.pid = None
            self._fleet.happen(BrokerExited(f"{plan.argv[0]} could not be started: {error.strerror}"))
            return
        self._fleet.background(self._await(self.pid))

    def adopt(self, pid: int) -> None:
        """Take over the server of an earlier supervisor, which is not our child."""
        self._fleet.happen(BrokerFound())
        self.pid = pid
        self.keeper = keep(pid, self._lifeline)
        process.watch(pid, partial(self._gone, "it stopped"))
        self._fleet.background(self._await(pid))

    def stop(self, kill: bool) -> None:
        """Ask the server to stop, or make it."""
        if self.pid is not None:
            process.tell(self.pid, signal.SIGKILL if kill else signal.SIGTERM)

    def owns(self, pid: int) -> bool:
        """Tell whether this is the server."""
        return pid == self.pid

    def ended(self, pid: int, code: int) -> bool:
        """Take note of a child's exit, if it was the server; tell whether it was."""
        if pid != self.pid:
            return False
        self._gone(process.explain(code))
        return True

    @property
    def _log(self) -> Path:
        return self._fleet.home / "logs" / "broker.log"

    async def _await(self, pid: int) -> None:
        answered = await until_it_answers(self._fleet.plan.broker.socket)
        if self.pid != pid:
            return
        if answered:
            self._fleet.say("the broker is ready")
            self._fleet.happen(BrokerUp())
        else:
            self._fleet.say("the broker does not answer; killing it")
            process.kill_group(pid)

    def _gone(self, reason: str) -> None:
        self.pid = None
        if self.keeper is not None:
            process.tell(self.keeper, signal.SIGKILL)
            self.keeper = None
        self._fleet.say(f"the broker has ended: {reason}")
        told = [line for line in last_lines(self._log, 8) if " # " in line or "rror" in line]
        self._fleet.happen(BrokerExited("; ".join([reason, *told[-2:]])))
