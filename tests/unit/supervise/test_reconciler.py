"""The loop of a supervisor, with nothing real to carry out."""

from __future__ import annotations

import asyncio
import re

import pytest

from celeryfleet.protocol import Stop
from celeryfleet.supervise.decide.actions import Action
from celeryfleet.supervise.decide.events import BrokerUp
from celeryfleet.supervise.reconciler import Reconciler
from tests.unit.supervise.histories import plan, pool


def test_each_line_of_the_supervisors_log_has_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    Reconciler(plan(pool()), lambda action: None, lambda: None).say("one\ntwo")
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} one", first)
    assert second == first.replace("one", "two")


def test_what_happens_and_what_is_wanted_lead_to_actions_and_then_to_the_end() -> None:
    done: list[str] = []
    turns: list[int] = []

    async def live() -> None:
        fleet = Reconciler(
            plan(pool(), embedded=True), lambda action: done.append(str(action)), lambda: turns.append(1)
        )
        fleet.schedule()
        fleet.schedule()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done == ["start the broker: the fleet starts"]
        assert turns == [1], "asked for twice before it came, it is one turn"
        fleet.aim(fleet.plan.scaled({"web": 2}))
        fleet.happen(BrokerUp())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done[1:] == ["start web-1: it is wanted", "start web-2: it is wanted"]
        fleet.happen(Stop(cold=True))
        await asyncio.sleep(0)
        assert not fleet.finished.is_set()

    asyncio.run(live())


def test_an_action_that_cannot_be_carried_out_does_not_end_supervision(capsys: pytest.CaptureFixture[str]) -> None:
    failing = [OSError(28, "No space left on device")]

    def execute(action: Action) -> None:
        if failing:
            raise failing.pop()

    async def live() -> None:
        fleet = Reconciler(plan(pool()), execute, lambda: None)
        fleet.happen(Stop())
        await asyncio.wait_for(fleet.finished.wait(), 20)

    asyncio.run(live())
    assert "a decision could not be carried out: OSError(28, 'No space left on device')" in capsys.readouterr().out
