"""A Plan and its traffic → how loaded the workers are, how long messages wait, and when what waits now is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from math import inf
from random import Random
from typing import TYPE_CHECKING

from celeryfleet.simulate.engine import Outcome, Simulation, Stream

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, PoolPlan

#: tasks of one simulation at least, for each task that runs at a time, and of the rarest kind
TASKS, _EACH, _RARE = 40_000, 20, 500
#: near its limit a queue takes long to settle: so many tasks for the square of the part that is to spare; an
#: autoscaler does after some cooldowns; and how many times as many as else that, or a rare kind, may take
_SETTLES, _COOLDOWNS, _LONGER = 2000, 10, 5
#: an autoscaler looks every other second, however little comes: seconds that are simulated then, and tasks at least
_SPAN, _FEW = 100_000, 10
#: tasks after which the sum of what was drawn is what it should be
_BLOCK = 10_000
#: the part of them before measuring begins, in which the queues fill
_WARM = 0.25
#: a queue that grows by more than this part of what comes, and by more messages than that, does not keep up
_GROWS, _SOME = 0.005, 10
#: so busy are the workers of a queue that does not keep up
FULL = 0.98
#: tasks of a simulation of what waits now: of a larger backlog a part is simulated, which is gone as much sooner
_DRAINED = 400_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes into a queue, of one priority: one message after another, as if from many senders (Poisson)."""

    queue: str
    #: messages a second
    rate: float
    #: seconds that tasks took, each as likely as another; a single one is the mean of an exponential distribution
    runtimes: tuple[float, ...]
    #: 9 runs first
    priority: int = 0
    #: messages that wait now
    backlog: int = 0
    #: acknowledged after they have run
    late: bool = False

    @property
    def runtime(self) -> float:
        """Return the mean, in seconds."""
        return sum(self.runtimes) / len(self.runtimes)

    @property
    def demand(self) -> float:
        """Return how many of its tasks run at a time if nothing is to pile up."""
        return self.rate * self.runtime


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the traffic of a fleet."""

    traffic: Sequence[Traffic] = ()
    #: seconds over which it was counted
    span: float = 0.0
    #: messages a second of the busiest minute, by queue
    busiest: Mapping[str, float] = field(default_factory=dict)
    #: messages that came all at once, and are no part of the rate, by queue
    bursts: Mapping[str, int] = field(default_factory=dict)
    #: messages that wait in queues of which no task has ended
    silent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of one kind of messages."""

    traffic: Traffic
    #: the part of the time that the processes which read the queue work; over 1: more comes than they can do; inf: none
    load: float
    #: seconds from a message's coming to its start, of every hundredth message; empty: it grows for ever
    waits: tuple[float, ...]
    #: messages by which the queue grows each second; 0: it keeps up
    growth: float
    #: seconds until its queue is empty; None: never, as things are
    gone: float | None = None


def forecast(plan: Plan, traffic: Sequence[Traffic], seed: int = 1, tasks: int = TASKS) -> list[Forecast]:
    """Simulate a fleet, and return what is to be expected once it goes on as it goes, and until what waits is gone."""
    found: dict[Traffic, Forecast] = {}
    pushes = plan.broker.transport == "amqp"
    for pools, some in parts(plan.pools, traffic):
        sized = [_sized(pool, some) for pool in pools]
        gone = _gone(sized, some, pushes, seed)
        for one in _settled(sized, some, pushes, seed, tasks):
            found[one.traffic] = replace(one, gone=gone.get(one.traffic.queue))
    return [found[one] for one in traffic]


def parts(
    pools: Sequence[PoolPlan], traffic: Sequence[Traffic]
) -> Iterator[tuple[Sequence[PoolPlan], Sequence[Traffic]]]:
    """Split a fleet into parts that have nothing to do with each other: pools that share queues, and their traffic."""
    left = list(pools)
    unread = [one for one in traffic if not any(one.queue in pool.queues for pool in pools)]
    if unread:
        yield (), unread
    while left:
        part, queues = [left.pop(0)], set[str]()
        for pool in part:
            queues |= set(pool.queues)
            part += [other for other in left if not queues.isdisjoint(other.queues)]
            left = [other for other in left if other not in part]
        some = [one for one in traffic if one.queue in queues]
        if some:
            yield part, some


def _sized(pool: PoolPlan, traffic: Sequence[Traffic]) -> PoolPlan:
    """Have a pool with an autoscaler begin with what the traffic needs: its growth is not what is asked for."""
    if pool.autoscale is None:
        return pool
    need = round(sum(one.demand for one in traffic if one.queue in pool.queues) / pool.concurrency + 0.5)
    return pool.sized(min(pool.autoscale.max, max(pool.autoscale.min, need)))


def _spare(pools: Sequence[PoolPlan], traffic: Sequence[Traffic]) -> float:
    """Return the part of the time that the processes have left; less than nothing where too much comes."""
    processes = sum(pool.replicas * pool.concurrency for pool in pools)
    return 1 - sum(one.demand for one in traffic) / max(1, processes)


def _settled(
    pools: Sequence[PoolPlan], traffic: Sequence[Traffic], pushes: bool, seed: int, tasks: int
) -> Iterator[Forecast]:
    rates = [one.rate for one in traffic]
    total, rarest = sum(rates), min((rate for rate in rates if rate), default=0.0)
    if not total:
        yield from (Forecast(one, 0.0, (0.0,) * 101, 0.0) for one in traffic)
        return
    cooldown = max((pool.autoscale.cooldown for pool in pools if pool.autoscale), default=0.0)
    settles = _SETTLES / max(0.01, abs(_spare(pools, traffic))) ** 2
    needs = max(settles, _RARE * total / rarest, _COOLDOWNS * cooldown * total)
    tasks = round(max(tasks, min(_LONGER * tasks, needs)))
    if any(pool.autoscale for pool in pools):
        tasks = min(tasks, max(_FEW, round(_SPAN * total)))
    tasks = max(tasks, round(_EACH * sum(one.demand for one in traffic)))
    arrivals, streams = sampled(traffic, seed, tasks)
    outcome = Simulation(pools, streams, Random(seed), pushes).run(arrivals, warm=_WARM * tasks / total)
    yield from (_expected(pools, traffic, number, outcome) for number in range(len(traffic)))


def _expected(pools: Sequence[PoolPlan], traffic: Sequence[Traffic], number: int, outcome: Outcome) -> Forecast:
    one, grown = traffic[number], outcome.grown[number]
    readers = [pool for pool in pools if one.queue in pool.queues]
    processes = sum((pool.autoscale.max if pool.autoscale else pool.replicas) * pool.concurrency for pool in readers)
    every = zip(traffic, outcome.grown, strict=True)
    piled = sum(more * other.runtime for other, more in every if other.queue == one.queue)
    busy = sum(outcome.busy[pool.name] for pool in readers)
    load = (busy + piled) / (processes * outcome.measured) if processes else inf
    if load >= FULL and grown > max(_SOME, _GROWS * one.rate * outcome.measured):
        return Forecast(one, load, (), grown / outcome.measured)
    waits = sorted(outcome.waits[number]) or [0.0]  # so rare that none came
    shown = tuple(waits[min(len(waits) - 1, len(waits) * percent // 100)] for percent in range(101))
    return Forecast(one, load, shown, 0.0)


def _gone(pools: Sequence[PoolPlan], traffic: Sequence[Traffic], pushes: bool, seed: int) -> dict[str, float]:
    """Simulate until what waits now is gone, or a part of it; return the seconds, by queue, of those that empty."""
    backlog, processes = sum(one.backlog for one in traffic), sum(pool.replicas * pool.concurrency for pool in pools)
    if not backlog:
        return {one.queue: 0.0 for one in traffic}
    most = 2 * (backlog + processes) / max(0.01, _spare(pools, traffic))
    times = max(1.0, min(most / _DRAINED, backlog / (_EACH * max(1, processes))))
    # That all processes are free to begin with must not count for more than it is.
    scale = (1 + processes * (times - 1) / backlog) / times
    backlogs = [round(one.backlog * scale) for one in traffic]
    arrivals, streams = sampled(traffic, seed, round(most / times), backlogs)
    simulation, queues = Simulation(pools, streams, Random(seed), pushes), {one.queue for one in traffic}
    emptied, end = simulation.outcome.emptied, arrivals[-1][0] if arrivals else inf
    simulation.run(takewhile(lambda _: not queues <= emptied.keys(), arrivals), backlogs)
    return {queue: at * times for queue, at in emptied.items() if at <= end}


def sampled(
    traffic: Sequence[Traffic], seed: int, count: int, backlogs: Sequence[int] = ()
) -> tuple[list[tuple[float, int]], list[Stream]]:
    """Draw so many arrivals, as (seconds, number of the stream), and how long each task takes."""
    random, total = Random(seed), sum(one.rate for one in traffic)
    count = count if total else 0
    gaps = _stretched([random.expovariate(1.0) for _ in range(count)], 1 / (total or 1.0))
    numbers = random.choices(range(len(traffic)), [one.rate for one in traffic], k=count) if count else []
    streams = []
    for number, one in enumerate(traffic):
        draws = numbers.count(number) + sum(backlogs[number : number + 1])
        if len(one.runtimes) > 1:
            times = random.choices(one.runtimes, k=draws)
        else:
            times = [random.expovariate(1.0) for _ in range(draws)]
        streams.append(Stream(one.queue, _stretched(times, one.runtime).__next__, one.priority, one.late))
    return list(zip(accumulate(gaps), numbers, strict=True)), streams


def _stretched(values: list[float], mean: float) -> Iterator[float]:
    """Stretch each block of values to a mean: near its limit a queue makes much of a little more for a long time."""
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        factor = mean * len(block) / (sum(block) or 1.0)
        for value in block:
            yield value * factor
