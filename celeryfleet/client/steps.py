"""A canvas as a tree of frozen steps; knows neither its text nor Celery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

#: what JSON can carry; lists are held as tuples
Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | dict[str, Value] | None"


@dataclass(frozen=True, slots=True)
class Call:
    """One task with its arguments: a Celery signature."""

    #: the registered name
    task: str
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)
    #: queue, countdown, priority (9 first) and their like, as in `apply_async`
    options: Mapping[str, Value] = field(default_factory=dict)
    #: takes no argument from the step before it (`.si`)
    immutable: bool = False
    #: called with the result, or with the error; not waited for
    link: tuple[Step, ...] = ()
    on_error: tuple[Step, ...] = ()
    #: empty until `identified`
    id: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """One message that runs a task over many items."""

    task: str
    items: tuple[Value, ...]
    #: an item is a list of arguments (`starmap`)
    star: bool = False
    options: Mapping[str, Value] = field(default_factory=dict)
    link: tuple[Step, ...] = ()
    on_error: tuple[Step, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that run side by side; holds no group itself."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps that run one after another, two at least; holds no chain itself."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Chord:
    """A group whose results go to one more step."""

    header: Group
    body: Step


Step: TypeAlias = Call | Map | Group | Chain | Chord
Leaf: TypeAlias = Call | Map

#: options that put off a start, and so belong to the first step of a chain alone
STARTING = frozenset({"countdown", "eta"})


def chained(steps: tuple[Step, ...]) -> Step:
    """Join steps into one chain, taking in chains among them."""
    flat = tuple(part for step in steps for part in (step.steps if isinstance(step, Chain) else (step,)))
    return flat[0] if len(flat) == 1 else Chain(flat)


def grouped(steps: tuple[Step, ...]) -> Group:
    """Join steps into one group, taking in groups among them as Celery does."""
    return Group(tuple(part for step in steps for part in (step.steps if isinstance(step, Group) else (step,))))


def leaves(step: Step) -> Iterator[Leaf]:
    """Yield the messages a canvas will send, in written order."""
    match step:
        case Call() | Map():
            yield step
        case Group(steps) | Chain(steps):
            for part in steps:
                yield from leaves(part)
        case Chord(header, body):
            yield from leaves(header)
            yield from leaves(body)


def identified(step: Step, new_id: Callable[[], str]) -> Step:
    """Give every leaf a task id."""
    match step:
        case Call() | Map():
            return replace(step, id=new_id())
        case Group(steps):
            return Group(tuple(identified(part, new_id) for part in steps))
        case Chain(steps):
            return Chain(tuple(identified(part, new_id) for part in steps))
        case Chord(header, body):
            inner = Group(tuple(identified(part, new_id) for part in header.steps))
            return Chord(inner, identified(body, new_id))


def with_arguments(step: Step, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> Step:
    """Complete a partial: `args` come first, and reach the first step of a chain, all of a group, a chord's header."""
    match step:
        case Call() if not step.immutable:
            return replace(step, args=args + step.args, kwargs={**step.kwargs, **kwargs})
        case Call() | Map():
            return step
        case Group(steps):
            return Group(tuple(with_arguments(part, args, kwargs) for part in steps))
        case Chain(steps):
            return Chain((with_arguments(steps[0], args, kwargs), *steps[1:]))
        case Chord(header, body):
            return Chord(Group(tuple(with_arguments(part, args, kwargs) for part in header.steps)), body)


def with_options(step: Step, options: Mapping[str, Value]) -> Step:
    """Set options on every message of a step; those of STARTING on the ones that start first.

    Celery itself moves only the first step of a chain, and so leaves `chain(…).set(queue="low")` half done.
    """
    later = {name: value for name, value in options.items() if name not in STARTING}
    match step:
        case Call() | Map():
            return replace(step, options=_joined(step.options, options))
        case Group(steps):
            return Group(tuple(with_options(part, options) for part in steps))
        case Chain(steps):
            return Chain((with_options(steps[0], options), *(with_options(part, later) for part in steps[1:])))
        case Chord(header, body):
            inner = Group(tuple(with_options(part, options) for part in header.steps))
            return Chord(inner, with_options(body, later))


def _joined(before: Mapping[str, Value], options: Mapping[str, Value]) -> dict[str, Value]:
    """Lay options over others; their headers are put together."""
    joined = {**before, **options}
    old, new = before.get("headers"), options.get("headers")
    if isinstance(old, dict) and isinstance(new, dict):
        joined["headers"] = {**old, **new}
    return joined


def immutable(step: Step) -> Step:
    """Let a step take no argument from the one before it."""
    match step:
        case Call():
            return replace(step, immutable=True)
        case Map():
            return step
        case Group(steps):
            return Group(tuple(immutable(part) for part in steps))
        case Chain(steps):
            return Chain((immutable(steps[0]), *steps[1:]))
        case Chord(header, body):
            return Chord(Group(tuple(immutable(part) for part in header.steps)), body)


def with_errback(step: Step, errback: Step) -> Step:
    """Call `errback` when a message of the step fails; for a chord, when its body fails or cannot run."""
    match step:
        case Call() | Map():
            return replace(step, on_error=(*step.on_error, errback))
        case Group(steps):
            return Group(tuple(with_errback(part, errback) for part in steps))
        case Chain(steps):
            return Chain(tuple(with_errback(part, errback) for part in steps))
        case Chord(header, body):
            return Chord(header, with_errback(body, errback))


def with_link(step: Step, link: Step) -> Step:
    """Call `link` with the result of a task, or of the last step of a chain or chord."""
    match step:
        case Call() | Map():
            return replace(step, link=(*step.link, link))
        case Group(steps):
            return Group(tuple(with_link(part, link) for part in steps))
        case Chain(steps):
            return Chain((*steps[:-1], with_link(steps[-1], link)))
        case Chord(header, body):
            return Chord(header, with_link(body, link))
