"""Text for people: counts, lists, durations, sizes, and what fits a terminal."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from celeryfleet.render.paint import RED, has_colour, paint
from celeryfleet.text import (
    age,
    clean,
    columns,
    counted,
    cut,
    duration,
    listed,
    middle,
    quoted,
    say,
    size,
    tamed,
    visible,
    wrap,
)


def test_things_are_counted_with_their_plural() -> None:
    assert [counted(n, "worker") for n in (0, 1, 1200)] == ["0 workers", "1 worker", "1,200 workers"]
    assert counted(2, "task process") == "2 task processes"
    assert [counted(n, "message", "waits", "wait") for n in (1, 2)] == ["1 message waits", "2 messages wait"]


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed("abc", "or") == "a, b or c"
    assert listed("abcd", most=2) == "a, b and 2 more"
    assert listed("abc", most=2) == "a, b and c", "no name is left out to say that there is one more"
    assert quoted("ab") == '"a" and "b"'


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (0.5, "500ms"), (30.0, "30s"), (90, "1m30s"), (7200, "2h"), (90.25, "1m30s250ms"), (86400, "1d")],
)
def test_a_duration_is_exact(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (192, "3m12s"), (3900, "1h05m"), (183600, "2d03h")],
)
def test_an_age_has_two_units_at_most(seconds: float, expected: str) -> None:
    assert age(seconds) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(900, "1 kB"), (52428800, "52 MB"), (1_234_567_890, "1.2 GB"), (2_000_000_000, "2 GB")]
)
def test_sizes_are_in_decimal_units(number: int, expected: str) -> None:
    assert size(number) == expected


def test_wide_characters_take_two_columns() -> None:
    assert (columns("mail"), columns("図書館"), columns("e\u0301")) == (4, 6, 1)
    assert (cut("図書館", 5), cut("mail", 4), cut("mail", 3)) == ("図書…", "mail", "ma…")
    assert (middle("shop.video.encode", 9), middle("ab", 9), middle("shop.video", 3)) == ("shop…code", "ab", "sh…")
    assert middle("図書館図書館", 7) == "図書…館"


@pytest.mark.parametrize("text", ["shop.video.encode", "図書館図書館", "e\u0301e\u0301e\u0301", "a図b書c館"])
@pytest.mark.parametrize("width", range(10))
def test_what_is_cut_fits(text: str, width: int) -> None:
    assert columns(cut(text, width)) <= width
    assert columns(middle(text, width)) <= width


def test_parts_are_wrapped_and_one_that_is_too_wide_stays_whole() -> None:
    assert list(wrap(["a", "bb", "ccccccc", "d"], 4)) == ["a bb", "ccccccc", "d"]
    assert list(wrap(["a", "b"], 9, " · ")) == ["a · b"]
    assert list(wrap([], 9)) == []


def test_control_characters_are_made_visible_and_colours_taken_out() -> None:
    assert visible("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert clean("\x1b[31mred\x1b[0m\t\x07") == r"red \x07"
    assert clean("\x1b]0;title\x07x") == "x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07\x08\r\x00", r"\x1b[31mred\x1b]0;title\x07\x08\r\x00"),
        ("\x7f\x85\x9b2J", r"\x7f\x85\x9b2J"),
        ("\u202eevil\u2066\u2028", r"\u202eevil\u2066\u2028"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("two\n\tlines ○ 図\u3000書\xa0é e\u0301 👩\u200d💻", "two\n\tlines ○ 図\u3000書\xa0é e\u0301 👩\u200d💻"),
    ],
)
def test_what_commands_a_terminal_or_deceives_is_spelled_out_and_writing_is_left_alone(text: str, shown: str) -> None:
    assert tamed(text) == shown


def test_a_pipe_gets_text_as_it_is_and_a_terminal_only_our_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        say("\x1b[2J" + paint("ours", RED, has_colour(stream, {})), stream)
    assert pipe.getvalue() == "\x1b[2Jours\n"
    assert terminal.getvalue() == "\\x1b[2J\x1b[31mours\x1b[0m\n"


def test_it_costs_the_lean_path_nothing() -> None:
    code = "import sys, celeryfleet.text; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"dataclasses", "typing", "unicodedata", "textwrap", "rich"}.isdisjoint(loaded)
