"""A place in the tree with the path that leads to it: what refuses a value says with it what is wrong, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from celeryfleet.errors import Problem
from celeryfleet.fleetfile.tree import (
    MappingNode,
    Mark,
    Node,
    Path,
    ScalarNode,
    SequenceNode,
    described,
    is_null,
    quoted,
    text,
)
from celeryfleet.text import listed

#: sections whose keys are names that the user gives
_NAMED = {
    "apps": "app",
    "queues": "queue",
    "pools": "pool",
    "hosts": "host",
    "tasks": "task alias",
    "canvases": "canvas",
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


class Refused(Exception):  # noqa: N818 - it ends the reading of one value, and is always caught
    """A value that cannot be taken."""

    def __init__(self, path: Path, problem: Problem | None = None) -> None:
        super().__init__(str(problem))
        self.path = path
        #: None: it was said already
        self.problem = problem


@dataclass(slots=True)
class Cursor:
    """A node, the path that leads to it and the place of its key; where nothing was written, an empty scalar."""

    node: Node
    #: of its key or of the list item; where nothing was written, of the nearest that was, above it
    key: Mark
    path: Path = ()
    #: of all values under the root
    refused: list[Refused] = field(default_factory=list)

    @classmethod
    def of(cls, root: Node) -> Self:
        """Start at the root."""
        return cls(root, root.mark)

    def __getitem__(self, step: str | int) -> Cursor:
        match self.node:
            case MappingNode(entries=entries) if step in entries:
                entry = entries[str(step)]
                return Cursor(entry.node, entry.mark, (*self.path, step), self.refused)
            case SequenceNode(items=items) if isinstance(step, int) and 0 <= step < len(items):
                return Cursor(items[step], items[step].mark, (*self.path, step), self.refused)
            case _:
                return Cursor(ScalarNode("", self.key), self.key, (*self.path, step), self.refused)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.node, MappingNode) and name in self.node.entries

    def __iter__(self) -> Iterator[Cursor]:
        """Go through a mapping; anything else has no entries."""
        return (self[name] for name in (self.node.entries if isinstance(self.node, MappingNode) else ()))

    def items(self) -> Iterator[Cursor]:
        """Go through a list; anything else has no items."""
        return (self[index] for index in range(len(self.node.items) if isinstance(self.node, SequenceNode) else 0))

    @property
    def name(self) -> str:
        """Return its key."""
        return str(self.path[-1])

    @property
    def text(self) -> str | None:
        """Return the text of a scalar; null has none."""
        return text(self.node)

    @property
    def written(self) -> bool:
        """Tell whether anything but null was written."""
        return not is_null(self.node)

    @property
    def shown(self) -> str:
        """Name what was written, for a message."""
        return described(self.node)

    @property
    def subject(self) -> str:
        """Say in words what this is: `concurrency of pool "web"`."""
        return subject(self.path)

    def refuse(self, what: str, hint: str = "") -> Refused:
        """Make the error of this value; `what` goes on after its name."""
        if isinstance(self.node, ScalarNode) and self.node.failed:
            return Refused(self.path)
        what, hint = self._emptied() or (what, hint)
        place = self.node.mark if self.written else self.key
        return Refused(self.path, Problem(f"{self.subject} {what.rstrip('.')}.", str(place), hint))

    def _emptied(self) -> tuple[str, str] | None:
        """Say of a value that is empty since its variables are, and what to do; None: it is not."""
        if not isinstance(self.node, ScalarNode) or self.node.written is None or self.node.text.strip():
            return None
        found = list(dict.fromkeys(_VARIABLE.findall(self.node.written)))
        if len(found) == 1:
            hint = f"Give it a value, or write ${{{found[0]}:-default}}."
            return f"is empty, since the variable {found[0]} is.", hint
        return (f"is empty, since the variables {listed(found)} are.", "Give one of them a value.") if found else None


def subject(path: Path) -> str:
    """Say in words what a path leads to."""
    match path:
        case (str(section), str(name), *inner) if section in _NAMED:
            thing = f"{_NAMED[section]} {quoted(name)}"
        case ("routes", int(index), *inner):
            thing = f"route {index + 1}"
        case ("alerts", int(index), *inner):
            thing = f"alert {index + 1}"
        case ("beat", "schedule", str(name), *inner):
            thing = f"schedule {quoted(name)}"
        case _:
            return _dotted(path) or "fleet.yaml"
    return f"{_dotted(inner)} of {thing}" if inner else thing


def _dotted(path: Iterable[str | int]) -> str:
    words = ""
    for step in path:
        if isinstance(step, int):
            words = f"item {step + 1} of {words}" if words else f"item {step + 1}"
        else:
            shown = quoted(step)[1:-1] or '""'
            words = f"{words}.{shown}" if words else shown
    return words
