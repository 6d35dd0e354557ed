"""What a fleet was like from one moment to the next: rates, and how queues grew. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from celeryfleet.ledger.entry import Entry
from celeryfleet.protocol import Status

#: moments that a trend shows at most
KEPT = 120
#: seconds that a rate is measured over: workers tell their counts each second, or each five if little happens
WINDOW = 10.0


@dataclass(frozen=True)
class Moment:
    """A fleet as it was found once."""

    #: unix seconds
    at: float
    status: Status
    #: what the ledger says that workers run, the longest first
    running: tuple[Entry, ...] = ()
    #: how many tasks of each queue have ended per second of late; None: there is no ledger
    ended: Mapping[str, float] | None = None

    def counts(self) -> Iterator[tuple[str, int]]:
        """Name what only grows, and what waits in each queue."""
        for pool in self.status.pools:
            for worker in pool.workers:
                yield f"worker:{worker.name}", worker.processed
            yield f"pool:{pool.name}", sum(worker.processed for worker in pool.workers)
        yield "all", sum(worker.processed for pool in self.status.pools for worker in pool.workers)
        for queue in self.status.queues:
            if queue.ready is not None:
                yield f"waiting:{queue.name}", queue.ready
                yield f"queue:{queue.name}", queue.ready + (queue.unacked or 0)


class History:
    """The latest moment, and the counts of those before it."""

    def __init__(self, first: Moment) -> None:
        self.latest = first
        self._counts: deque[tuple[float, dict[str, int]]] = deque([(first.at, dict(first.counts()))], KEPT)
        #: those that rates are measured from
        self._since = self._counts[0]
        self._rates: deque[float] = deque(maxlen=KEPT)
        #: bytes by pid: not every moment tells them
        self.memory: dict[int | None, int | None] = {}
        self._remember()

    def add(self, moment: Moment) -> None:
        """Go on to the next moment."""
        self.latest = moment
        self._counts.append((moment.at, dict(moment.counts())))
        self._since = next(counted for counted in self._counts if moment.at - counted[0] <= WINDOW)
        self._rates.append(self.done("all") or 0.0)
        self._remember()

    def _remember(self) -> None:
        workers = [worker for pool in self.latest.status.pools for worker in pool.workers]
        self.memory = {worker.pid: worker.rss_bytes or self.memory.get(worker.pid) for worker in workers}

    def rate(self, name: str) -> float | None:
        """Say how much a count grew lately, per second; None where that is not known."""
        (then, before), (now, latest) = self._since, self._counts[-1]
        if name not in before or name not in latest or now <= then:
            return None
        return (latest[name] - before[name]) / (now - then)

    def done(self, name: str) -> float | None:
        """Say how many tasks a worker, a pool or all of them do per second; a new supervisor counts from 0."""
        rate = self.rate(name)
        return None if rate is None else max(0.0, rate)

    def traffic(self, queue: str) -> tuple[float | None, float | None]:
        """Say how many messages come into a queue and leave it, per second."""
        if self.latest.ended is None:
            return None, None
        out, grown = self.latest.ended.get(queue, 0.0), self.rate(f"queue:{queue}")
        return None if grown is None else max(0.0, grown + out), out

    def waiting(self, queue: str) -> list[float]:
        """List how many messages waited in a queue."""
        return [float(counts.get(f"waiting:{queue}", 0)) for _, counts in self._counts]

    def speeds(self) -> list[float]:
        """List how many tasks were done per second."""
        return list(self._rates)


def percentiles(values: Iterable[float | None]) -> list[float] | None:
    """Return p50 and p95 of the seconds that are known, of which less than none is none; None: none is known."""
    known = sorted(max(0.0, value) for value in values if value is not None)
    if not known:
        return None
    places = [divmod((len(known) - 1) * percent, 100) for percent in (50, 95)]
    return [round(known[at] + (known[at + bool(part)] - known[at]) * part / 100, 4) for at, part in places]


def sparkline(values: list[float], width: int) -> str:
    """Draw the last values as bars, the highest of them full; the first ones may be missing."""
    shown = values[-width:]
    highest = max(shown, default=0.0) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[ceil(value / highest * 7)] for value in shown)
