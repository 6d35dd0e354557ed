"""The supervisor's end of the control socket: takes requests, each connection by itself, and sends the replies.

The socket is 0600 in a folder that is 0700, and the kernel says who calls: the fleet's user, or root. Even they hold
only so much of the supervisor: connections, bytes and time have a limit.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from celeryfleet import private, trust
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Refused
from celeryfleet.records import LIMIT, Lines, Record, Room, decode, encode

#: seconds that a caller has to read its last answer when the fleet has stopped
_PARTING = 1.0
#: seconds that a caller has to end a request that it has begun, and to read a reply
_PATIENCE = 10.0
#: seconds that it has before its first one: `up` may declare queues meanwhile
_SILENCE = 120.0
#: seconds between two tries to accept where that fails: we are out of descriptors
_AGAIN = 0.1
#: callers that wait to be let in (the kernel may have a lower limit), and those that are in
_BACKLOG, _CALLERS = 4096, 256

#: takes a request, and what to call when its connection has ended; returns the reply. Raises FleetError
Handler: TypeAlias = Callable[[Any, "list[Callable[[], None]]"], Awaitable[Record]]


class ControlServer:
    """Answers requests of some types."""

    def __init__(self, requests: object, handler: Handler, trouble: Callable[[str, BaseException], None]) -> None:
        self._requests = requests
        self._handler = handler
        #: told of what should not have happened
        self._trouble = trouble
        self._listener = socket.socket(socket.AF_UNIX)
        self._door = asyncio.Semaphore(_CALLERS)
        #: of all requests that are not whole yet
        self._room = Room(2 * LIMIT)
        #: what serves each caller
        self._calls: set[asyncio.Task[None]] = set()
        #: those that are sending a reply
        self._replying: set[asyncio.Task[None] | None] = set()

    def listen(self, path: str) -> None:
        """Serve on this socket; its folder is 0700 and it is 0600. Raises OSError."""
        folder = Path(path).parent
        private.folder(str(folder.parent), folder.name)
        Path(path).unlink(missing_ok=True)
        self._listener.setblocking(False)
        with private.umask():
            self._listener.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101
        self._listener.listen(_BACKLOG)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Let nobody in any more, and hang up on everyone, so that whoever waits for the end learns of it."""
        self._accepting.cancel()
        self._listener.close()
        for call in self._calls - self._replying:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_PARTING)
        for call in self._calls:
            call.cancel()  # it asked, and reads no answer
        if self._calls:
            await asyncio.wait(self._calls)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._door.acquire()
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                self._door.release()
                self._trouble("nobody can be let in", error)
                await asyncio.sleep(_AGAIN)
                continue
            call = loop.create_task(self._serve(sock))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._door.release()
        error = None if call.cancelled() else call.exception()
        if error is not None:
            self._trouble("a caller could not be served", error)

    async def _serve(self, sock: socket.socket) -> None:
        lines = Lines(dict[str, object], LIMIT, self._room)
        at_end: list[Callable[[], None]] = []
        try:
            if trust.stranger(uid := trust.peer(sock)):
                await self._send(sock, Refused(f"this fleet is not {trust.named(uid)}'s.", code=int(Exit.FAILURE)))
                return
            await self._converse(sock, lines, at_end)
        except (OSError, ValueError):
            pass  # it hung up, spoke another protocol, or went to sleep in the middle of a word
        finally:
            lines.drop()
            sock.close()
            for call in at_end:
                call()

    async def _converse(self, sock: socket.socket, lines: Lines, at_end: list[Callable[[], None]]) -> None:
        """Answer one request after another until the caller hangs up."""
        loop = asyncio.get_running_loop()
        deadline: float | None = loop.time() + _SILENCE
        while True:
            async with asyncio.timeout_at(deadline):
                data = await loop.sock_recv(sock, 1 << 16)
            if not data:
                return
            for message in lines.feed(data):
                await self._send(sock, await self._answer(message, at_end))
                deadline = None
            if lines.begun:
                deadline = min(deadline or math.inf, loop.time() + _PATIENCE)

    async def _send(self, sock: socket.socket, reply: Record) -> None:
        call = asyncio.current_task()
        self._replying.add(call)
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_sendall(sock, encode(reply))
        finally:
            self._replying.discard(call)

    async def _answer(self, message: dict[str, object], at_end: list[Callable[[], None]]) -> Record:
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
