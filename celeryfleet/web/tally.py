"""Counts what became of tasks by what the ledger says since this process began, in bounded memory.

A task is counted once for each step of each try, whenever the ledger is read: what is held now and was not told
before, and what has ended since. So no row is missed and none is counted twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric

from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import EXPIRED, FAILED, LOST, RETRYING, REVOKED, SUCCEEDED

if TYPE_CHECKING:
    from celeryfleet.ledger.read import Brief, Ledger

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each began is of no use: all begin with the process

#: seconds; those that the users of celery-exporter have on their dashboards
_RUNTIME = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_WAIT = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: pairs of task and queue, and errors with them, at most: both names may be a stranger's
_MOST, _REST = 5000, "other"
#: rows read at once
_ROWS = 20_000
#: steps of a task that was never seen
_NONE = (0, 0, 0)
#: what a row that has ended is counted as
_ENDS = {SUCCEEDED: "succeeded", FAILED: "failed", REVOKED: "revoked", EXPIRED: "revoked", LOST: "lost"}
_LABELS = ("name", "hostname", "queue_name")
_STEPS = {
    "celery_task_sent": "Task messages that were sent, seen when a worker of this fleet received them.",
    "celery_task_received": "Tasks that a worker received.",
    "celery_task_started": "Tasks that began to run.",
    "celery_task_succeeded": "Tasks that succeeded.",
    "celery_task_rejected": "Tasks that were rejected.",
    "celery_task_revoked": "Tasks that were revoked, or had expired.",
    "celery_task_retried": "Tries that failed and are followed by another.",
    "celeryfleet_task_lost": "Tasks that were acknowledged and lost with the process of their worker.",
}
_WAITED = "Seconds from when a task was sent, or was due, to its start; of messages that tell when they were sent."


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
        #: the counters of tasks by their labels, and the labels of errors
        self._known: dict[tuple[str, ...], dict[str, Counter]] = {}
        self._errors: set[tuple[str, ...]] = set()
        self._steps = {
            name.rpartition("_")[2]: Counter(name, says, _LABELS, registry=None) for name, says in _STEPS.items()
        }
        self._failed = Counter("celery_task_failed", "Tasks that failed.", (*_LABELS, "exception"), registry=None)
        says = "Seconds that tasks took which succeeded."
        self._runtime = Histogram("celery_task_runtime", says, _LABELS, registry=None, buckets=_RUNTIME)
        self._wait = Histogram("celery_task_queue_wait_time", _WAITED, _LABELS, registry=None, buckets=_WAIT)
        #: the label `hostname` of what is counted
        self._host = ""
        #: why the ledger can't be read
        self.trouble = ""
        self.update("")

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted."""
        for counted in (*self._steps.values(), self._failed, self._runtime, self._wait):
            yield from counted.collect()

    def update(self, host: str) -> None:
        """Count what has become of tasks since the last time."""
        self._host = host
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
        labels = (told.task, self._host, told.queue)
        if labels not in self._known and len(self._known) >= _MOST:
            labels = (_REST, self._host, _REST)
        if labels not in self._known:  # all begin at 0 together
            self._known[labels] = {step: counter.labels(*labels) for step, counter in self._steps.items()}
        received, started, retried = (max(0, now - then) for now, then in zip(_steps(told), before, strict=True))
        counts = {"sent": received, "received": received, "started": started, "retried": retried}
        since = max(told.sent or 0, told.eta or 0)
        if started and since and told.started is not None and told.state != RETRYING:
            self._wait.labels(*labels).observe(max(0, told.started - since) / 1000)
        end, error = _ENDS.get(told.state), (told.error or "").partition(":")[0]
        if end == "failed":
            counts["rejected"] = error == "Reject"
            names = (*labels, error if error.isidentifier() else "UnknownException")
            if names not in self._errors and len(self._errors) >= _MOST:
                names = (_REST, self._host, _REST, _REST)
            self._errors.add(names)
            self._failed.labels(*names).inc()
        elif end:
            counts[end] = 1
        if end == "succeeded" and told.runtime is not None:
            self._runtime.labels(*labels).observe(told.runtime / 1000)
        for step, count in counts.items():
            if count:
                self._known[labels][step].inc(count)


def _steps(told: Brief) -> tuple[int, int, int]:
    """Say how often a task was received, started and retried, the tries before this one included."""
    now = told.state != RETRYING  # else the next try is still to come, and counts among `retries`
    received = told.retries + (now and told.received is not None)
    return received, told.retries + (now and told.started is not None), told.retries
