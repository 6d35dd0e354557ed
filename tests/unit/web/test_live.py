"""The look that all open pages share."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

from celeryfleet.errors import FleetError
from celeryfleet.history import Moment
from celeryfleet.web.fleet import Fleet
from celeryfleet.web.live import Live
from tests.unit.shown import pool, reply, worker


class Looked:
    """A fleet that counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> Moment:
        """Say how it is; the second time, that it can't be asked."""
        self.looks += 1
        if self.looks == 2:
            raise FleetError("the supervisor does not answer")
        return Moment(time.time(), reply(pool("web", 1, worker("web-1"))))


async def told(events: Any) -> dict[str, Any]:
    """Return the next event."""
    found = json.loads((await anext(events)).removeprefix(b"data: "))
    assert isinstance(found, dict)
    return found


def test_all_pages_share_one_look_and_nobody_looks_when_the_last_is_closed() -> None:
    async def run() -> None:
        fleet = Looked()
        live = Live(cast(Fleet, fleet))
        assert not live.looking
        first, second = live.events(), live.events()
        assert (await told(first))["pools"][0]["workers"][0]["name"] == "web-1"
        assert (await told(second))["fleet"] == "shop"
        assert fleet.looks == 1
        both = await asyncio.gather(told(first), told(second))
        assert list(both) == [{"trouble": "the supervisor does not answer"}] * 2
        await first.aclose()
        assert live.looking
        await second.aclose()
        assert not live.looking
        looks = fleet.looks
        await asyncio.sleep(0)
        assert fleet.looks == looks == 2

    asyncio.run(run())


def test_streams_end_with_the_server() -> None:
    async def run() -> None:
        live = Live(cast(Fleet, Looked()))
        events = live.events()
        await told(events)
        live.close()
        assert [each async for each in events] == []

    asyncio.run(run())
