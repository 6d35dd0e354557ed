"""Celery's own signatures: how celeryfleet composes a canvas of them, and how it finds the tasks in one.

A canvas is the signature of a task, or Celery's group, chain or chord. Options stand at the tasks alone, a group holds
no group, and a group with something after it is a chord: as Celery makes it of a canvas when it is sent, but before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from celery import chord, group

from celeryfleet.client.seam import unfolded_chain

#: Celery's own, and as untyped
Step: TypeAlias = Any

#: which of the steps that follow each other
ALL, FIRST, LAST = slice(None), slice(1), slice(-1, None)
#: options that put off a start, and so belong to the tasks alone that start first
STARTING = frozenset({"countdown", "eta"})
_MAPS = {"celery.map": "map", "celery.starmap": "starmap"}


def grouped(steps: Iterable[Step], app: Any) -> Step:
    """Join steps into one group, taking in groups among them as Celery does."""
    return group([part for step in steps for part in (members(step) or [step])], app=app)


def chained(steps: Iterable[Step], app: Any) -> Step:
    """Join steps into one chain, with chords where a group has something after it.

    Celery does the same, but takes a group of one for its only member, whose result is then no list.
    """
    done: list[Step] = []
    for part in reversed([part for step in steps for part in sequence(step)]):
        done = [chord(part, unfolded_chain(done, app), app=app)] if members(part) and done else [part, *done]
    return unfolded_chain(done, app)


def copied(step: Step) -> Step:
    """Copy a canvas with all of its tasks, which Celery's `clone` shares."""
    parts = [
        grouped(map(copied, members(part)), part.app) if members(part) else part.clone() for part in sequence(step)
    ]
    return chained(parts, step.app)


def members(step: Step) -> list[Step]:
    """Return the members of a group; of all else none."""
    return list(step.tasks) if step.subtask_type == "group" else []


def sequence(step: Step) -> list[Step]:
    """Return what runs one after another: tasks and groups. A chord is its header, and then its body."""
    if step.subtask_type == "chain":
        return [part for task in step.tasks for part in sequence(task)]
    if step.subtask_type == "chord":
        return [group(step.tasks, app=step.app), *sequence(step.body)]
    return [step]


def leaves(step: Step, which: slice = ALL, headers: bool = True) -> Iterator[Step]:
    """Yield tasks in written order, each one message: all, those that start FIRST, or those that give the result LAST.

    Without `headers` those are left out whose failure the chord's body tells of, as with Celery's `chord.link_error`.
    """
    parts = sequence(step)
    for part in parts[which]:
        if not members(part):
            yield part
        for member in members(part) if headers or part is parts[-1] else ():
            yield from leaves(member, which, headers)


def map_of(leaf: Step) -> str:
    """Say whether a message runs a task over many items, by `map` or by `starmap`; or empty."""
    return _MAPS.get(leaf.task, "")


def task_of(leaf: Step) -> str:
    """Return the name of the task that a message runs."""
    return str(leaf.kwargs["task"].task if map_of(leaf) else leaf.task)


def set_options(step: Step, options: Mapping[str, Any]) -> None:
    """Set options at every task, those of STARTING at the first ones; headers are put together.

    Celery itself moves only the first step of a chain, and so leaves `chain(…).set(queue="low")` half done.
    """
    first = set(map(id, leaves(step, FIRST)))
    for leaf in leaves(step):
        given = {name: value for name, value in options.items() if name not in STARTING or id(leaf) in first}
        if "headers" in given:
            given["headers"] = {**leaf.options.get("headers", {}), **given["headers"]}
        leaf.set(**given)
