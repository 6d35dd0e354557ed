"""The three layouts of examples/priorities: what each does to those who wait for a message."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from celeryfleet.fleetfile.load import parse
from celeryfleet.plan.build import build
from celeryfleet.plan.facts import Facts
from celeryfleet.routing.resolve import resolve
from celeryfleet.simulate.engine import Outcome, Simulation, Stream
from tests import ROOT


def morning(layout: str) -> Outcome:
    """Simulate 6,000 daily notifications at once, and 6 exports a second for 30 s; a task takes 20 ms in the mean."""
    file = ROOT / "examples" / "priorities" / f"{layout}.yaml"
    fleet = parse(file.read_text(), str(file), {})
    plan = build(fleet, Facts(host="host", cpus=2))
    random, streams = Random(1), []
    for task in ("notifications.daily", "notifications.export"):
        route = resolve(fleet, plan.routing, task)
        assert route.queue
        streams.append(Stream(route.queue, partial(random.expovariate, 50), route.priority or 0))
    arrivals = [(0.0, 0)] * 6000 + [(number / 6, 1) for number in range(180)]
    return Simulation(plan.pools, streams, random).run(arrivals)


@pytest.mark.parametrize(
    ("layout", "most", "done"), [("one-queue", 31.0, 31.0), ("per-message", 0.1, 31.0), ("dedicated", 0.05, 41.0)]
)
def test_an_export_waits_for_all_the_morning_or_for_a_task_or_for_nobody(layout: str, most: float, done: float) -> None:
    found = morning(layout)
    waits = sorted(found.waits[1])
    p95 = waits[len(waits) * 95 // 100]
    assert most / 3 < p95 < most or (p95 < most and layout == "dedicated")
    assert found.ended[0] == pytest.approx(done, rel=0.05)  # a dedicated worker does not help with the daily ones
