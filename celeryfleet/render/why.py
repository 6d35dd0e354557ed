"""An answer of `why`, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.render.grid import wrapped
from celeryfleet.render.paint import AMBER, BOLD, CYAN, DIM, GREEN, RED, paint
from celeryfleet.text import clean

if TYPE_CHECKING:
    from celeryfleet.client.standing import Answer

_STYLES = {"succeeded": GREEN, "running": GREEN, "failed": RED, "lost": RED, "unknown": RED}
_FIELDS = ("id", "task", "state", "queue", "position", "of", "worker", "since_s", "eta_s", "error")


def document(answer: Answer) -> dict[str, Any]:
    """Return what `why --json` prints."""
    told = {name: getattr(answer, name) for name in _FIELDS}
    return {"schema_version": 1, **told, "because": list(answer.because)}


def lines(answer: Answer, stack: Sequence[str], color: bool, width: int) -> Iterator[str]:
    """Write the state, what it is so for, and what to do."""
    names = [answer.task, answer.id] if answer.id or answer.task else [answer.queue]
    head = "  ".join(clean(name) for name in names if name)
    yield f"{paint(head, BOLD, color)}  {paint(answer.state, _STYLES.get(answer.state, AMBER), color)}"
    for text in answer.because:
        yield from wrapped(clean(text), (" ", ""), color, width)
    for line in stack:
        yield paint(f"  │ {clean(line)}", DIM, color)
    for hint in answer.hints:
        yield from wrapped(clean(hint), ("→", CYAN), color, width)
