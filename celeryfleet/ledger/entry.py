"""One task as the ledger knows it. Knows neither files nor Celery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

#: of a task that a worker holds, or that comes again
TAKEN, SCHEDULED, RUNNING, RETRYING, WAITING = "taken", "scheduled", "running", "retrying", "waiting"
#: of a task that has ended
SUCCEEDED, FAILED, REVOKED, EXPIRED, LOST = "succeeded", "failed", "revoked", "expired", "lost"
#: of one whose supervisor ended before it
UNKNOWN = "unknown"
HELD = frozenset((TAKEN, SCHEDULED, RUNNING, RETRYING, WAITING))


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a task; times are unix milliseconds, and None is not known or not so."""

    #: a worker's, such as web-1
    worker: str
    id: str
    task: str
    queue: str
    state: str
    sent: int | None = None
    received: int | None = None
    started: int | None = None
    ended: int | None = None
    #: milliseconds that its function took
    runtime: int | None = None
    #: of the process that runs or ran it
    pid: int | None = None
    retries: int = 0
    #: of one that has failed once; None: any number
    max_retries: int | None = None
    #: when it is to begin at the earliest
    eta: int | None = None
    #: 1: acknowledged after it has run
    late: int = 0
    #: of a canvas: its first task, if it is another; the one that led to this; and its group
    root: str | None = None
    parent: str | None = None
    group_id: str | None = None
    #: in one line
    error: str | None = None
    traceback: str | None = None
    #: the message as JSON (see message.py), of a task that may have to be sent again
    message: str | None = None
    #: the id under which it was sent again; not in the rows that workers tell
    retried_as: str | None = None

    @property
    def host(self) -> str:
        """Name the other host whose ledger it is of; empty: this one's."""
        return self.worker.partition("@")[2]

    @property
    def wait_s(self) -> float | None:
        """Return the seconds from when it was sent, or might have begun, to its start."""
        since = max(self.sent or 0, self.eta or 0)
        return None if not since or self.started is None else max(0.0, (self.started - since) / 1000)

    @property
    def latest(self) -> int:
        """Return when something was last known to have become of it."""
        return max(self.ended or 0, self.started or 0, self.received or 0)

    @property
    def runtime_s(self) -> float | None:
        """Return the seconds that its function took; of one that failed, until its worker heard of that."""
        return None if self.runtime is None else self.runtime / 1000


#: what a worker tells of a task, in this order
TOLD: Sequence[str] = Entry.__slots__[1:-1]
_TEXTS = ("id", "task", "queue", "state")
_MAYBE_TEXTS = ("root", "parent", "group_id", "error", "traceback", "message")


@cache
def shaped(kinds: tuple[type, ...]) -> bool:
    """Tell whether values of these types can be what a worker tells of a task."""
    return len(kinds) == len(TOLD) and all(
        kind is str if name in _TEXTS else kind in ((str if name in _MAYBE_TEXTS else int), type(None))
        for name, kind in zip(TOLD, kinds, strict=True)
    )
