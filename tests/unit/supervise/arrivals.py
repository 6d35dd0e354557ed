"""Patterns of arrivals, and what a pool with an autoscaler takes for each, simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from celeryfleet.plan.values import AutoscalePolicy
from celeryfleet.simulate.engine import Simulation, Stream
from tests.unit.supervise.histories import pool

#: seconds of one step, in which messages come together
STEP = 0.2


@dataclass(frozen=True)
class Pattern:
    """When messages come."""

    name: str
    #: seconds at which each is sent, ascending
    sent: tuple[float, ...]
    #: seconds that each task takes
    runtime: float
    #: seconds that are looked at: what a fleet costs when nothing is to do counts, too
    horizon: float
    #: seconds at which a new wave begins, each to be done before the next
    waves: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Outcome:
    """What a fleet took."""

    #: seconds from each wave's beginning until nothing is left of it
    drained: tuple[float, ...]
    #: seconds of all workers
    cost: float
    #: how often the number of replicas changed
    changes: int


def patterns(capacity: float, runtime: float = 2.0) -> Iterator[Pattern]:
    """Give the patterns, for a fleet that can do `capacity` tasks at a time."""
    top = 0.9 * capacity / runtime
    yield Pattern("burst", (60.0,) * round(100 * top), runtime, 900.0, (60.0,))
    yield Pattern("ramp", _spread(lambda at: top * at / 600, 600.0), runtime, 660.0)
    yield Pattern("sine", _spread(lambda at: top / 2 * (1 - math.cos(at / 600 * 2 * math.pi)), 1200.0), runtime, 1260.0)
    waves = tuple(300.0 * number for number in range(4))
    yield Pattern("on and off", _spread(lambda at: top if at % 300 < 60 else 0.0, 1200.0), runtime, 1200.0, waves)
    yield Pattern("slow tasks", (10.0,) * round(4 * capacity), 60.0, 900.0, (10.0,))


def _spread(rate: Callable[[float], float], seconds: float) -> tuple[float, ...]:
    """Send as many messages a second as `rate` says at each time."""
    sent, due = [], 0.0
    for step in range(round(seconds / STEP)):
        due += rate(step * STEP) * STEP
        while due >= 1:
            sent.append(step * STEP)
            due -= 1
    return tuple(sent)


def simulate(pattern: Pattern, policy: AutoscalePolicy, concurrency: int = 1) -> Outcome:
    """Run a pool through a pattern."""
    ends = (*pattern.waves[1:], math.inf)
    streams = [Stream("web", lambda: pattern.runtime) for _ in ends]
    fixed = policy.min == policy.max
    wide = pool(
        replicas=policy.min,
        conf={"worker_concurrency": concurrency, "worker_prefetch_multiplier": 1},
        autoscale=None if fixed else policy,
    )
    arrivals = ((at, sum(at >= end for end in ends)) for at in pattern.sent)
    found = Simulation([wide], streams, Random(1)).run(arrivals, until=pattern.horizon)
    drained = tuple(ended - began for ended, began in zip(found.ended, pattern.waves, strict=True))
    assert max(found.ended) <= pattern.horizon, f"{pattern.name} is not done within {pattern.horizon:g} s"
    return Outcome(drained, found.lived, len(found.sizes))
