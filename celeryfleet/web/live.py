"""The one look that all open pages share: taken while there is a page, and by nobody when the last has gone."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import closing
from typing import TYPE_CHECKING

from celeryfleet.errors import FleetError
from celeryfleet.history import History
from celeryfleet.text import clean
from celeryfleet.web import documents

if TYPE_CHECKING:
    from celeryfleet.web.fleet import Fleet

#: seconds between two looks, and workers for each second more
_PAUSE, _MANY = 1.0, 200
#: seconds after which a stream that has nothing to tell says that it lives
_QUIET = 15.0
#: seconds between two looks at the logs, and lines that are told of what was there
_LOGS, _LINES = 0.3, 300


def event(document: object) -> bytes:
    """Write one server-sent event."""
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


class Live:
    """Looks at the fleet for all pages."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pages = 0
        self._task: asyncio.Task[None] | None = None
        self._latest = b""
        self._changed = asyncio.Event()
        self.closed = False

    @property
    def looking(self) -> bool:
        """Tell whether anybody looks."""
        return self._task is not None

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._changed.set()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Tell how the fleet is, now and at each look."""
        self._pages += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            if self._latest:
                yield self._latest
            while not self.closed:
                try:
                    await asyncio.wait_for(self._changed.wait(), _QUIET)
                except TimeoutError:
                    yield b":\n\n"
                    continue
                if not self.closed:
                    yield self._latest
        finally:
            self._pages -= 1
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task, self._latest = None, b""

    async def log(self, of: str) -> AsyncGenerator[bytes, None]:
        """Tell the last lines of a log, then those that come."""
        with closing(await asyncio.to_thread(self._fleet.logs, of)) as follower:
            lines, due = await asyncio.to_thread(lambda: [*follower.backlog(_LINES)]), 0.0
            while not self.closed:
                if lines or time.monotonic() >= due:
                    yield event([(name, clean(line)) for name, line in lines])
                    due = time.monotonic() + _QUIET
                await asyncio.sleep(_LOGS)
                lines = await asyncio.to_thread(follower.poll)

    async def _watch(self) -> None:
        history: History | None = None
        while not self.closed:
            began, workers = time.monotonic(), 0
            try:
                moment = await asyncio.to_thread(self._fleet.look)
                if history is None:
                    history = History(moment)
                else:
                    history.add(moment)
                workers = sum(len(pool.workers) for pool in moment.status.pools)
                self._tell(event(documents.moment(history)))
            except (FleetError, OSError, sqlite3.Error) as error:
                self._tell(event({"trouble": str(error)}))
            spent = time.monotonic() - began
            await asyncio.sleep(max(0.2, _PAUSE + workers / _MANY - spent))

    def _tell(self, data: bytes) -> None:
        self._latest = data
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
