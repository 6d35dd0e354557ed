"""Lays out text for a terminal: columns, and lines that run across them; knows nothing of fleets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from celeryfleet.render.paint import DIM, paint
from celeryfleet.text import columns, cut, middle, wrap

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from celeryfleet.render.paint import Span

#: columns to leave out, one after another, where a terminal is too narrow
_SPARE = ("RESTARTS", "MEMORY", "PID", "UPTIME", "UNACKED", "EXCHANGE", "ROUTE")
#: columns of words; the others are numbers and lie right
_WORDS = (
    *("WORKER", "STATE", "QUEUE", "PROCESS", "QUEUES", "TASK", "EXCHANGE", "ROUTE", "POOLS", "FROM", "WHY", "ID"),
    *("NAME", "SUMMARY", "HOST"),
)
#: columns that a name keeps while others can be left out, and those it keeps in any case
_NAME, _LEAST = 24, 8


def grid(
    titles: Sequence[str], rows: Sequence[list[Span] | str], color: bool, width: int, rest: str = ""
) -> Iterator[str]:
    """Align rows of cells under their titles, among them lines that run across; too wide, names are cut first.

    The column `rest` takes what the others leave of the width, and is shortened in its middle.
    """
    cells = [row for row in rows if not isinstance(row, str)]
    widths = {title: max(map(columns, (title, *(row[at][0] for row in cells)))) for at, title in enumerate(titles)}
    if rest:
        widths[rest] = _NAME
    gap = _narrowed(widths, titles, width)
    if rest:
        gap = min(gap, 2)
        widths[rest] += max(0, width - sum(widths.values()) - gap * (len(widths) - 1))
    for row in [[(title, DIM) for title in titles], *rows]:
        if isinstance(row, str):
            yield row
            continue
        named = [(title, one) for title, one in zip(titles, row, strict=True) if title in widths]
        shown = [
            _padded((middle(one[0], widths[rest]), one[1]) if title == rest else one, title, widths[title], color)
            for title, one in named
        ]
        yield (" " * gap).join(shown).rstrip()


def cell(value: Any, write: Callable[[Any], str] = str, style: str = "") -> Span:
    """Write a value; a dash stands for what is not known."""
    return ("-", DIM) if value is None else (write(value), style)


def _narrowed(widths: dict[str, int], titles: Sequence[str], width: int) -> int:
    """Make columns fit, first the gap between them, then the names, then their number; return the gap."""
    gap = 2
    spare = [title for title in _SPARE if title in widths]
    while width and (over := sum(widths.values()) + gap * (len(widths) - 1) - width) > 0:
        if gap > 1:
            gap -= 1
        elif widths[titles[0]] > _NAME:
            widths[titles[0]] = max(_NAME, widths[titles[0]] - over)
        elif spare:
            del widths[spare.pop(0)]
        else:
            widest = max((title for title in widths if title in _WORDS), key=widths.__getitem__)
            if widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
    if width and len(widths) == len(titles):
        gap = max(gap, min(3, (width - sum(widths.values())) // max(1, len(widths) - 1)))
    return gap


def _padded(cell: Span, title: str, size: int, color: bool) -> str:
    text = cut(cell[0], size) if title in _WORDS else cell[0]
    pad = " " * (size - columns(text))
    painted = paint(text, cell[1], color)
    return painted + pad if title in _WORDS else pad + painted


def across(parts: Sequence[Span], color: bool, width: int) -> str:
    """Write a line of parts two spaces apart, cut to the width, 0 for as they are."""
    left = width
    shown: list[str] = []
    for text, style in parts:
        if width and left < 2 and shown:
            break
        kept = cut(text, left) if width else text
        shown.append(paint(kept, style, color))
        left -= columns(kept) + 2
    return "  ".join(shown)


def wrapped(text: str, sign: Span, color: bool, width: int) -> Iterator[str]:
    """Break a sentence into lines, the first of which begins with a sign."""
    start, indent = f"{paint(*sign, color)} ", " " * (columns(sign[0]) + 1)
    lines = wrap(text.split(" "), width - len(indent)) if width else [text]
    for number, line in enumerate(lines):
        yield f"{indent if number else start}{line}"
