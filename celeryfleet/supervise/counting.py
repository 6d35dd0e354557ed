"""Asks a broker what waits, beside the supervisor's loop.

A Redis is asked by a client that blocks, in a thread; any other broker by a process of its own (client/counting.py),
since kombu is ten times the supervisor's size. It starts where it is needed, and ends with the socket to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

from celeryfleet.depths import measure
from celeryfleet.protocol import Backlog, Depths
from celeryfleet.records import LIMIT, encode, parse
from celeryfleet.supervise import process

#: seconds that a Redis has to answer, and another broker with the start of the process that asks it
_REDIS, _OTHER = 2.0, 30.0


class Counting:
    """Counts what waits in queues."""

    def __init__(self) -> None:
        self._process: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def count(self, asked: Backlog) -> dict[str, dict[str, Any]]:
        """Return each queue's `ready` messages and `oldest_age_s`. Raises OSError where the broker does not answer."""
        if asked.transport == "redis":
            return await asyncio.to_thread(measure, asked, time.time(), _REDIS)
        try:
            async with asyncio.timeout(_OTHER):
                found = await self._ask(asked)
        except (OSError, ValueError) as error:
            self.close()
            raise ConnectionError(f"the process that asks it does not answer ({error!r})") from error
        if found.trouble:
            raise ConnectionError(found.trouble)
        return {name: {"ready": ready, "oldest_age_s": None} for name, ready in found.ready.items()}

    async def _ask(self, asked: Backlog) -> Depths:
        if self._process is None:
            ours, theirs = socket.socketpair()
            with theirs:
                argv = [*process.PYTHON, "-m", "celeryfleet.client.counting", str(theirs.fileno())]
                process.spawn(argv, os.environ, [theirs.fileno()])
            self._process = await asyncio.open_connection(sock=ours, limit=LIMIT)
        reader, writer = self._process
        writer.write(encode(asked))
        found: Depths = parse(Depths, await reader.readline())
        return found

    def close(self) -> None:
        """Have the process end, if there is one."""
        if self._process is not None:
            self._process[1].close()
        self._process = None
