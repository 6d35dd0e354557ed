"""The supervisor's end of the control socket: takes requests, each connection by itself, and answers them.

The socket is 0600 in a folder that is 0700: whoever may open it may run the fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import LIMIT, Lines, encode

if TYPE_CHECKING:
    from celeryfleet.protocol import Message

#: seconds that a caller has to read its last answer when the fleet has stopped
_PARTING = 1.0

Handler: TypeAlias = "Callable[[Message], Awaitable[Message]]"


class Server:
    """Answers requests, each connection by itself."""

    def __init__(self, handler: Handler, trouble: Callable[[str, BaseException], None]) -> None:
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
        asked: set[str] = set()
        try:
            while line := await reader.readline():
                writer.write(encode(await self._answer(line, asked)))
                await writer.drain()
        except (OSError, ValueError, RecursionError):
            pass  # it hung up, or spoke another protocol
        except asyncio.CancelledError:
            pass  # the supervisor ends while a caller waits for something else
        finally:
            self._writers.discard(writer)
            writer.close()
            if "leash" in asked:
                await self._handler({"do": "unleash"})

    async def _answer(self, line: bytes, asked: set[str]) -> Message:
        (message,) = Lines().feed(line) or ({"do": ""},)
        do = str(message.get("do"))
        asked.add(do)
        try:
            return {"ok": True, **await self._handler(message)}
        except FleetError as error:
            first = error.problems[0]
            return _refusal(first.what, first.hint, error.code)
        except Exception as error:  # the caller is told, and the fleet goes on
            self._trouble(f'the request "{do}" failed', error)
            hint = "If celeryfleet was upgraded while the fleet ran: `celeryfleet down`, then `celeryfleet up`."
            return _refusal(f'the supervisor could not do "{do}": {error!r}.', hint, Exit.FAILURE)


def _refusal(what: str, hint: str, code: Exit) -> Message:
    return {"ok": False, "error": {"what": what, "hint": hint, "code": int(code)}}
