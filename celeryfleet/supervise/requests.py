"""The supervisor's end of the control socket: takes requests, each connection by itself, and answers them.

The socket is 0600 in a folder that is 0700: whoever may open it may run the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.errors import FleetError
from celeryfleet.wire import LIMIT, Lines, encode

if TYPE_CHECKING:
    from celeryfleet.wire import Message

Handler: TypeAlias = "Callable[[Message], Awaitable[Message]]"


class Server:
    """Answers requests, each connection by itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, path: str) -> asyncio.Server:
        """Serve on this socket; its folder is 0700 and it is 0600."""
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
        except asyncio.CancelledError:
            pass  # the supervisor ends while a caller waits for something else
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
