"""A canvas drawn as text: what runs side by side, and what waits for what; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator

from celeryfleet.client.names import short_names
from celeryfleet.client.steps import Call, Chain, Chord, Group, Leaf, Map, Step, Value, leaves
from celeryfleet.text import counted, cut

#: members of a group that are drawn; the rest is counted
SHOWN = 4
#: steps of a chain that are drawn
STEPS = 12
#: characters of one argument
WIDTH = 30


def draw(step: Step, shown: int = SHOWN, mark: Callable[[Leaf], str] = lambda leaf: "") -> str:
    """Draw a canvas; `mark` may put a sign before each task, such as what became of it."""
    names = short_names({leaf.task for leaf in leaves(step)})
    return "\n".join(_Pen(names, shown, mark).lines(step, first=True))


class _Pen:
    """How a picture is drawn: names by task, members shown, marks."""

    def __init__(self, names: dict[str, str], shown: int, mark: Callable[[Leaf], str]) -> None:
        self._names = names
        self._shown = shown
        self._mark = mark

    def lines(self, step: Step, first: bool) -> list[str]:
        """Draw a step; one that is not `first` takes the result of the step before it."""
        match step:
            case Call() | Map():
                return [f"{self._mark(step)}{self._call(step, first)}"]
            case Group(steps):
                return [f"group of {len(steps)}", *self._members(steps, first)]
            case Chain(steps):
                return ["chain", *self._sequence(steps, first)]
            case Chord(header, body):
                return ["chord", *self._sequence((header, body), first)]

    def _members(self, steps: tuple[Step, ...], first: bool) -> Iterator[str]:
        hidden = len(steps) - self._shown if len(steps) > self._shown + 1 else 0
        head = steps[: self._shown - 1] if hidden else steps[:-1]
        for step in head:
            yield from _branch(self.lines(step, first), "├─ ", "│  ")
        if hidden:
            yield f"├─ … {hidden} more"
        yield from _branch(self.lines(steps[-1], first), "└─ ", "   ")

    def _sequence(self, steps: tuple[Step, ...], first: bool) -> Iterator[str]:
        hidden = len(steps) - STEPS if len(steps) > STEPS + 1 else 0
        yield from _branch(self.lines(steps[0], first), "├─ ", "│  ")
        for step in steps[1 : STEPS - 1] if hidden else steps[1:-1]:
            yield from _branch(self.lines(step, first=False), "├▶ ", "│  ")
        if hidden:
            yield f"├▶ … {hidden} more"
        yield from _branch(self.lines(steps[-1], first=False), "└▶ ", "   ")

    def _call(self, leaf: Leaf, first: bool) -> str:
        name, queue = self._names[leaf.task], leaf.options.get("queue")
        where = f" → {queue}" if queue else ""
        if isinstance(leaf, Map):
            number = counted(len(leaf.items), "item")
            return f"{name}.{'starmap' if leaf.star else 'map'}({number}){where}"
        given = [] if first or leaf.immutable else ["…"]
        given += [_short(value) for value in leaf.args]
        given += [f"{key}={_short(value)}" for key, value in leaf.kwargs.items()]
        return f"{name}({', '.join(given)}){where}"


def _branch(lines: Collection[str], head: str, rest: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield (rest if number else head) + line


def _short(value: Value) -> str:
    return cut(json.dumps(value, ensure_ascii=False), WIDTH)
