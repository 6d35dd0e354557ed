"""The supervisor's end of the control socket: takes requests, each connection by itself, and sends the replies.

The socket is 0600 in a folder that is 0700: whoever may open it may run the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Refused
from celeryfleet.records import LIMIT, Record, decode, encode

#: seconds that a caller has to read its last answer when the fleet has stopped
_PARTING = 1.0

#: takes a request, and what to call when its connection has ended; returns the reply. Raises FleetError
Handler: TypeAlias = Callable[[Any, "list[Callable[[], None]]"], Awaitable[Record]]


class ControlServer:
    """Answers requests of some types."""

    def __init__(self, requests: object, handler: Handler, trouble: Callable[[str, BaseException], None]) -> None:
        self._requests = requests
        self._handler = handler
        #: told of what should not have happened
        self._trouble = trouble
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
        writers = list(self._writers)
        for writer in writers:
            writer.close()
        closing = [asyncio.ensure_future(writer.wait_closed()) for writer in writers]
        if closing:
            await asyncio.wait(closing, timeout=_PARTING)
        for writer, closed in zip(writers, closing, strict=True):
            if not closed.done():
                writer.transport.abort()  # it asked, and reads no answer
            with contextlib.suppress(OSError):
                await closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        at_end: list[Callable[[], None]] = []
        try:
            while line := await reader.readline():
                writer.write(encode(await self._answer(json.loads(line), at_end)))
                await writer.drain()
        except (OSError, ValueError, RecursionError):
            pass  # it hung up, or spoke another protocol
        except asyncio.CancelledError:
            pass  # the supervisor ends while a caller waits for something else
        finally:
            self._writers.discard(writer)
            writer.close()
            for call in at_end:
                call()

    async def _answer(self, message: object, at_end: list[Callable[[], None]]) -> Record:
        if not isinstance(message, dict):
            raise ValueError("it is no message")
        try:
            request = decode(self._requests, message)
        except ValueError as error:
            return Refused(f"the supervisor does not understand this: {error}.", _UPGRADED)
        try:
            return await self._handler(request, at_end)
        except FleetError as error:
            first = error.problems[0]
            return Refused(first.what, first.hint, int(error.code))
        except Exception as error:  # the caller is told, and the fleet goes on
            name = type(request).__name__.lower()
            self._trouble(f'the request "{name}" failed', error)
            return Refused(f'the supervisor could not do "{name}": {error!r}.', _UPGRADED, int(Exit.FAILURE))


_UPGRADED = "If celeryfleet was upgraded while the fleet ran: `celeryfleet down`, then `celeryfleet up`."
