"""A sheet of character cells: words, and lines that join where they belong together and pass where they do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import columns


class Style(StrEnum):
    """How a span is to be shown, where it can be."""

    PLAIN = ""
    STRONG = "strong"
    FAINT = "faint"
    WELL = "well"
    LATE = "late"
    BAD = "bad"
    #: lines that run beside others, told apart by colour
    LINE_1 = "line-1"
    LINE_2 = "line-2"
    LINE_3 = "line-3"


#: text, and how to show it
Span = tuple[str, Style]

MOODS = {Mood.PLAIN: Style.FAINT, Mood.WELL: Style.WELL, Mood.LATE: Style.LATE, Mood.BAD: Style.BAD}
LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
_GLYPHS = {
    LEFT: "─",
    RIGHT: "─",
    UP: "│",
    DOWN: "│",
    LEFT | RIGHT: "─",
    UP | DOWN: "│",
    LEFT | DOWN: "┐",
    LEFT | UP: "┘",
    RIGHT | DOWN: "┌",
    RIGHT | UP: "└",
    LEFT | RIGHT | DOWN: "┬",
    LEFT | RIGHT | UP: "┴",
    LEFT | UP | DOWN: "┤",
    RIGHT | UP | DOWN: "├",
    LEFT | RIGHT | UP | DOWN: "┼",
}
_DASHED = {"─": "╌", "│": "┆"}
#: for terminals that know letters alone; as wide as what they stand for
_PLAIN = str.maketrans("─│┐┘┌└┬┴┤├┼╌┆▶✗★◇×–→…·←", "-|+++++++++.:>x*#x->~,<")


@dataclass
class _Cell:
    """The arms of the lines in one cell, by the line they belong to."""

    arms: dict[str, int] = field(default_factory=dict)
    styles: dict[str, Style] = field(default_factory=dict)
    dashed: dict[str, bool] = field(default_factory=dict)


def in_ascii(text: str) -> str:
    """Draw with the characters that every terminal knows."""
    return text.translate(_PLAIN)


class Canvas:
    """What is drawn; columns and rows count from 0."""

    def __init__(self) -> None:
        self._words: dict[tuple[int, int], Span] = {}
        self._lines: dict[tuple[int, int], _Cell] = {}

    def write(self, x: int, y: int, text: str, style: Style = Style.PLAIN) -> int:
        """Put words on a row; return the column after them."""
        for char in text:
            size = columns(char)
            if size:
                self._words[x, y] = (char, style)
                if size == 2:
                    self._words[x + 1, y] = ("", style)
                x += size
            elif (x - 1, y) in self._words:  # a combining character goes where its letter is
                before, was = self._words[x - 1, y]
                self._words[x - 1, y] = (before + char, was)
        return x

    def across(self, y: int, start: int, end: int, line: str, style: Style = Style.FAINT, dashed: bool = False) -> None:
        """Draw from the middle of the cell `start` to the middle of the cell `end`, on the same row."""
        for x in range(start, end + 1):
            arms = (LEFT if x > start else 0) | (RIGHT if x < end else 0)
            self._arm(x, y, arms or LEFT, line, style, dashed)

    def along(self, x: int, start: int, end: int, line: str, style: Style = Style.FAINT, dashed: bool = False) -> None:
        """Draw from one row to another, in the same column."""
        for y in range(start, end + 1):
            self._arm(x, y, (UP if y > start else 0) | (DOWN if y < end else 0), line, style, dashed)

    def _arm(self, x: int, y: int, arms: int, line: str, style: Style, dashed: bool) -> None:
        cell = self._lines.setdefault((x, y), _Cell())
        cell.arms[line] = cell.arms.get(line, 0) | arms
        cell.styles[line] = style
        cell.dashed[line] = cell.dashed.get(line, True) and dashed

    @property
    def width(self) -> int:
        """Count the columns in use."""
        return 1 + max((x for x, _ in (*self._words, *self._lines)), default=-1)

    def rows(self) -> list[list[Span]]:
        """Return every row as spans, without blanks at the end."""
        height = 1 + max((y for _, y in (*self._words, *self._lines)), default=-1)
        return [_joined(self._row(y)) for y in range(height)]

    def _row(self, y: int) -> list[Span]:
        row = []
        for x in range(self.width):
            span = self._words.get((x, y))
            if span is None:
                cell = self._lines.get((x, y))
                span = _glyph(cell) if cell else (" ", Style.PLAIN)
            row.append(span)
        return row


def _glyph(cell: _Cell) -> Span:
    """Choose a cell's character; where two lines cross, the one that goes up and down lies above."""
    line = max(cell.arms, key=lambda name: bool(cell.arms[name] & (UP | DOWN)))
    glyph = _GLYPHS[cell.arms[line]]
    return _DASHED.get(glyph, glyph) if cell.dashed[line] else glyph, cell.styles[line]


def _joined(row: list[Span]) -> list[Span]:
    spans: list[Span] = []
    for text, style in row:
        if spans and spans[-1][1] is style:
            spans[-1] = (spans[-1][0] + text, style)
        else:
            spans.append((text, style))
    while spans and not spans[-1][0].strip(" "):
        spans.pop()
    if spans:
        spans[-1] = (spans[-1][0].rstrip(" "), spans[-1][1])
    return spans
