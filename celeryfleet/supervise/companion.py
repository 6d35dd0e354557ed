"""Runs the page of `up --ui` beside the fleet: a process that is started again when it dies, and ends with the fleet.

Its stdin is a socket to us: it writes where it is shown, and ends when our end is closed, however that came about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from celeryfleet.errors import Exit, FleetError
from celeryfleet.logs.read import last_lines
from celeryfleet.supervise import process

#: seconds that it may take to start and to end, and before it is started again, at first and at most
_START, _END, _FIRST, _LONGEST = 30.0, 5.0, 1.0, 60.0


class Companion:
    """The page's process."""

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._log = log
        self._say = say
        self._words: tuple[str, ...] = ()
        self._url = ""
        self._pid = 0
        self._socket: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def show(self, words: tuple[str, ...]) -> str:
        """Have the page run by these words of a command line; return its address. Raises FleetError."""
        if words == self._words and self._url:
            return self._url
        await self.close()
        try:
            url = await self._start(words)
        except (OSError, TimeoutError) as error:
            await self.close()
            raise FleetError(f"the page does not start: {error}.", code=Exit.NOT_READY) from None
        if not url:
            await self.close()
            said = last_lines(self._log, 2)
            raise FleetError("the page does not start.", hint="\n".join(said), code=Exit.NOT_READY)
        self._words = words
        self._keeping = asyncio.create_task(self._keep())
        return url

    async def close(self) -> None:
        """Have it end, if there is one, and wait for that."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])  # two can't wait for one socket
        self._words, self._keeping = (), None
        if self._socket is None:
            return
        reader, writer = self._socket
        self._socket, self._url = None, ""
        with contextlib.suppress(OSError, TimeoutError):
            writer.write_eof()
            await asyncio.wait_for(reader.read(), _END)
        if not reader.at_eof():
            process.kill_group(self._pid)
        writer.close()

    async def _start(self, words: tuple[str, ...]) -> str:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [*process.PYTHON, "-m", "celeryfleet", *words]
            self._pid = process.spawn(argv, os.environ, stdin=theirs.fileno(), out=str(self._log))
        self._socket = await asyncio.open_connection(sock=ours)
        self._url = (await asyncio.wait_for(self._socket[0].readline(), _START)).decode().strip()
        if self._url:
            self._say(f"the page is shown on {self._url}")
        return self._url

    async def _keep(self) -> None:
        """Start it again whenever it ends."""
        pause = _FIRST
        while True:
            if self._socket is not None:
                await self._socket[0].read()
                self._socket[1].close()
                self._url = ""
            self._say(f"the page has ended; it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST)
            with contextlib.suppress(OSError, TimeoutError):
                if await self._start(self._words):
                    pause = _FIRST
