"""What became of tasks: a pure reading of their records, and of a canvas from those of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celeryfleet.client.steps import Call, Chain, Chord, Group, Leaf, Map, Step, leaves

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

    id: str
    #: SUCCESS, FAILURE, REVOKED, …; PENDING, STARTED or RETRY where the wait timed out
    state: str
    result: Any = None
    #: the tasks that failed by themselves; not those that never ran because of them
    failed: tuple[Failed, ...] = ()
    #: seconds from sending to knowing
    runtime_s: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether it is over."""
        return self.state in READY

    @property
    def error(self) -> str | None:
        """The first error, for one line."""
        return self.failed[0].error if self.failed else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a canvas has come, in tasks."""

    #: over, whatever way
    done: int
    failed: int
    total: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a canvas stands."""

    state: str
    result: Any = None
    failed: tuple[Failed, ...] = ()


def standing(step: Step, records: Mapping[str, Record]) -> Standing:
    """Work out how a canvas stands from the records of its tasks, by task id."""
    match step:
        case Call() | Map():
            return _of_leaf(step, records.get(step.id))
        case Group(steps):
            return _of_group(steps, records)
        case Chain(steps):
            return _of_sequence(steps, records)
        case Chord(header, body):
            return _of_sequence((header, body), records)


def progress(step: Step, records: Mapping[str, Record]) -> Progress:
    """Count what is over."""
    found = [records.get(leaf.id) for leaf in leaves(step)]
    over = [record for record in found if record is not None and record.state in READY]
    return Progress(len(over), sum(record.state not in GOOD for record in over), len(found))


def _of_leaf(leaf: Leaf, record: Record | None) -> Standing:
    if record is None or record.state not in READY:
        return Standing(record.state if record else PENDING)
    if record.state in GOOD:
        return Standing(SUCCESS, record.result)
    error = record.error or f"The task was {record.state.lower()}."
    return Standing(record.state, None, (Failed(leaf.id, leaf.task, record.state, error, record.traceback),))


def _of_group(steps: tuple[Step, ...], records: Mapping[str, Record]) -> Standing:
    """A group is over when all its members are, so that every failure is told."""
    parts = [standing(step, records) for step in steps]
    failed = tuple(one for part in parts for one in part.failed)
    if any(part.state not in READY for part in parts):
        return Standing(PENDING, None, failed)
    if failed:
        return Standing(FAILURE, None, failed)
    return Standing(SUCCESS, [part.result for part in parts])


def _of_sequence(steps: tuple[Step, ...], records: Mapping[str, Record]) -> Standing:
    """A sequence is over with its first failure: Celery marks the steps after it as failed too, or leaves them."""
    last = Standing(PENDING)
    for step in steps:
        last = standing(step, records)
        if last.state != SUCCESS:
            return last
    return last
