from __future__ import annotations

import io

from celeryfleet.client.outcome import Progress, Record
from celeryfleet.client.steps import Call, Chain
from celeryfleet.render.paint import has_colour
from celeryfleet.render.progress import picture, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


CANVAS = Chain((Call("shop.add", (1, 1), id="1"), Call("shop.mul", (2,), id="2"), Call("shop.sub", (3,), id="3")))
RECORDS = {"1": Record("SUCCESS", 2), "2": Record("FAILURE", None, "ValueError")}


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


def test_a_picture_marks_what_became_of_each_task() -> None:
    assert picture(CANVAS, RECORDS).splitlines() == ["chain", "├─ ✓ add(1, 1)", "├▶ ✗ mul(…, 2)", "└▶ · sub(…, 3)"]
    assert "\x1b[31m✗" in picture(CANVAS, RECORDS, colour=True)
    assert picture(CANVAS).splitlines()[1] == "├─ add(1, 1)"


def test_colours_are_for_terminals_that_want_them() -> None:
    assert has_colour(Terminal(), {"TERM": "xterm"})
    assert not has_colour(Terminal(), {"NO_COLOR": "1"})
    assert not has_colour(io.StringIO(), {})
