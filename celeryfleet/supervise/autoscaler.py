"""Measures the queues of autoscaled pools every few seconds and has the plan follow; Redis only.

The measuring is a request to the broker by a client that blocks, and so runs in a thread: the supervisor itself
never forks (it spawns), and its loop never waits. A fleet without `autoscale` never starts it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from celeryfleet.plan.values import PoolPlan
from celeryfleet.supervise.decide.autoscale import Memory, Sample, wanted
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.status import backlog

#: seconds between two measurements
INTERVAL = 2.0
#: seconds the broker has to answer
TIMEOUT = 2.0


class Autoscaler:
    """Follows the policies of a fleet's pools."""

    def __init__(self, fleet: Reconciler, interval: float = INTERVAL) -> None:
        self._fleet = fleet
        self._interval = interval
        self._memories: dict[str, Memory] = {}
        self._running = False
        #: why the latest measurement failed, if it did
        self._trouble = ""

    def start(self) -> None:
        """Begin, if some pool of the plan asks for it and it has not begun yet."""
        if self._pools() and not self._running:
            self._running = True
            self._fleet.background(self._run())

    def _pools(self) -> list[PoolPlan]:
        return [pool for pool in self._fleet.plan.pools if pool.autoscale is not None]

    async def _run(self) -> None:
        from celeryfleet.depths import measure

        while self._pools() and not self._fleet.state.stopping:
            asked = backlog(self._fleet.target, self._fleet.state)
            try:
                depths = await asyncio.to_thread(measure, asked, time.time(), TIMEOUT)
            except Exception as error:  # most often the broker is away: it comes back, or its own watch tells
                if str(error) != self._trouble:
                    self._fleet.say(f"the queues could not be measured: {error}")
                self._trouble = str(error)
            else:
                self._trouble = ""
                if not self._fleet.state.stopping:
                    self.follow(depths, time.monotonic())
            await asyncio.sleep(self._interval)
        self._running = False

    def follow(self, depths: dict[str, dict[str, Any]], now: float) -> None:
        """Scale the pools to what these depths ask for."""
        changes = {}
        for pool in self._pools():
            assert pool.autoscale is not None
            old = self._memories.get(pool.name, Memory(pool.replicas))
            memory = Memory(pool.replicas, old.changed_at)  # `scale` may have changed it by hand
            verdict = wanted(pool.autoscale, _sample(pool, depths), memory, now)
            self._memories[pool.name] = verdict.memory
            if verdict.memory.replicas != pool.replicas:
                changes[pool.name] = verdict.memory.replicas
                self._fleet.say(f"scale {pool.name} to {verdict.memory.replicas}: {verdict.cause}")
        if changes:
            self._fleet.aim(self._fleet.plan.scaled(changes))


def _sample(pool: PoolPlan, depths: dict[str, dict[str, Any]]) -> Sample:
    found = [depths[name] for name in pool.queues if name in depths]
    ages = [depth["oldest_age_s"] for depth in found if depth["oldest_age_s"] is not None]
    # What workers have taken ahead waits too: another replica could have taken it.
    waiting = sum((depth["ready"] or 0) + (depth["unacked"] or 0) for depth in found)
    return Sample(waiting, max(ages, default=None))
