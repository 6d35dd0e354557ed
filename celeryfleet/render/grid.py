"""Lays out text for a terminal: columns, colours, and what a line may hold; knows nothing of fleets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import TypeAlias

    #: text, and the style it is shown in (the numbers of an ANSI sequence, or nothing)
    Cell: TypeAlias = tuple[str, str]
    #: a row of cells, or a line in pieces that runs across the columns (True)
    Row: TypeAlias = tuple[list[Cell], bool]

BOLD, DIM, RED, GREEN, AMBER, CYAN = "1", "2", "31", "32", "33", "36"
#: columns to leave out, one after another, where a terminal is too narrow
_SPARE = ("RESTARTS", "MEMORY", "PID", "UPTIME", "UNACKED", "EXCHANGE", "ROUTE")
#: columns of words; the others are numbers and lie right
_WORDS = ("WORKER", "STATE", "QUEUE", "PROCESS", "QUEUES", "TASK", "EXCHANGE", "ROUTE", "POOLS")
#: columns that a name keeps while others can be left out, and those it keeps in any case
_NAME, _LEAST = 24, 8
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def grid(titles: Sequence[str], rows: list[Row], color: bool, width: int) -> Iterator[str]:
    """Align the rows under their titles; too wide, names are cut first, then columns left out."""
    cells = [row for row, across in rows if not across]
    widths = {
        title: max(len(title), *(wide(row[index][0]) for row in cells)) if cells else len(title)
        for index, title in enumerate(titles)
    }
    gap = 2
    spare = [title for title in _SPARE if title in widths]
    while width and sum(widths.values()) + gap * (len(widths) - 1) > width:
        over = sum(widths.values()) + gap * (len(widths) - 1) - width
        if gap > 1:
            gap -= 1
        elif widths[titles[0]] > _NAME:
            widths[titles[0]] = max(_NAME, widths[titles[0]] - over)
        elif spare:
            del widths[spare.pop(0)]
        else:
            _squeeze(widths, width - gap * (len(widths) - 1))
            break
    if width and len(widths) == len(titles):
        gap = max(gap, min(3, (width - sum(widths.values())) // max(1, len(widths) - 1)))
    header: Row = ([(title, DIM) for title in titles], False)
    for row, across in [header, *rows]:
        if across:
            yield pieces(row, color, width)
            continue
        shown = [
            _fit(cell, title, widths[title], color) for cell, title in zip(row, titles, strict=True) if title in widths
        ]
        yield (" " * gap).join(shown).rstrip()


def _squeeze(widths: dict[str, int], room: int) -> None:
    """Cut the widest columns of words until all fit, as far as they can be cut."""
    while sum(widths.values()) > room:
        title = max((title for title in widths if title in _WORDS), key=widths.__getitem__, default="")
        if not title or widths[title] <= _LEAST:
            return
        widths[title] -= 1


def _fit(cell: Cell, title: str, size: int, color: bool) -> str:
    text = cut(cell[0], size) if title in _WORDS else cell[0]
    pad = " " * (size - wide(text))
    painted = paint(text, cell[1], color)
    return painted + pad if title in _WORDS else pad + painted


def pieces(parts: Sequence[Cell], color: bool, width: int) -> str:
    """Join pieces by two spaces, cut to the width, 0 for as they are."""
    left = width
    shown: list[str] = []
    for text, style in parts:
        if width and left < 2 and shown:
            break
        kept = cut(text, left) if width else text
        shown.append(paint(kept, style, color))
        left -= wide(kept) + 2
    return "  ".join(shown)


def wrapped(text: str, sign: Cell, color: bool, width: int) -> Iterator[str]:
    """Break a sentence into lines, the first of which begins with a sign."""
    start = f"{paint(*sign, color)} "
    room = width - wide(sign[0]) - 1
    line = ""
    for word in text.split(" "):
        if width and line and wide(line) + 1 + wide(word) > room:
            yield start + line
            start, line = " " * (wide(sign[0]) + 1), word
        else:
            line = f"{line} {word}" if line else word
    yield start + line


def paint(text: str, style: str, color: bool) -> str:
    """Put a style on a text, where there is colour at all."""
    return f"\x1b[{style}m{text}\x1b[0m" if color and style and text else text


def clean(text: str) -> str:
    """Take out what would move the cursor or colour the screen."""
    text = _ESCAPE.sub("", text).expandtabs(4)
    return text if text.isprintable() else "".join(char if char.isprintable() else "�" for char in text)


def cut(text: str, width: int) -> str:
    """Cut a text to a width, 0 for as it is; an ellipsis stands for the rest."""
    if not width or wide(text) <= width:
        return text
    kept = text
    while kept and wide(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def middle(text: str, width: int) -> str:
    """Shorten a text in its middle, where both ends tell something."""
    if len(text) <= width:
        return text
    half = max(2, (width - 1) // 2)
    return f"{text[: width - 1 - half]}…{text[-half:]}"


def length(parts: Sequence[Cell]) -> int:
    """Count the columns of what `pieces` makes."""
    return sum(wide(text) for text, _ in parts) + 2 * (len(parts) - 1)


def wide(text: str) -> int:
    """Count columns: some scripts take two for a character."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
