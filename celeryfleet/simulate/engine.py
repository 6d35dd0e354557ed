"""The event loop: messages arrive, workers take them as theirs do on Redis or RabbitMQ, run them, and are scaled.

Knows no plan and no statistics: it says when each message began. Time is in seconds, and starts at 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.plan.autoscale import Load, Memory, Sample, Verdict, wanted

if TYPE_CHECKING:
    from celeryfleet.plan.values import PoolPlan

#: seconds between two looks of the autoscaler, and from the decision on a worker to its first task
LOOK, START = 2.0, 1.0
#: seconds after which a worker that has no process free looks for messages to take ahead, on Redis; of long tasks
#: this part of one, for there would be too many looks
_AHEAD, _PART = 1.0, 0.05
#: messages taken ahead for each process where no setting says how many: Celery's own default
_MULTIPLIER = 4

#: when a message came, and its stream
Message: TypeAlias = "tuple[float, Stream]"


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Messages of one kind."""

    queue: str
    #: gives the seconds that the next task takes
    runtime: Callable[[], float]
    #: 9 runs first
    priority: int = 0
    #: acknowledged after it has run
    late: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the messages."""

    #: of each stream, the seconds that its messages waited, as they began
    waits: list[list[float]]
    #: of each stream, when the latest of its tasks was done
    ended: list[float]
    #: of each stream, by how many the messages that wait became more while it was measured
    grown: list[int] = field(default_factory=list)
    #: when each queue was empty for the first time; those that never were are missing
    emptied: dict[str, float] = field(default_factory=dict)
    #: seconds that tasks took which began while it was measured, by pool
    busy: dict[str, float] = field(default_factory=dict)
    #: seconds that was
    measured: float = 0.0
    #: numbers of replicas that the autoscaler decided on: (time, pool, replicas)
    sizes: list[tuple[float, str, int]] = field(default_factory=list)
    #: seconds that workers lived, all together
    lived: float = 0.0


class _Queue:
    """What waits, by priority."""

    __slots__ = ("levels", "name", "readers")

    def __init__(self, name: str, priorities: Iterable[int]) -> None:
        self.name = name
        self.levels: dict[int, deque[Message]] = {one: deque() for one in sorted(set(priorities), reverse=True)}
        self.readers: list[_Pool] = []

    def __len__(self) -> int:
        return sum(map(len, self.levels.values()))


class _Worker:
    """One worker; `held` is what counts for its prefetch limit."""

    __slots__ = (
        *("ends", "held", "listed", "local", "looks", "name", "pause", "pool", "processed", "running", "since"),
        "stopping",
    )

    def __init__(self, name: str, pool: _Pool, since: float) -> None:
        self.name, self.pool, self.since = name, pool, since
        self.local: deque[Message] = deque()
        self.running = self.held = self.processed = 0
        self.listed = self.looks = self.stopping = False
        #: when the task that began last ends, and seconds between two looks until then
        self.ends = self.pause = 0.0


class _Pool:
    """The workers of a pool, and those of them that wait for a message, the longest first."""

    __slots__ = ("limit", "memory", "plan", "queues", "size", "turns", "waiting", "workers")

    def __init__(self, plan: PoolPlan, queues: Sequence[_Queue]) -> None:
        settings = {**plan.defaults, **plan.conf}
        strategy = settings.get("broker_transport_options", {}).get("queue_order_strategy", "round_robin")
        multiplier = settings.get("worker_prefetch_multiplier", _MULTIPLIER)
        self.plan, self.queues, self.size = plan, deque(queues), plan.concurrency
        self.limit = multiplier * self.size or inf
        self.turns = strategy != "priority" and len(queues) > 1
        self.workers: list[_Worker] = []
        self.waiting: deque[_Worker] = deque()
        self.memory = Memory()

    def turn(self, queue: _Queue) -> None:
        """Have a queue that has given a message come last."""
        self.queues.remove(queue)
        self.queues.append(queue)


class Simulation:
    """A fleet under load. On RabbitMQ (`pushes`) messages go to whoever has taken least ahead, busy or not."""

    def __init__(
        self, pools: Sequence[PoolPlan], streams: Sequence[Stream], random: Random, pushes: bool = False
    ) -> None:
        self._random, self._pushes = random, pushes
        names = dict.fromkeys([*(one.queue for one in streams), *(name for pool in pools for name in pool.queues)])
        self._queues = {name: _Queue(name, (one.priority for one in streams if one.queue == name)) for name in names}
        self._streams = streams
        self._number = {stream: number for number, stream in enumerate(streams)}
        self._pools = [_Pool(pool, [self._queues[name] for name in pool.queues]) for pool in pools]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._now, self._from = 0.0, inf
        #: more messages come
        self._coming = True
        self.outcome = Outcome([[] for _ in streams], [0.0] * len(streams), busy={pool.name: 0.0 for pool in pools})
        for pool in self._pools:
            for queue in pool.queues:
                queue.readers.append(pool)
            for number in pool.plan.numbers:
                pool.workers.append(_Worker(pool.plan.worker_name(number), pool, 0.0))
                self._list(pool.workers[-1])

    def run(
        self, arrivals: Iterable[tuple[float, int]], backlog: Sequence[int] = (), warm: float = 0.0, until: float = 0.0
    ) -> Outcome:
        """Run to the end: `arrivals` are (time, number of its stream), ascending; `backlog` is how many wait at 0.

        It is measured from the first message that comes at `warm` or later. The autoscaler looks until `until`, and
        while messages come or tasks run.
        """
        found, events, streams, arrive = self.outcome, self._events, self._streams, self._arrive
        for stream, count in zip(streams, backlog, strict=False):
            for _ in range(count):
                arrive((-1.0, stream))
        found.emptied.update((queue.name, 0.0) for queue in self._queues.values() if not len(queue))
        if any(pool.plan.autoscale for pool in self._pools):
            self._at(0.0, partial(self._look, until))
        before = self._waits()
        for now, number in arrivals:
            while events and events[0][0] <= now:
                self._next()
            self._now = now
            if self._from == inf and now >= warm:
                self._from, before, found.busy = now, self._waits(), dict.fromkeys(found.busy, 0.0)
            arrive((now, streams[number]))
        self._coming = False
        found.grown = [after - one for one, after in zip(before, self._waits(), strict=True)]
        found.measured = self._now - min(self._from, self._now)
        busy = dict(found.busy)
        while events:
            self._next()
        found.busy = busy
        end = max(until, self._now)
        found.lived += sum(end - worker.since for pool in self._pools for worker in pool.workers)
        return found

    def _waits(self) -> list[int]:
        return [len(self._queues[one.queue].levels[one.priority]) for one in self._streams]

    def _at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, what))

    def _next(self) -> None:
        self._now, _, what = heappop(self._events)
        what()

    def _end(self, worker: _Worker, stream: Stream) -> None:
        """Have a task end, and its worker go on."""
        worker.running -= 1
        worker.processed += 1
        if stream.late:
            worker.held -= 1
        self.outcome.ended[self._number[stream]] = self._now
        if worker.local:
            self._start(worker, worker.local.popleft())
        if not worker.stopping:
            self._fetch(worker)
        elif not worker.running:
            self._bury(worker)

    # --- Messages -----------------------------------------------------------------------------------------

    def _arrive(self, message: Message) -> None:
        queue = self._queues[message[1].queue]
        readers = queue.readers
        pool = readers[0] if len(readers) == 1 else self._waiting(readers)
        if pool is None or not pool.waiting:
            queue.levels[message[1].priority].append(message)
            return
        if pool.turns:
            pool.turn(queue)
        worker = pool.waiting.popleft()
        worker.listed = False
        self._take(worker, message)
        self._list(worker)

    def _waiting(self, readers: Sequence[_Pool]) -> _Pool | None:
        """Choose the pool that gets a message: all are told on Redis, and RabbitMQ goes round the workers."""
        able = [pool for pool in readers if pool.waiting]
        if len(able) < 2:
            return able[0] if able else None
        return self._random.choices(able, [len(pool.waiting) if self._pushes else 1 for pool in able])[0]

    def _take(self, worker: _Worker, message: Message) -> None:
        worker.held += 1
        if worker.running < worker.pool.size:
            self._start(worker, message)
        else:
            worker.local.append(message)

    def _start(self, worker: _Worker, message: Message) -> None:
        came, stream = message
        now = self._now
        runtime = stream.runtime()
        worker.running += 1
        worker.ends, worker.pause = now + runtime, max(_AHEAD, runtime * _PART)
        if not stream.late:
            worker.held -= 1
        if came >= self._from:
            self.outcome.waits[self._number[stream]].append(now - came)
        self.outcome.busy[worker.pool.plan.name] += runtime
        self._at(worker.ends, partial(self._end, worker, stream))

    def _fetch(self, worker: _Worker) -> None:
        """Have a worker take what it may, and wait for more."""
        pool = worker.pool
        while worker.held < pool.limit or worker.running < pool.size:
            message = self._pop(pool)
            if message is None:
                self._list(worker)
                return
            self._take(worker, message)

    def _list(self, worker: _Worker) -> None:
        """Have a worker wait for a message if it may take one: on Redis one with a process free, which goes first."""
        pool = worker.pool
        if worker.listed or worker.stopping:
            return
        if worker.running < pool.size or (self._pushes and worker.held < pool.limit):
            worker.listed = True
            pool.waiting.append(worker)
        elif worker.held < pool.limit and not worker.looks and worker.ends > self._now + worker.pause:
            worker.looks = True
            self._at(self._now + worker.pause, partial(self._look_again, worker))

    def _look_again(self, worker: _Worker) -> None:
        worker.looks = False
        if not worker.stopping:
            self._fetch(worker)

    def _pop(self, pool: _Pool) -> Message | None:
        """Take the message that is next for a pool: by the order of its queues or in turn, on RabbitMQ any queue's."""
        queues: Sequence[_Queue] = pool.queues
        if self._pushes and len(queues) > 1:
            queues = self._random.sample(queues, len(queues))
        for queue in queues:
            for level in queue.levels.values():
                if level:
                    message = level.popleft()
                    if queue.name not in self.outcome.emptied and not len(queue):
                        self.outcome.emptied[queue.name] = self._now
                    if pool.turns:
                        pool.turn(queue)
                    return message
        return None

    # --- Workers ------------------------------------------------------------------------------------------

    def _look(self, until: float) -> None:
        """Scale the pools that follow a policy, as the supervisor does."""
        for pool in self._pools:
            if pool.plan.autoscale is None:
                continue
            loads = {
                one.name: Load(one.running, one.running + len(one.local), one.processed)
                for one in pool.workers
                if not one.stopping and self._now >= one.since + (START if one.since else 0.0)
            }
            oldest = min((level[0][0] for q in pool.queues for level in q.levels.values() if level), default=self._now)
            sample = Sample(sum(map(len, pool.queues)), self._now - max(0.0, oldest), loads)
            verdict = wanted(pool.plan, pool.plan.autoscale, sample, pool.memory, self._now)
            pool.memory = verdict.memory
            if verdict.replicas != pool.plan.replicas:
                self.outcome.sizes.append((self._now, pool.plan.name, verdict.replicas))
                self._resize(pool, verdict)
        if self._coming or self._events or self._now < until:
            self._at(self._now + LOOK, partial(self._look, until))

    def _resize(self, pool: _Pool, verdict: Verdict) -> None:
        """Start workers, or stop the idlest: they give back what they have not begun, and finish the rest."""
        stays = [worker for worker in pool.workers if not worker.stopping]
        rank = {name: number for number, name in enumerate(verdict.idlest)}
        stays.sort(key=lambda worker: rank.get(worker.name, -1))
        for worker in stays[: max(0, len(stays) - verdict.replicas)]:
            worker.stopping = True
            for message in reversed(worker.local):
                self._queues[message[1].queue].levels[message[1].priority].appendleft(message)
            worker.local.clear()
            if worker.listed:
                pool.waiting.remove(worker)
            if not worker.running:
                self._bury(worker)
        for _ in range(verdict.replicas - len(stays)):
            self._count += 1
            worker = _Worker(f"{pool.plan.name}-{self._count}", pool, self._now)
            pool.workers.append(worker)
            self._at(self._now + START, partial(self._look_again, worker))
        pool.plan = replace(pool.plan, replicas=verdict.replicas, some_numbers=())

    def _bury(self, worker: _Worker) -> None:
        worker.pool.workers.remove(worker)
        self.outcome.lived += self._now - worker.since
