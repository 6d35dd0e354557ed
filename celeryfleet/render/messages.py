"""Messages that wait, and queues of dead letters, as tables and as JSON; asks no broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.render.grid import cell, grid, wrapped
from celeryfleet.render.paint import AMBER, CYAN, DIM
from celeryfleet.text import age, clean, cut

if TYPE_CHECKING:
    from celeryfleet.client.in_hand import Dead
    from celeryfleet.client.messages import Message
    from celeryfleet.render.paint import Span

#: columns that a call takes at most, where there is no screen to fit it into
_CALL = 200
_PEEK = ("TASK", "AGE", "PRIORITY", "ID")
_DEAD = ("QUEUE", "READY", "FROM", "WHY")


def peek_document(queue: str, messages: Sequence[Message], now: float) -> dict[str, Any]:
    """Return what `queues peek --json` prints; `now` is unix seconds."""
    rows = [
        {"id": one.id or None, "task": one.task or None, "args": one.args, "kwargs": one.kwargs}
        | {"age_s": one.age(now), "priority": one.priority}
        for one in messages
    ]
    return {"schema_version": 1, "queue": queue, "messages": rows}


def peek_lines(messages: Sequence[Message], now: float, color: bool, width: int) -> Iterator[str]:
    """Write a line for each message."""
    rows: list[list[Span] | str] = []
    for one in messages:
        call, sent = cut(clean(one.call), _CALL), cell(one.age(now), age)
        rows.append([(call, ""), sent, cell(one.priority), (clean(one.id) or "-", DIM)])
    return grid(_PEEK, rows, color, width)


def dead_document(found: Sequence[Dead]) -> dict[str, Any]:
    """Return what `queues dead --json` prints."""
    rows = [{"name": one.queue, "ready": one.ready, "from": list(one.sources), "reasons": one.reasons} for one in found]
    return {"schema_version": 1, "queues": rows}


def dead_lines(found: Sequence[Dead], color: bool, width: int) -> Iterator[str]:
    """Write a line for each queue, and how what is there goes back."""
    rows: list[list[Span] | str] = [
        [
            (clean(one.queue), ""),
            (f"{one.ready:,}", AMBER if one.ready else DIM),
            (clean(", ".join(one.sources)), ""),
            cell(one.reasons or None, _counted),
        ]
        for one in found
    ]
    yield from grid(_DEAD, rows, color, width)
    if full := [one for one in found if one.ready]:
        first = full[0]
        back = "retry --all" if first.parked else f"queues move {first.queue} {first.sources[0]}"
        text = f"Look: celeryfleet queues peek {first.queue} · Back: celeryfleet {back}"
        yield from wrapped(clean(text), ("→", CYAN), color, width)


def _counted(reasons: dict[str, int]) -> str:
    return clean(", ".join(f"{number} {reason}" for reason, number in Counter(reasons).most_common()))
