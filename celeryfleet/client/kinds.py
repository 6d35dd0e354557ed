"""What an expression is made of besides plain values and steps, and what may be named in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from celeryfleet.client.faults import ComplaintError
from celeryfleet.client.names import find
from celeryfleet.client.steps import Call, Chain, Chord, Group, Map, Step
from celeryfleet.client.values import Budget, sort_of


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name."""

    tasks: Collection[str]
    #: full names by alias
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: None: any queue will do
    queues: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task that no signature has been made of yet."""

    name: str
    #: as it was written
    written: str

    def __str__(self) -> str:
        return f"The task {self.written}"


@dataclass(frozen=True, slots=True)
class Header:
    """A chord that waits for its body."""

    group: Group

    def __str__(self) -> str:
        return "A chord without a body"


@dataclass(frozen=True, slots=True)
class Launched:
    """A step after `.delay()`, `.apply_async()`, `()` or `.get()`: nothing may follow."""

    step: Step
    #: seconds from `.get(timeout=…)`
    timeout: float | None = None

    def __str__(self) -> str:
        return "What has been sent already"


@dataclass(frozen=True, slots=True)
class Context:
    """What the functions need to know."""

    names: Names
    budget: Budget


def task_named(written: str, context: Context) -> TaskName:
    """Find a task; raises ComplaintError."""
    found = find(written, context.names.tasks, context.names.aliases)
    if isinstance(found, str):
        return TaskName(found, written)
    raise ComplaintError(found.what, found.hint)


def step_of(value: object) -> Step:
    """Return a value that is a step; raises ComplaintError with what to write instead."""
    match value:
        case Call() | Map() | Group() | Chain() | Chord():
            return value
        case TaskName():
            raise ComplaintError(f"{value} is no signature yet.", f"Write {value.written}.s(…).")
        case Launched():
            raise ComplaintError(
                f"{value} cannot be part of a canvas.", "Leave .delay(), () and .get() to the very end."
            )
        case Header():
            raise ComplaintError(f"{value} cannot run.", "Write chord(header, body).")
        case tuple():
            raise ComplaintError("A list is no step.", "Write group([…]) for steps side by side.")
        case _:
            raise ComplaintError(f"{sort_of(value)} is no step.", "Steps are signatures such as add.s(2, 2).")
