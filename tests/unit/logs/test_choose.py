"""Which lines of several logs are shown."""

from __future__ import annotations

import re

import pytest

from celeryfleet.logs.choose import Choice, of_task

LINES = [
    ("supervisor", "2026-11-26 05:00:00.000 celeryfleet supervises shop (pid 7)"),
    ("supervisor", "2026-11-26 05:00:00.001 start web-1: it is wanted"),
    ("supervisor", "2026-11-26 05:00:00.001 start web-11: it is wanted"),
    ("web-1", "[2026-11-26 05:00:01,000: INFO/MainProcess] Task shop.add[abc-1] received"),
    ("web-1", "[2026-11-26 05:00:01,100: ERROR/ForkPoolWorker-1] Task shop.add[abc-1] raised unexpected: ValueError()"),
    ("mail-1", "[2026-11-26 05:00:01,150: INFO/MainProcess] Task shop.add[xabc-1] received"),
    ("web-1", "Traceback (most recent call last):"),
    ("web-1", "ValueError: no"),
    ("web-1", "[2026-11-26 05:00:02,000: INFO/MainProcess] Task shop.add[abc-2] received"),
    ("supervisor", "2026-11-26 05:00:03.000 shop.add[abc-2] ran when web-1 ended, 1 time so far"),
    ("supervisor", "2026-11-26 05:00:03.001 mail-1 brings back the messages of web-1@shop.host"),
]


def chosen(*names: str, patterns: tuple[re.Pattern[str], ...] = ()) -> list[int]:
    """Return the numbers of the lines that are chosen, all of them attributed to what was asked for."""
    choice = Choice(names, patterns)
    found = list(choice(line for line in LINES if choice.opens(line[0])))
    return [[text for _, text in LINES].index(text) for _, text in found]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["web"], [1, 2, 3, 4, 6, 7, 8, 9, 10]),
        (["web-1"], [1, 3, 4, 6, 7, 8, 9, 10]),
        (["mail"], [5, 10]),
        (["supervisor"], [0, 1, 2, 9, 10]),
        (["supervisor", "mail-1"], [0, 1, 2, 5, 9, 10]),
        (["we"], []),
    ],
)
def test_pools_and_workers_come_with_what_the_supervisor_says_of_them(names: list[str], numbers: list[int]) -> None:
    assert [number for number in chosen(*names) if Choice(names).opens(LINES[number][0])] == numbers


def test_what_the_supervisor_says_of_a_worker_stands_under_its_name_unless_its_own_log_is_asked_for() -> None:
    assert {name for name, _ in Choice(["web-1"])(LINES[1:2])} == {"web-1"}
    assert {name for name, _ in Choice(["web-1", "supervisor"])(LINES[1:2])} == {"supervisor"}
    assert {name for name, _ in Choice(["mail"])(LINES[10:])} == {"mail-1"}
    assert {name for name, _ in Choice(["web"])(LINES[10:])} == {"web-1"}


def test_a_task_is_found_by_its_id_or_the_beginning_of_it_with_the_whole_traceback() -> None:
    assert chosen("web", "mail", patterns=(of_task("abc-1"),)) == [3, 4, 6, 7]
    assert chosen("web", "mail", patterns=(of_task("abc"),)) == [3, 4, 6, 7, 8, 9]
    assert chosen("web", patterns=(of_task("bc-1"),)) == []


def test_a_record_that_matches_in_a_later_line_is_shown_from_its_beginning() -> None:
    assert chosen("web", "mail", patterns=(re.compile("^ValueError"),)) == [4, 6, 7]
    assert chosen("web", "mail", patterns=(of_task("abc-1"), re.compile("^ValueError"))) == [4, 6, 7]
    assert chosen("web", "mail", patterns=(of_task("abc-2"), re.compile("^ValueError"))) == []
