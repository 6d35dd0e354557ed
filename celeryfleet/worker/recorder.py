"""Tells the ledger what becomes of the tasks of this worker.

A task that has ended before anybody is told of it costs one row; one that lasts is told of while it does, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from celery.worker import state

from celeryfleet.app import SENT_AT
from celeryfleet.ledger import entry
from celeryfleet.ledger.message import kept
from celeryfleet.worker_protocol import Recorded

if TYPE_CHECKING:
    from celeryfleet.records import Record

    _Later = Callable[[float, Callable[[], None]], object]

#: seconds between two tellings
_EVERY = 0.5
#: tasks held that are looked at: a worker with no limit to its prefetch may hold all that there is
_MOST_HELD = 2000
#: rows that wait to be told at most, and characters told at once, roughly
_MOST_ROWS, _AT_ONCE = 20_000, 100_000
#: characters of a traceback, its end
_TRACEBACK = 8000
_RECEIVED, _ENDED, _RETRIES, _MAX_RETRIES, _ETA, _LATE, _ERROR, _TRACE, _MESSAGE = map(
    entry.TOLD.index,
    ("received", "ended", "retries", "max_retries", "eta", "late", "error", "traceback", "message"),
)

#: the headers that say how tasks belong together
_CANVAS = ("root_id", "parent_id", "group")


class NoRecorder:
    """Tells nobody: where no ledger is kept."""

    def connected(self, later: _Later, call: Callable[[Callable[[], None]], object]) -> None:
        """Take note of nothing, as all that follows."""

    def soon(self) -> None: ...
    def ended(self, request: Any, how: str, error: str = "", trace: str = "", eta: float | None = None) -> None: ...
    def unknown(self, message: Any, error: str) -> None: ...
    def flush(self) -> None: ...
    def tell_anew(self) -> None: ...


class Recorder(NoRecorder):
    """What the ledger has still to be told."""

    def __init__(
        self, send: Callable[[Record], bool], queue_of: Callable[[str, str], str], hide: Sequence[str]
    ) -> None:
        #: tells the supervisor; False: not now
        self._send = send
        self._queue_of = cache(queue_of)
        self._hide = hide
        self._rows: list[list[Any]] = []
        #: calls something after some seconds, in the worker's loop; there is none while it has no connection
        self._later: _Later | None = None
        #: calls something in the worker's loop, from whichever thread
        self._call: Callable[[Callable[[], None]], object]
        self._due = False

    def connected(self, later: _Later, call: Callable[[Callable[[], None]], object]) -> None:
        """Tell by this timer from now on: that of an earlier connection went with it."""
        self._later, self._call, self._due = later, call, False
        self.soon()

    def soon(self) -> None:
        """Tell within the next half second; to be called in the worker's loop."""
        if not self._due and self._later is not None:
            self._due = True
            self._later(_EVERY, self._turn)

    def ended(self, request: Any, how: str, error: str = "", trace: str = "", eta: float | None = None) -> None:
        """Take note of what has become of a task, the first time that it is said.

        `eta` is when one that is retried is to begin, in unix seconds.
        """
        if request.told and request.told not in entry.HELD:
            return
        request.told = how
        row = self._row(request, how, int(time.time() * 1000))
        if how != entry.SUCCEEDED:
            row[_MAX_RETRIES] = request.task.max_retries
            row[_ERROR:] = error or None, trace[-_TRACEBACK:] or None, kept(request.message, self._hide)
        if eta is not None:
            row[_RETRIES] += 1
            row[_ETA] = int(eta * 1000)
        self._add(row)
        if how == entry.RETRYING:
            self._call(self.flush)  # before the next try, which may be elsewhere, is told of

    def unknown(self, message: Any, error: str) -> None:
        """Take note of a message whose task is not registered here."""
        headers, info, now = message.headers or {}, message.delivery_info, int(time.time() * 1000)
        row: list[Any] = [None] * len(entry.TOLD)
        row[:4] = headers.get("id"), headers.get("task"), self._from(info), entry.FAILED
        row[_RECEIVED] = row[_ENDED] = now
        row[_RETRIES] = row[_LATE] = 0
        row[_ERROR], row[_MESSAGE] = error, kept(message, self._hide)
        self._add(row)

    def flush(self) -> None:
        """Tell all that there is to tell, as far as the supervisor reads it."""
        self._tell_of_held()
        while self._rows:
            some, size = [], 0
            for row in self._rows:
                some.append(row)
                size += 200 + len(row[_TRACE] or "") + len(row[_MESSAGE] or "")
                if size > _AT_ONCE:
                    break
            if not self._send(Recorded(tuple(some))):
                del self._rows[:-_MOST_ROWS]
                return
            del self._rows[: len(some)]

    def tell_anew(self) -> None:
        """Tell of what is held, though it was told before."""
        for request in list(state.requests.values()):
            if request.told in (entry.TAKEN, entry.SCHEDULED, entry.RUNNING):
                request.told = ""
        self.flush()

    def _add(self, row: list[Any]) -> None:
        self._rows.append(row)
        if not self._due and self._later is not None:
            self._call(self.soon)

    def _turn(self) -> None:
        self._due = False
        self.flush()
        if self._rows or len(state.requests) > len(state.active_requests):
            self.soon()  # those that are taken begin without our being told

    def _tell_of_held(self) -> None:
        """Tell of tasks that have not ended what has not been told of them."""
        if len(state.requests) > _MOST_HELD:
            held = [known for reference in tuple(state.active_requests.data) if (known := reference()) is not None]
        else:
            held = list(state.requests.values())
        for request in held:
            how = entry.TAKEN
            if request.time_start:
                how = entry.RUNNING
            elif request in state.scheduled_requests:
                how = entry.SCHEDULED
            if request.told != how:
                request.told = how
                row = self._row(request, how, None)
                row[_LATE] = int(bool(request.task.acks_late))
                if how == entry.RUNNING:
                    row[_MESSAGE] = kept(request.message, self._hide)
                self._rows.append(row)

    def _row(self, request: Any, how: str, ended: int | None) -> list[Any]:
        """Return what `ledger.entry.TOLD` names."""
        headers = request.request_dict
        sent, started, eta = headers.get(SENT_AT), request.time_start, request.eta
        # A stranger may send anything: a row with a number here would make no sense, and be left out.
        root, parent, group = (one if isinstance(one, str) else None for one in map(headers.get, _CANVAS))
        ran = request.runtime  # Celery does not tell it of a failure
        if ran is None and ended and started:
            ran = ended / 1000 - started
        return [
            request.id,
            request.type,
            self._from(request.delivery_info),
            how,
            int(sent * 1000) if isinstance(sent, float) else None,
            int(request.received * 1000),
            int(started * 1000) if started else None,
            ended,
            None if ran is None else max(0, round(ran * 1000)),
            request.worker_pid,
            headers.get("retries") or 0,
            None,
            int(eta.timestamp() * 1000) if eta else None,
            0,
            root if root != request.id else None,
            parent,
            group,
            None,
            None,
            None,
        ]

    def _from(self, delivery: dict[str, Any]) -> str:
        return self._queue_of(delivery.get("exchange") or "", delivery.get("routing_key") or "")
