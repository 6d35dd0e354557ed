"""A sheet of character cells: words, and lines that join where they belong together and pass where they do not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from celeryfleet.render.paint import DIM
from celeryfleet.text import columns

if TYPE_CHECKING:
    from celeryfleet.render.paint import Span

#: arms of a line in a cell; the sum of a cell's is the place of its character
LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
_GLYPHS = " ───│┘└┴│┐┌┬│┤├┼"
_DASHED = {"─": "╌", "│": "┆"}
#: for terminals that know letters alone; as wide as what they stand for
_PLAIN = str.maketrans("─│┐┘┌└┬┴┤├┼╌┆▶✗★◇×–→…·←", "-|+++++++++.:>x*#x->~,<")

#: how a line goes through a cell: its arms, its style, and whether it is dashed
_Stroke = tuple[int, str, bool]


def in_ascii(text: str) -> str:
    """Draw with the characters that every terminal knows."""
    return text.translate(_PLAIN)


class Canvas:
    """What is drawn; columns and rows count from 0."""

    def __init__(self) -> None:
        self._words: dict[tuple[int, int], Span] = {}
        self._lines: dict[tuple[int, int], dict[str, _Stroke]] = {}

    def write(self, x: int, y: int, text: str, style: str = "") -> int:
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

    def spans(self, x: int, y: int, spans: Iterable[Span]) -> int:
        """Put spans on a row; return the column after them."""
        for text, style in spans:
            x = self.write(x, y, text, style)
        return x

    def across(self, y: int, start: int, end: int, line: str, style: str = DIM, dashed: bool = False) -> None:
        """Draw from the middle of the cell `start` to the middle of the cell `end`, on the same row."""
        for x in range(start, end + 1):
            arms = (LEFT if x > start else 0) | (RIGHT if x < end else 0)
            self._stroke(x, y, arms or LEFT, line, style, dashed)

    def along(self, x: int, start: int, end: int, line: str, style: str = DIM, dashed: bool = False) -> None:
        """Draw from one row to another, in the same column."""
        for y in range(start, end + 1):
            self._stroke(x, y, (UP if y > start else 0) | (DOWN if y < end else 0), line, style, dashed)

    def _stroke(self, x: int, y: int, arms: int, line: str, style: str, dashed: bool) -> None:
        cell = self._lines.setdefault((x, y), {})
        before, _, was_dashed = cell.get(line, (0, style, True))
        cell[line] = (before | arms, style, was_dashed and dashed)

    @property
    def width(self) -> int:
        """Count the columns in use."""
        return 1 + max((x for x, _ in (*self._words, *self._lines)), default=-1)

    def rows(self) -> list[list[Span]]:
        """Return every row as spans, without blanks at the end."""
        ends: dict[int, int] = {}
        for x, y in (*self._words, *self._lines):
            ends[y] = max(x, ends.get(y, -1))
        rows = [[self._cell(x, y) for x in range(ends.get(y, -1) + 1)] for y in range(max(ends, default=-1) + 1)]
        return [
            [("".join(text for text, _ in group), style) for style, group in groupby(row, key=lambda span: span[1])]
            for row in rows
        ]

    def _cell(self, x: int, y: int) -> Span:
        """Choose a cell's character; where two lines cross, the one that goes up and down lies above."""
        if (x, y) in self._words:
            return self._words[x, y]
        strokes = self._lines.get((x, y), {"": (0, "", False)})
        arms, style, dashed = max(strokes.values(), key=lambda stroke: bool(stroke[0] & (UP | DOWN)))
        return _DASHED.get(_GLYPHS[arms], _GLYPHS[arms]) if dashed else _GLYPHS[arms], style
