"""A canvas drawn as text: what runs side by side, what waits for what, and what became of each task."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from celeryfleet.client.names import short_names
from celeryfleet.client.outcome import GOOD, READY, Record
from celeryfleet.client.signatures import Step, leaves, map_of, members, sequence, task_of
from celeryfleet.render.paint import DIM, GREEN, RED, paint
from celeryfleet.text import counted

#: members of a group that are drawn; the rest is counted
SHOWN = 4
#: steps of a chain that are drawn
STEPS = 12
#: characters of one argument
WIDTH = 30


def draw(step: Step, records: Mapping[str, Record] | None = None, colour: bool = False) -> str:
    """Draw a canvas; with records, each task has a mark: ✓ done, ✗ failed, · not run."""
    names = short_names({task_of(leaf) for leaf in leaves(step)})

    def mark(leaf: Step) -> str:
        return "" if records is None else f"{_mark(records.get(leaf.id), colour)} "

    return "\n".join(_Pen(names, mark).lines(step, first=True))


class _Pen:
    """How a picture is drawn: names by task, and what stands before each task."""

    def __init__(self, names: Mapping[str, str], mark: Callable[[Step], str]) -> None:
        self._names = names
        self._mark = mark

    def lines(self, step: Step, first: bool) -> list[str]:
        """Draw a step; one that is not `first` takes the result of the step before it."""
        if members(step):
            return [f"group of {len(members(step))}", *self._parts(members(step), SHOWN, "─", [first])]
        parts = sequence(step)
        if len(parts) == 1:
            return [f"{self._mark(step)}{self._call(step, first)}"]
        kind = "chord" if step.subtask_type == "chord" and len(parts) == 2 else "chain"
        return [kind, *self._parts(parts, STEPS, "▶", [first, False])]

    def _parts(self, parts: list[Step], most: int, arrow: str, first: list[bool]) -> Iterator[str]:
        """Draw steps below each other, the last `most` but for those in the middle; `first` is of one step each."""
        hidden = len(parts) - most if len(parts) > most + 1 else 0
        for number, part in enumerate(parts):
            last, dash = number == len(parts) - 1, arrow if number else "─"
            if last and hidden:
                yield f"├{arrow} … {hidden} more"
            if last or not hidden or number < most - 1:
                lines = self.lines(part, first[min(number, len(first) - 1)])
                yield from _branch(lines, f"{'└' if last else '├'}{dash} ", "   " if last else "│  ")

    def _call(self, leaf: Step, first: bool) -> str:
        name, queue = self._names[task_of(leaf)], leaf.options.get("queue")
        where = f" → {queue}" if queue else ""
        if map_of(leaf):
            return f"{name}.{map_of(leaf)}({counted(len(leaf.kwargs['it']), 'item')}){where}"
        given = [] if first or leaf.immutable else ["…"]
        given += [_short(value) for value in leaf.args]
        given += [f"{key}={_short(value)}" for key, value in leaf.kwargs.items()]
        return f"{name}({', '.join(given)}){where}"


def _branch(lines: Collection[str], head: str, rest: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield (rest if number else head) + line


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _mark(record: Record | None, colour: bool) -> str:
    if record is None or record.state not in READY:
        return paint("·", DIM, colour)
    return paint("✓", GREEN, colour) if record.state in GOOD else paint("✗", RED, colour)
