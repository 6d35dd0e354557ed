"""Asks a broker what waits, beside the supervisor's loop.

A Redis is asked by a client that blocks, in a thread; any other broker by a process of its own (client/counting.py),
since kombu is ten times the supervisor's size. It starts where it is needed, and ends with the socket to it.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from celeryfleet.depths import measure
from celeryfleet.protocol import Backlog, Depths
from celeryfleet.records import LIMIT, encode, parse
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.state import Phase
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.status import backlog

#: seconds that a Redis has to answer, and another broker with the start of the process that asks it
_REDIS, _OTHER = 2.0, 30.0


class Counting:
    """Counts what waits in queues."""

    def __init__(self) -> None:
        self._process: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        #: why the latest look has failed, if it has
        self._trouble = ""

    async def look(self, fleet: Reconciler) -> dict[str, dict[str, Any]] | None:
        """Count what waits in a fleet's queues; None: that can't be known now, of which the log tells once."""
        if fleet.target.embeds and fleet.state.broker.phase is not Phase.UP:
            return None
        trouble, self._trouble = self._trouble, ""
        try:
            return await self.count(backlog(fleet.target, fleet.state))
        except Exception as error:  # most often the broker is away: it comes back, or its own watch tells
            self._trouble = str(error)
            if self._trouble != trouble:
                fleet.say(f"the queues could not be measured: {error}")
            return None

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
            self._process = await process.converse("celeryfleet.client.counting", os.environ, LIMIT)
        reader, writer = self._process
        writer.write(encode(asked))
        found: Depths = parse(Depths, await reader.readline())
        return found

    def close(self) -> None:
        """Have the process end, if there is one."""
        if self._process is not None:
            self._process[1].close()
        self._process = None
