"""Names the parts of a fleet for messages: a path of keys → `concurrency of pool "web"`."""

from __future__ import annotations

from celeryfleet.fleetfile.tree import Path
from celeryfleet.text import cut, visible

#: sections whose keys are names that the user gives
_NAMED = {
    "queues": "queue",
    "pools": "pool",
    "tasks": "task alias",
    "canvases": "canvas",
}


def owner(path: Path) -> tuple[str, Path]:
    """Split a path into the thing it belongs to, in words, and the rest within that thing."""
    match path:
        case (str(section), str(name), *rest) if section in _NAMED:
            return f"{_NAMED[section]} {quoted(name)}", tuple(rest)
        case ("routes", int(index), *rest):
            return f"route {index + 1}", tuple(rest)
        case ("beat", "schedule", str(name), *rest):
            return f"schedule {quoted(name)}", tuple(rest)
        case _:
            return "", path


def subject(path: Path, file: str = "fleet.yaml") -> str:
    """Say what a path leads to."""
    thing, rest = owner(path)
    if not rest:
        return thing or file
    inner = _dotted(rest)
    return f"{inner} of {thing}" if thing else inner


def quoted(name: str) -> str:
    """Put a name in quotes, with what cannot be printed spelt out."""
    return f'"{visible(cut(name, 60))}"'


def _dotted(path: Path) -> str:
    words = ""
    for step in path:
        if isinstance(step, int):
            words = f"item {step + 1} of {words}" if words else f"item {step + 1}"
        else:
            shown = quoted(step)[1:-1] or '""'
            words = f"{words}.{shown}" if words else shown
    return words
