"""Stands between a worker and its Redis, and does something to them when so many messages have gone by."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from celeryfleet.redis_client import Replies


class Proxy:
    """A socket that leads to the server; counts requests and replies, of all connections, one by one."""

    def __init__(self, path: Path, server: Path) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ways: dict[socket.socket, Way] = {}
        self._done = False
        self.seen = 0
        #: what happens instead of passing on the message of this number; all connections are cut after it
        self.at: dict[int, Callable[[], None]] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Cut all connections and end."""
        self._done = True
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(self._listener.getsockname())
            self._thread.join()
        self._cut()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._done:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._ways:
                    self._pass_on(self._ways[key.fileobj])

    def _accept(self) -> None:
        inner, _ = self._listener.accept()
        outer = socket.socket(socket.AF_UNIX)
        outer.connect(str(self._server))
        for source, target in ((inner, outer), (outer, inner)):
            self._ways[source] = Way(source, target)
            self._selector.register(source, selectors.EVENT_READ)

    def _pass_on(self, way: Way) -> None:
        try:
            for message in way.read():
                self.seen += 1
                if act := self.at.pop(self.seen, None):
                    act()
                    self._cut()
                    return
                way.target.sendall(message)
        except OSError:
            self._hang_up(way)

    def _hang_up(self, way: Way) -> None:
        for end in (way.source, way.target):
            self._selector.unregister(end)
            del self._ways[end]
            end.close()

    def _cut(self) -> None:
        while self._ways:
            self._hang_up(next(iter(self._ways.values())))


class Way:
    """What one end says to the other."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self._left = b""

    def read(self) -> list[bytes]:
        """Return the whole messages that have come; OSError at the end."""
        data = self.source.recv(1 << 20)
        if not data:
            raise ConnectionResetError
        self._left += data
        messages = []
        while size := self._first():
            messages.append(self._left[:size])
            self._left = self._left[size:]
        return messages

    def _first(self) -> int:
        """Measure the first message; 0 if it is not whole."""
        pieces = iter([self._left])
        replies = Replies(lambda _: next(pieces, b""))
        try:
            replies.read()
        except EOFError:
            return 0
        return len(self._left) - len(replies._buffer)
