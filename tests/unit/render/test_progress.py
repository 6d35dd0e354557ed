from __future__ import annotations

import io

from celeryfleet.client.outcome import Progress
from celeryfleet.render.paint import has_colour
from celeryfleet.render.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_counts_what_is_over_and_what_failed() -> None:
    terminal = Terminal()
    with progress_bar("chord", terminal) as on_progress:
        on_progress(Progress(0, 0, 3))
        on_progress(Progress(3, 1, 3))
    shown = terminal.getvalue()
    assert "3/3" in shown
    assert "1 failed" in shown


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress_bar("chord", stream) as on_progress:
        on_progress(Progress(1, 0, 3))
    assert stream.getvalue() == ""


def test_colours_are_for_terminals_that_want_them() -> None:
    assert has_colour(Terminal(), {"TERM": "xterm"})
    assert not has_colour(Terminal(), {"NO_COLOR": "1"})
    assert not has_colour(io.StringIO(), {})
