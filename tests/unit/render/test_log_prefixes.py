"""What stands before the lines of several workers' logs, on terminals and in pipes."""

from __future__ import annotations

import io
import json

import pytest

from celeryfleet.render.log_prefixes import JsonLines, Prefixes
from celeryfleet.text import columns, written


class Terminal(io.StringIO):
    """A terminal; how wide it is, COLUMNS says."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_prefixes_are_aligned_and_grow_with_a_longer_name() -> None:
    prefix = Prefixes(["web-1", "video-1"], io.StringIO())
    assert written(prefix("web-1", "  a  ")) == "web-1   |   a  "
    assert written(prefix("video-10", "b")) == "video-10 | b"
    assert written(prefix("web-1", "c")) == "web-1    | c"


def test_a_worker_keeps_its_colour_and_the_numbers_sort_as_numbers(terminal: Terminal) -> None:
    prefix = Prefixes([f"web-{number}" for number in range(12, 0, -1)], terminal)
    assert written(prefix("web-1", "x")) == "\x1b[36mweb-1  |\x1b[0m x"
    assert written(prefix("web-2", "x")) == "\x1b[32mweb-2  |\x1b[0m x"
    assert written(prefix("web-11", "x")) == "\x1b[36mweb-11 |\x1b[0m x"
    assert written(prefix("new", "x")) == "\x1b[33mnew    |\x1b[0m x"


def test_without_prefixes_a_line_is_as_it_was(terminal: Terminal) -> None:
    assert Prefixes(["a"], terminal, shown=False)("a", "line " * 20) == "line " * 20


def test_a_line_is_wrapped_under_its_beginning_on_a_terminal_and_not_in_a_pipe(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    line = f"{'word ' * 9}{'x' * 40}\t|\x1b[0m 日本語日本語日本語日本語"
    shown = written(Prefixes(["web-1"], terminal)("web-1", line))
    assert shown.splitlines() == [
        "web-1 | word word word word word word",
        f"      | word word word {'x' * 17}",
        f"      | {'x' * 23}  ",
        "      | |\\x1b[0m 日本語日本語日本語日本",
        "      | 語",
    ]
    assert all(columns(part) <= 40 for part in shown.splitlines())
    monkeypatch.delenv("COLUMNS")
    assert Prefixes(["web-1"], io.StringIO())("web-1", line) == f"web-1 | {line}"


def test_lines_for_a_collector_are_objects_and_what_is_one_stays_as_it_is() -> None:
    shown = JsonLines(clock=lambda: 1.5)
    assert shown("web-1", '{"message": "hi"}') == '{"message": "hi"}'
    assert shown("web-1", "  ") == ""
    line = json.loads(shown("web-1", 'a "word"'))
    assert line == {"time": "1970-01-01T00:00:01.500Z", "level": "INFO", "worker": "web-1", "message": 'a "word"'}
    assert json.loads(shown("supervisor", "2026-11-26 09:38:34.290 web-1 is ready"))["message"] == "web-1 is ready"
