"""The control socket: one JSON object a line, a request and its reply; server and client.

The socket is 0600: whoever may open it may run the fleet.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError
from celeryfleet.wire import LIMIT, Lines, Message, encode

if TYPE_CHECKING:
    import asyncio

Handler = Callable[[Message], Awaitable[Message]]

#: bytes that the path of a unix socket may have everywhere
MAX_PATH = 100


class NotRunningError(FleetError):
    """The fleet is not running."""

    def __init__(self, what: str = "The fleet is not running.") -> None:
        super().__init__(what, hint="Start it with `celeryfleet up -d`.", code=Exit.NOT_READY)


class Client:
    """A connection to a running supervisor."""

    def __init__(self, path: str, timeout: float | None = 30.0) -> None:
        self._lines = Lines()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NotRunningError from error
        except OSError as error:
            self._socket.close()
            raise FleetError(f"cannot open the control socket {path}: {error.strerror}", code=Exit.NOT_READY) from error

    def ask(self, do: str, **fields: Any) -> Message:
        """Send a request and return its reply; an error in it is raised as FleetError."""
        try:
            self._socket.sendall(encode({"do": do, **fields}))
            reply = self._read()
        except TimeoutError:
            raise FleetError("the supervisor does not answer", code=Exit.NOT_READY) from None
        except (ConnectionResetError, BrokenPipeError):
            raise NotRunningError("The fleet stopped while it was asked.") from None
        if not reply["ok"]:
            error = reply["error"]
            raise FleetError(error["what"], hint=error.get("hint", ""), code=Exit(error.get("code", Exit.FAILURE)))
        return reply

    def patience(self, seconds: float | None) -> None:
        """Set how long a reply may take; None: for ever."""
        self._socket.settimeout(seconds)

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Message:
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise NotRunningError("The fleet stopped while it was asked.")
            messages = self._lines.feed(data)
            if messages:
                return messages[0]


class Server:
    """Answers requests, each connection by itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, path: str) -> asyncio.Server:
        """Serve on this socket; its folder is 0700 and it is 0600."""
        import asyncio

        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path, limit=LIMIT)
        Path(path).chmod(0o600)
        return server

    async def hang_up(self) -> None:
        """Close every connection, so that whoever waits for the end learns of it."""
        for writer in list(self._writers):
            writer.close()
        for writer in list(self._writers):
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        asked: set[str] = set()
        try:
            while line := await reader.readline():
                writer.write(encode(await _answer(line, self._handler, asked)))
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # it hung up, or spoke another protocol
        finally:
            self._writers.discard(writer)
            writer.close()
            if "leash" in asked:
                await self._handler({"do": "unleash"})


async def _answer(line: bytes, handler: Handler, asked: set[str]) -> Message:
    (message,) = Lines().feed(line) or ({"do": ""},)
    asked.add(str(message.get("do")))
    try:
        return {"ok": True, **await handler(message)}
    except FleetError as error:
        first = error.problems[0]
        return {"ok": False, "error": {"what": first.what, "hint": first.hint, "code": int(error.code)}}

