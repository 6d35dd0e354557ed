"""A pool under load, simulated: messages arrive in a pattern, workers take and do them, an autoscaler looks on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from celeryfleet.plan.values import AutoscalePolicy
from celeryfleet.supervise.decide.autoscale import Load, Memory, Sample, Verdict, wanted
from tests.unit.supervise.histories import pool

#: seconds of one step; between two looks of the autoscaler; until a worker works
STEP, LOOK, START = 0.2, 2.0, 1.0


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


@dataclass
class Worker:
    """One worker: what it has taken, and what it will have done when."""

    ready_at: float
    runs: list[float] = field(default_factory=list)
    taken: int = 0
    processed: int = 0
    stopping: bool = False


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
    queue: deque[float] = deque()
    coming = deque(pattern.sent)
    workers: dict[int, Worker] = {number: Worker(0.0) for number in range(1, policy.min + 1)}
    ends = (*pattern.waves[1:], math.inf)
    sent = [sum(1 for at in pattern.sent if at < end) for end in ends]
    memory, cost, changes, done = Memory(), 0.0, 0, 0
    drained: list[float] = []
    wide = pool(replicas=policy.min, concurrency=concurrency)
    for step in range(round(pattern.horizon / STEP)):
        now = step * STEP
        while coming and coming[0] <= now:
            queue.append(coming.popleft())
        for worker in workers.values():
            ended = sum(1 for at in worker.runs if at <= now)
            worker.runs = [at for at in worker.runs if at > now]
            worker.processed += ended
            done += ended
        workers = {number: worker for number, worker in workers.items() if worker.runs or not worker.stopping}
        _work(workers, queue, now, pattern.runtime, concurrency)
        cost += len(workers) * STEP
        wave = len(drained)
        if wave < len(sent) and done >= sent[wave]:
            drained.append(now - pattern.waves[wave])
        if policy.min < policy.max and step % round(LOOK / STEP) == 0:
            loads = {
                str(n): Load(len(w.runs), len(w.runs) + w.taken, w.processed)
                for n, w in workers.items()
                if not w.stopping and now >= w.ready_at
            }
            age = now - queue[0] if queue else None
            verdict = wanted(wide, policy, Sample(len(queue), age, loads), memory, now)
            memory = verdict.memory
            if verdict.replicas != wide.replicas:
                changes += 1
                _resize(workers, verdict, queue, now)
                wide = replace(wide, replicas=verdict.replicas)
    assert len(drained) == len(pattern.waves), f"{pattern.name} is not done within {pattern.horizon:g} s"
    return Outcome(tuple(drained), cost, changes)


def _work(workers: Mapping[int, Worker], queue: deque[float], now: float, runtime: float, concurrency: int) -> None:
    """Have workers take what they may hold, by turns, and begin what they can."""
    able = [worker for worker in workers.values() if now >= worker.ready_at and not worker.stopping]
    for worker in able:
        while worker.taken and len(worker.runs) < concurrency:
            worker.taken -= 1
            worker.runs.append(now + runtime)
    for spare in (0, concurrency):  # an idle worker waits at the broker, and is served before a busy one
        progress = True
        while progress and queue:
            progress = False
            for worker in able:
                if queue and len(worker.runs) + worker.taken < concurrency + spare:
                    queue.popleft()
                    progress = True
                    if len(worker.runs) < concurrency:
                        worker.runs.append(now + runtime)
                    else:
                        worker.taken += 1


def _resize(workers: dict[int, Worker], verdict: Verdict, queue: deque[float], now: float) -> None:
    """Start workers, or stop the idlest: they give back what they have not begun, and finish the rest."""
    running = [number for number, worker in workers.items() if not worker.stopping]
    starting = [number for number in running if str(number) not in verdict.idlest]
    for number in [*starting, *map(int, verdict.idlest)][: max(0, len(running) - verdict.replicas)]:
        workers[number].stopping = True
        queue.extendleft([now] * workers[number].taken)
        workers[number].taken = 0
    for _ in range(verdict.replicas - len(running)):
        workers[next(number for number in count(1) if number not in workers)] = Worker(now + START)
