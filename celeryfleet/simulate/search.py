"""The smallest number of replicas that will do, and what another order of reading would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from celeryfleet.simulate.forecast import FULL, Forecast, forecast, parts

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, PoolPlan

#: tasks of one simulation of a search, and processes at most
_TASKS, MOST = 20_000, 100_000


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of a queue: that so many percent of its messages wait for less than that."""

    queue: str
    percent: int = 95
    #: None: that it keeps up
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What was found for a target."""

    target: Target
    pool: PoolPlan
    #: replicas; None: no number will do
    needed: int | None
    #: seconds of waiting by replicas, None: longer and longer
    tried: dict[int, float | None] = field(default_factory=dict)


def wait(forecasts: Sequence[Forecast], queue: str, percent: int) -> float | None:
    """Return a percentile of the seconds that messages of a queue wait, of whatever priority; None: not known."""
    mixed = []
    for one in (one for one in forecasts if one.traffic.queue == queue and one.traffic.rate):
        if not one.waits:
            return None
        mixed += [(seconds, one.traffic.rate) for seconds in one.waits[:100]]
    left = sum(rate for _, rate in mixed) * percent / 100
    for seconds, rate in sorted(mixed):
        left -= rate
        if left < 0:
            return seconds
    return 0.0


def first_reader(plan: Plan, queue: str) -> PoolPlan | None:
    """Return the pool that reads a queue before others."""
    readers = [pool for pool in plan.pools if queue in pool.queues]
    return min(readers, key=lambda pool: pool.queues.index(queue), default=None)


def search(plan: Plan, now: Sequence[Forecast], target: Target, seed: int = 1) -> Search | None:
    """Find the smallest number of replicas, of the pool that reads a queue first, for a target; None: no pool does.

    `now` is the forecast for the plan, of some messages of that queue at least.
    """
    pool = first_reader(plan, target.queue)
    if pool is None:
        return None
    _, some = next(part for part in parts(plan.pools, [one.traffic for one in now]) if pool in part[0])
    some = [replace(one, backlog=0) for one in some]
    tried = {} if pool.autoscale else {pool.replicas: wait(now, target.queue, target.percent)}

    def meets(replicas: int) -> bool:
        expected = now
        if replicas != pool.replicas or pool.autoscale:
            expected = forecast(fixed(plan, {pool.name: replicas}), some, seed, _TASKS)
        tried[replicas] = found = wait(expected, target.queue, target.percent)
        if target.seconds is None:
            return found is not None and all(one.load < FULL for one in expected if one.traffic.queue == target.queue)
        return found is not None and found < target.seconds

    # Fewer cannot do what comes, whatever else they have to do.
    others = sum(one.replicas * one.concurrency for one in plan.pools if one is not pool and target.queue in one.queues)
    demand = sum(one.demand for one in some if one.queue == target.queue)
    low = max(0, ceil((demand - others) / pool.concurrency) - 1)
    high, step = max(low + 1, pool.replicas), 1
    while not meets(high):
        low, high, step = high, high + step, 2 * step
        if high * pool.concurrency > MOST:
            return Search(target, pool, None, dict(sorted(tried.items())))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    for more in (high + 1, high + 2):  # what is won by some more
        if more not in tried:
            meets(more)
    return Search(target, pool, high, dict(sorted(tried.items())))


def fixed(plan: Plan, replicas: dict[str, int]) -> Plan:
    """Return the plan with these numbers of replicas, whatever an autoscaler says."""
    pools = (replace(pool, autoscale=None) if pool.name in replicas else pool for pool in plan.pools)
    return replace(plan, pools=tuple(pools)).scaled(replicas)


def by_turns(plan: Plan) -> Plan | None:
    """Return the plan with all queues read by turns; None: none are read in a strict order."""
    pools = []
    for pool in plan.pools:
        options = pool.conf.get("broker_transport_options", {})
        if len(pool.queues) > 1 and options.get("queue_order_strategy") == "priority":
            turns = {**options, "queue_order_strategy": "round_robin"}
            pools.append(replace(pool, conf={**pool.conf, "broker_transport_options": turns}))
        else:
            pools.append(pool)
    return None if tuple(pools) == plan.pools else replace(plan, pools=tuple(pools))
