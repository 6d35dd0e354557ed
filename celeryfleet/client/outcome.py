"""What became of tasks: a pure reading of their records, and of a canvas from those of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.client.signatures import Step, leaves, members, sequence, task_of
from celeryfleet.ledger.entry import EXPIRED, FAILED, LOST, REVOKED, SUCCEEDED

if TYPE_CHECKING:
    from celeryfleet.ledger.entry import Entry

SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
PENDING = "PENDING"
#: states that a task does not leave
READY = frozenset({SUCCESS, FAILURE, "REVOKED", "REJECTED", "IGNORED"})
#: those of them in which it did its work
GOOD = frozenset({SUCCESS, "IGNORED"})


@dataclass(frozen=True, slots=True)
class Record:
    """What the result backend holds of one task."""

    #: Celery's state
    state: str
    #: the return value
    result: Any = None
    #: `FileNotFoundError: No such image: …`, or empty
    error: str = ""
    traceback: str = ""
    #: node name of the worker that ran it, if the backend keeps that
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A task that failed."""

    id: str
    task: str
    state: str
    error: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task or a canvas."""

    #: SUCCESS, FAILURE, REVOKED, …; PENDING, STARTED or RETRY where it is not over
    state: str
    result: Any = None
    #: the tasks that failed by themselves; not those that never ran because of them
    failed: tuple[Failed, ...] = ()
    id: str = ""
    #: seconds from sending to knowing
    took_s: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether it is over."""
        return self.state in READY

    @property
    def error(self) -> str | None:
        """The first error, for one line."""
        return self.failed[0].error if self.failed else None


def as_told(entry: Entry) -> Outcome | None:
    """Say what became of a task by the ledger alone; None: it is not over, as far as that knows."""
    states = {SUCCEEDED: SUCCESS, FAILED: FAILURE, LOST: FAILURE, REVOKED: "REVOKED", EXPIRED: "REVOKED"}
    if (state := states.get(entry.state)) is None:
        return None
    failed = Failed(entry.id, entry.task, state, entry.error or entry.state, entry.traceback or "")
    return Outcome(state, None, () if state == SUCCESS else (failed,), entry.id)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a canvas has come, in tasks."""

    #: over, whatever way
    done: int
    failed: int
    total: int


def outcome(step: Step, records: Mapping[str, Record]) -> Outcome:
    """Work out how a canvas stands from the records of its tasks, by task id.

    It is over with its first failure: Celery marks the steps after it as failed, too, or leaves them.
    """
    last = Outcome(PENDING)
    for part in sequence(step):
        last = _of_group(members(part), records) if members(part) else _of_task(part, records.get(part.id))
        if last.state != SUCCESS:
            break
    return last


def progress(step: Step, records: Mapping[str, Record]) -> Progress:
    """Count what is over."""
    found = [records.get(leaf.id) for leaf in leaves(step)]
    over = [record for record in found if record is not None and record.state in READY]
    return Progress(len(over), sum(record.state not in GOOD for record in over), len(found))


def _of_task(leaf: Step, record: Record | None) -> Outcome:
    if record is None or record.state not in READY:
        return Outcome(record.state if record else PENDING)
    if record.state in GOOD:
        return Outcome(SUCCESS, record.result)
    error = record.error or f"The task was {record.state.lower()}."
    return Outcome(record.state, None, (Failed(leaf.id, task_of(leaf), record.state, error, record.traceback),))


def _of_group(steps: list[Step], records: Mapping[str, Record]) -> Outcome:
    """A group is over when all its members are, so that every failure is told."""
    parts = [outcome(step, records) for step in steps]
    failed = tuple(one for part in parts for one in part.failed)
    if not all(part.ready for part in parts):
        return Outcome(PENDING, None, failed)
    return Outcome(FAILURE, None, failed) if failed else Outcome(SUCCESS, [part.result for part in parts])
