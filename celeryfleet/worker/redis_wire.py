"""One connection to Redis on which nobody waits: commands are written at once, and answered in order, later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import ConnectionError as LostError

from celeryfleet.redis_client import ProtocolError, Push, Replies, encode

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply, Word

About = TypeVar("About")


class Wire(Generic[About]):
    """A connected redis-py connection, of which it takes over the socket.

    Each command is written with what it is about, by which its reply is known. Raises redis-py's ConnectionError.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sock = connection._sock
        self._replies = Replies(self._sock.recv)
        #: what the replies to come are about
        self._owed: deque[About] = deque()
        #: pools of threads acknowledge, too
        self._writing = threading.RLock()

    @property
    def lost(self) -> bool:
        """Whether the connection has been closed, by whomever."""
        return self._connection._sock is not self._sock

    def owing(self) -> list[About]:
        """Return what the replies to come are about."""
        with self._writing:
            return list(self._owed)

    def ask(self, *command: Word) -> Reply:
        """Write a command and wait for its reply; of use only before anything else was written."""
        self._write(encode(command))
        return self._read()

    def write(self, *commands: tuple[About, tuple[Word, ...]]) -> None:
        """Write commands; their replies come by `read`."""
        with self._writing:
            self._owed.extend(about for about, _ in commands)
            self._write(b"".join(encode(command) for _, command in commands))

    def read(self) -> Iterator[tuple[About | None, Reply]]:
        """Return what has come, waiting for the rest of a reply that has begun; a push is about nothing."""
        while True:
            reply = self._read()
            yield None if isinstance(reply, Push) else self._owed.popleft(), reply
            if not self._replies.begun and not (hasattr(self._sock, "pending") and self._sock.pending()):
                return

    def close(self, patience: float) -> Iterator[tuple[About | None, Reply]]:
        """Return what is still owed, each reply within so many seconds, and close."""
        try:
            self._sock.settimeout(patience)
            while self._owed:
                yield from self.read()
        finally:
            self._connection.disconnect()

    def _write(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._lose(error) from error

    def _read(self) -> Reply:
        try:
            return self._replies.read()
        except (OSError, EOFError, ProtocolError) as error:
            raise self._lose(error) from error

    def _lose(self, error: Exception) -> LostError:
        self._connection.disconnect()
        return LostError(f"the connection to Redis was lost: {error or 'it was closed'}")
