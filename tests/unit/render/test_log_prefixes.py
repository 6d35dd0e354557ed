"""What stands before the lines of several workers' logs."""

from __future__ import annotations

from celeryfleet.render.log_prefixes import Prefixes
from celeryfleet.text import written


def test_prefixes_are_aligned_and_grow_with_a_longer_name() -> None:
    prefix = Prefixes(["web-1", "video-1"])
    assert written(prefix("web-1", "  a  ")) == "web-1   |   a  "
    assert written(prefix("video-10", "b")) == "video-10 | b"
    assert written(prefix("web-1", "c")) == "web-1    | c"


def test_a_worker_keeps_its_colour_and_the_numbers_sort_as_numbers() -> None:
    prefix = Prefixes([f"web-{number}" for number in range(12, 0, -1)], color=True)
    assert written(prefix("web-1", "x")) == "\x1b[36mweb-1  |\x1b[0m x"
    assert written(prefix("web-2", "x")) == "\x1b[32mweb-2  |\x1b[0m x"
    assert written(prefix("web-11", "x")) == "\x1b[36mweb-11 |\x1b[0m x"
    assert written(prefix("new", "x")) == "\x1b[33mnew    |\x1b[0m x"


def test_without_prefixes_a_line_is_as_it_was() -> None:
    assert Prefixes(["a"], color=True, shown=False)("a", "line") == "line"
