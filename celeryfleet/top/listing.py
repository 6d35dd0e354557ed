"""Lines of text in a terminal by Textual: what has not changed is not drawn again. Knows no fleets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding
from textual.events import Click
from textual.geometry import Region, Size, Spacing
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from celeryfleet.text import tamed, written

_COLOUR = re.compile(r"\x1b\[([\d;]*)m")


@lru_cache(4096)
def _strip(line: str, chosen: bool = False) -> Strip:
    """Make what Textual draws of a line as `say` takes it; a chosen one is a bar in the terminal's own colours."""
    first, *rest = _COLOUR.split(written(tamed(line)))
    parts = [("0", first), *zip(rest[::2], rest[1::2], strict=True)]
    return Strip(Segment(text, _style("7" if chosen else code)) for code, text in parts if text)


@cache
def _style(code: str) -> Style:
    return Text.from_ansi(f"\x1b[{code}mx").get_style_at_offset(Console(), 0)


class Lines(Widget):
    """Some lines; the last of them, where there is not room for all."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._lines: Sequence[str] = ()

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines."""
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        at = y + max(0, len(self._lines) - self.size.height)
        strip = _strip(self._lines[at]) if at < len(self._lines) else Strip.blank(0)
        return strip.adjust_cell_length(self.size.width)


class Table(ScrollView, can_focus=True):
    """Rows under a line of titles that stays; one of them is chosen, and stays so when they move."""

    BINDINGS = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "move(-1_000_000)", "first", show=False),
        Binding("end", "move(1_000_000)", "last", show=False),
    ]

    class Resized(Message):
        """It has another width."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.border_title = f" {id} "
        self._lines: tuple[str, ...] = ("",)
        self._keys: tuple[str, ...] = ()
        self._at = 0

    @property
    def room(self) -> int:
        """The columns of a row."""
        return int(self.scrollable_content_region.width)

    @property
    def chosen(self) -> str:
        """The key of the chosen row; empty: there are no rows."""
        return self._keys[self._at] if self._keys else ""

    def show(self, titles: str, rows: Sequence[str], keys: Sequence[str]) -> None:
        """Show these rows; each has a key by which it is known again."""
        chosen, old, at = self.chosen, self._lines, self._at
        self._lines, self._keys = (titles, *rows), tuple(keys)
        self._at = self._keys.index(chosen) if chosen in self._keys else min(at, max(0, len(keys) - 1))
        if len(self._lines) != len(old):
            self.virtual_size = Size(0, len(self._lines))
            self.refresh()
        for y, (line, before) in enumerate(zip(self._lines, old, strict=False)):
            if line != before or (at != self._at and y - 1 in (at, self._at)):
                self._redraw(y)

    def _redraw(self, line: int) -> None:
        self.refresh_line(line + self.scroll_offset.y if line == 0 else line)

    def action_move(self, by: int) -> None:
        """Choose another row."""
        before = self._at
        self._at = max(0, min(before + by, len(self._keys) - 1))
        self._redraw(before + 1)
        self._redraw(self._at + 1)
        self.scroll_to_region(
            Region(0, self._at + 1, 1, 1), spacing=Spacing(1, 0, 0, 0), animate=False, x_axis=False, immediate=True
        )

    def action_page(self, by: int) -> None:
        """Choose a row a screenful away."""
        self.action_move(by * max(1, self.size.height - 2))

    def on_click(self, event: Click) -> None:
        """Choose the row that was clicked on."""
        if event.y:
            self.action_move(int(event.y + self.scroll_offset.y) - 1 - self._at)

    def on_focus(self) -> None:
        """Show the bar."""
        self._redraw(self._at + 1)

    def on_blur(self) -> None:
        """Hide the bar."""
        self._redraw(self._at + 1)

    def on_resize(self) -> None:
        """Have the rows made anew."""
        self.post_message(self.Resized())

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        at = y + int(self.scroll_offset.y) if y else 0
        chosen = self.has_focus and at == self._at + 1 and bool(self._keys)
        strip = _strip(self._lines[at], chosen) if at < len(self._lines) else Strip.blank(0)
        return strip.adjust_cell_length(self.room, _style("7" if chosen else "0"))
