"""The fork server's process: starting it, asking it for workers, hearing from it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from typing import TYPE_CHECKING

from celeryfleet.protocol import receive_with_fds, send_with_fds
from celeryfleet.supervise import process

if TYPE_CHECKING:
    from celeryfleet.protocol import Message
    from celeryfleet.supervise.core import Core


class ForkServer:
    """One fork server process and the channel to it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self._waiting: deque[tuple[Message, list[int]]] = deque()

    @classmethod
    def start(cls, log: str = os.devnull) -> ForkServer:
        """Start a server; it imports Celery at once, and the app when it is told which. Raises OSError.

        Until then it writes to `log`: never to what a parent of ours may be reading to its end.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [*process.PYTHON, "-m", "celeryfleet.worker", "server", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            pid = process.spawn(argv, os.environ, [theirs.fileno()], out=log)
        ours.setblocking(False)
        return cls(pid, ours)

    def send(self, message: Message, fds: list[int]) -> bool:
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

    def receive(self) -> Message | None:
        """Read one message; None when the server has closed the channel. Raises BlockingIOError."""
        try:
            message, _ = receive_with_fds(self.channel)
        except (ConnectionResetError, ValueError):
            return None
        return message

    def close(self) -> None:
        """Close the channel, at which the server exits."""
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self.channel.close()


class Forkery:
    """Whichever fork server the fleet has now."""

    def __init__(self, core: Core, lifeline: int, prepared: ForkServer | None) -> None:
        self._core = core
        self._lifeline = lifeline
        self._server = prepared
        #: a server that imports Celery already, and has not been told the app
        self._fresh = prepared is not None
        if prepared is not None:
            self._listen(prepared)

    @property
    def pid(self) -> int | None:
        """The server's pid."""
        return None if self._server is None else self._server.pid

    def start(self, generation: int) -> None:
        """Have a server import the app; the one before, if any, is closed."""
        from celeryfleet.supervise.decide.events import ServerExited

        if not self._fresh or self._server is None:
            self.drop()
            try:
                self._server = ForkServer.start(self._core.log("preload")["path"])
            except OSError as error:
                self._core.happen(ServerExited(f"it could not be started: {error.strerror}"))
                return
            self._listen(self._server)
        self._fresh = False
        message = {
            **self._core.app(),
            "env": self._core.plan.env,
            "log": self._core.log("preload"),
            "generation": generation,
        }
        self._send(self._server, message, [os.dup(self._lifeline)])

    def fork(self, start: Message, heartbeat: int) -> None:
        """Ask for a worker; `heartbeat` is its end of the line, and is closed here."""
        if self._server is None:
            os.close(heartbeat)  # at which the worker counts as ended
        else:
            self._send(self._server, start, [heartbeat])

    def drop(self) -> None:
        """Close the server; its workers live on."""
        self._fresh = False
        if self._server is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._server.channel)
            loop.remove_writer(self._server.channel)
            self._server.close()
            process.tell(self._server.pid, signal.SIGKILL)  # it may be in the middle of a long import
            self._server = None

    def ended(self, pid: int, code: int) -> bool:
        """Take note of a child's exit, if it was the server; tell whether it was."""
        from celeryfleet.supervise.decide.events import ServerExited

        if pid != self.pid:
            return False
        self.drop()
        self._core.say(f"the fork server has ended: {process.explain(code)}")
        self._core.happen(ServerExited(process.explain(code)))
        return True

    def _listen(self, server: ForkServer) -> None:
        asyncio.get_running_loop().add_reader(server.channel, self._hear, server)

    def _send(self, server: ForkServer, message: Message, fds: list[int]) -> None:
        if not server.send(message, fds):
            asyncio.get_running_loop().add_writer(server.channel, self._flush, server)

    def _flush(self, server: ForkServer) -> None:
        if server.flush():
            asyncio.get_running_loop().remove_writer(server.channel)

    def _hear(self, server: ForkServer) -> None:
        from celeryfleet.supervise.decide.events import ServerBroken, ServerReady

        try:
            message = server.receive()
        except BlockingIOError:
            return
        if message is None:
            asyncio.get_running_loop().remove_reader(server.channel)  # its exit will be reaped
        elif message["t"] == "preloaded":
            self._core.tasks = message["tasks"]
            self._core.say(f"the app is imported, in {message['seconds']:.2f} s; {len(message['tasks'])} tasks")
            self._core.happen(ServerReady(self._core.state.server.generation, message["unsafe"]))
        else:
            self._core.happen(ServerBroken(message["error"]))
