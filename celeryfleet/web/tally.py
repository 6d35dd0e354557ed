"""Counts what became of tasks by what the ledger says since this process began, in bounded memory.

A task is counted once for each step of each try, whenever the ledger is read: what is held now and was not told
before, and what has ended since. So no row is missed and none is counted twice.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import EXPIRED, FAILED, LOST, RETRYING, REVOKED, SUCCEEDED

if TYPE_CHECKING:
    from celeryfleet.ledger.read import Brief, Ledger

#: seconds; those that the users of celery-exporter have on their dashboards
RUNTIME_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: pairs of task and queue, and errors with them, at most: both names may be a stranger's
_MOST, _REST = 5000, ("other", "other")
#: rows read at once
_ROWS = 20_000
#: steps of a task that was never seen
_NONE = (0, 0, 0)
#: what a row that has ended is counted as
_ENDS = {SUCCEEDED: "succeeded", FAILED: "failed", REVOKED: "revoked", EXPIRED: "revoked", LOST: "lost"}
#: what is counted by task and queue
STEPS = ("sent", "received", "started", "succeeded", "rejected", "revoked", "retried", "lost")

Key = tuple[str, str]


class Times:
    """A histogram."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        #: in each bucket, and beyond the last bound
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Tally:
    """The counts of one ledger; of one thread at a time."""

    def __init__(self, opened: Callable[[], Ledger]) -> None:
        """Count from now on."""
        self._open = opened
        self._row: int | None = None
        #: steps that were counted of tasks that have not ended: received, started, retried
        self._seen: dict[str, tuple[int, int, int]] = {}
        #: tries of tasks that have ended of late: of an earlier one it may be told after that
        self._tried: dict[str, int] = {}
        #: task and queue that were seen at all
        self.known: set[Key] = set()
        self.counts: dict[str, Counter[Key]] = {step: Counter() for step in STEPS}
        #: by the exception's name, too
        self.failed: Counter[tuple[str, str, str]] = Counter()
        self.runtime: dict[Key, Times] = {}
        self.wait: dict[Key, Times] = {}
        #: why the ledger can't be read
        self.trouble = ""
        self.update()

    def update(self) -> None:
        """Count what has become of tasks since the last time."""
        try:
            with self._open() as ledger:
                self._read(ledger)
            self.trouble = ""
        except (FleetError, sqlite3.Error) as error:
            self.trouble = str(error)

    def _read(self, ledger: Ledger) -> None:
        begun = self._row is not None
        while True:
            self._row, ended, held = ledger.since(self._row, _ROWS)
            for told in ended:
                self._count(told, self._seen.pop(told.id, _NONE))
                if told.retries:
                    self._tried[told.id] = told.retries
            if len(ended) < _ROWS:
                break
        for told in held if begun else ():
            late = told.state == RETRYING and self._tried.get(told.id, 0) >= told.retries
            self._count(told, _steps(told) if late else self._seen.get(told.id, _NONE))
        for old in list(self._tried)[:-_ROWS]:
            del self._tried[old]
        self._seen = {told.id: _steps(told) for told in held}

    def _count(self, told: Brief, before: tuple[int, int, int]) -> None:
        key = self._key(told)
        received, started, retried = (max(0, now - then) for now, then in zip(_steps(told), before, strict=True))
        self.counts["sent"][key] += received
        self.counts["received"][key] += received
        self.counts["started"][key] += started
        self.counts["retried"][key] += retried
        since = max(told.sent or 0, told.eta or 0)
        if started and since and told.started is not None and told.state != RETRYING:
            self.wait.setdefault(key, Times(WAIT_BUCKETS)).add(max(0, told.started - since) / 1000)
        end, error = _ENDS.get(told.state), (told.error or "").partition(":")[0]
        if end == "failed":
            self.counts["rejected"][key] += error == "Reject"
            name = (*key, error if error.isidentifier() else "UnknownException")
            self.failed[name if name in self.failed or len(self.failed) < _MOST else (*_REST, "other")] += 1
        elif end:
            self.counts[end][key] += 1
        if end == "succeeded" and told.runtime is not None:
            self.runtime.setdefault(key, Times(RUNTIME_BUCKETS)).add(told.runtime / 1000)

    def _key(self, told: Brief) -> Key:
        key = (told.task, told.queue)
        if key not in self.known and len(self.known) >= _MOST:
            key = _REST
        self.known.add(key)
        return key


def _steps(told: Brief) -> tuple[int, int, int]:
    """Say how often a task was received, started and retried, the tries before this one included."""
    now = told.state != RETRYING  # else the next try is still to come, and counts among `retries`
    received = told.retries + (now and told.received is not None)
    return received, told.retries + (now and told.started is not None), told.retries
