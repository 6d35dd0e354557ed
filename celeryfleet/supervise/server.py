"""The supervisor's end of a fork server: starting it, asking it for workers, hearing from it."""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from celeryfleet.supervise import process
from celeryfleet.wire import encode, receive_with_fds

if TYPE_CHECKING:
    from celeryfleet.wire import Message


class ForkServer:
    """One fork server process and the channel to it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    @classmethod
    def start(cls) -> ForkServer:
        """Start a server; it imports Celery at once, and the app when it is told which. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [*process.PYTHON, "-m", "celeryfleet.worker", "server", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            pid = process.spawn(argv, os.environ, [theirs.fileno()])
        ours.setblocking(False)
        return cls(pid, ours)

    def send(self, message: Message, fds: list[int]) -> bool:
        """Send a request with descriptors, which are closed once sent; False if it must wait (see `flush`)."""
        self._waiting.append((encode(message), fds))
        return self.flush()

    def flush(self) -> bool:
        """Send what waits; False while the server is too busy to take it."""
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                socket.send_fds(self.channel, [data], fds)
            except BlockingIOError:
                return False
            except OSError:
                pass  # it is gone; its exit will tell, and so will the closed descriptors
            self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        return True

    def receive(self) -> Message | None:
        """Read one message; None when the server has closed the channel. Raises BlockingIOError."""
        try:
            message, _ = receive_with_fds(self.channel)
        except ConnectionResetError:
            return None
        return message

    def close(self) -> None:
        """Close the channel, at which the server exits."""
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self.channel.close()
