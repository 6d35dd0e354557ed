"""Measures the queues of autoscaled pools every few seconds and has the plan follow.

What waits is asked of the broker (counting.py); what runs is known from the workers' heartbeats. A fleet without
`autoscale` never starts any of this.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from celeryfleet.plan.autoscale import Load, Memory, Sample, wanted
from celeryfleet.plan.values import PoolPlan, number_of
from celeryfleet.supervise.counting import Counting
from celeryfleet.supervise.decide.state import Status, Worker
from celeryfleet.supervise.reconciler import Reconciler

#: seconds between two measurements
INTERVAL = 2.0


class Autoscaler:
    """Follows the policies of a fleet's pools."""

    def __init__(
        self, fleet: Reconciler, poke: Callable[[Collection[str]], Awaitable[None]], interval: float = INTERVAL
    ) -> None:
        self._fleet = fleet
        #: has the workers of some pools say how they are: an idle one's latest beat may be seconds old
        self._poke = poke
        self._interval = interval
        self._memories: dict[str, Memory] = {}
        self._running = False

    def start(self) -> None:
        """Begin, if some pool of the plan asks for it and it has not begun yet."""
        if self._pools() and not self._running:
            self._running = True
            self._fleet.background(self._run())

    def _pools(self) -> list[PoolPlan]:
        return [pool for pool in self._fleet.plan.pools if pool.autoscale is not None]

    async def _run(self) -> None:
        counting = Counting()
        while self._pools() and not self._fleet.state.stopping:
            depths = await counting.look(self._fleet)
            if depths is not None:
                await self._poke([pool.name for pool in self._pools()])
                if not self._fleet.state.stopping:
                    self.follow(depths, time.monotonic())
            await asyncio.sleep(self._interval)
        counting.close()
        self._running = False

    def follow(self, depths: dict[str, dict[str, Any]], now: float) -> None:
        """Scale the pools to what these depths and the workers' beats ask for."""
        state = self._fleet.state
        changed = {}
        readers = Counter(name for queues in self._fleet.plan.hosts.values() for name in set(queues))
        for pool in self._pools():
            assert pool.autoscale is not None
            workers = {worker.name: worker for worker in state.workers.values() if worker.pool == pool.name}
            sample = _sample(pool, depths, state.paused, readers, workers)
            verdict = wanted(state.settled(pool), pool.autoscale, sample, self._memories.get(pool.name, Memory()), now)
            self._memories[pool.name] = verdict.memory
            if verdict.replicas != pool.replicas:
                changed[pool.name] = _sized(pool, verdict.replicas, verdict.idlest, workers)
                self._fleet.say(f"scale {pool.name} to {verdict.replicas}: {verdict.cause}")
        if changed:
            plan = self._fleet.plan
            pools = tuple(changed.get(pool.name, pool) for pool in plan.pools)
            self._fleet.aim(replace(plan, pools=pools))


def _sample(
    pool: PoolPlan,
    depths: dict[str, dict[str, Any]],
    paused: Collection[str],
    readers: Counter[str],
    workers: Mapping[str, Worker],
) -> Sample:
    """Tell of a pool what was measured; of a queue that several hosts read, each does its share."""
    found = {name: depths[name] for name in pool.queues if name in depths and name not in paused}
    ages = [depth["oldest_age_s"] for depth in found.values() if depth["oldest_age_s"] is not None]
    ready = sum((depth["ready"] or 0) / max(1, readers[name]) for name, depth in found.items())
    loads = {
        name: Load(worker.beat.active, worker.beat.reserved, worker.processed_before + worker.beat.processed)
        for name, worker in workers.items()
        if worker.status is Status.READY
    }
    return Sample(math.ceil(ready), max(ages, default=None), loads)


def _sized(pool: PoolPlan, replicas: int, idlest: Collection[str], workers: Mapping[str, Worker]) -> PoolPlan:
    """Leave out workers that do not run, then the idlest; start none whose name one that still stops has."""
    idle = [number for number in reversed(pool.numbers) if pool.worker_name(number) not in idlest]
    names = {pool.worker_name(number): number for number in pool.numbers}
    first = [*idle, *(names[name] for name in idlest if name in names)]
    stopping = [number_of(name) for name, worker in workers.items() if worker.live and name not in names]
    return pool.sized(replicas, first, stopping)
