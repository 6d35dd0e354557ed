"""The text of the live screen, whole, and the numbers in it."""

from __future__ import annotations

import re

import pytest

from celeryfleet.history import WINDOW, History, Moment, sparkline
from celeryfleet.ledger.entry import RUNNING, Entry
from celeryfleet.protocol import Status
from celeryfleet.text import written
from celeryfleet.top.pages import Page, head, queues, speed, workers
from tests.unit.shown import pool, queue, reply, worker

NOW = 1_700_000_000.0


def shop(processed: int = 0, waiting: int = 0) -> Status:
    """Make a fleet with two pools, where a worker has done so much and so many messages wait."""
    web = pool("web", 2, worker("web-1", pid=12, processed=processed), worker("web-2", pid=13, processed=5, failed=2))
    backoff = worker("video-1", "backoff", pid=None, rss_bytes=None, uptime_s=0.0, restarts=3, cause="exit code 1")
    video = pool("video", 1, backoff, queues=("video",), implementation="threads", concurrency=16)
    depths = (
        queue("mail", ready=waiting, unacked=1, oldest_age_s=101.2, max_age=30.0, consumers=2),
        queue("video", ready=7),
    )
    return reply(web, video, state="degraded", queues=depths)


def history(*moments: Moment) -> History:
    found = History(moments[0])
    for moment in moments[1:]:
        found.add(moment)
    return found


def busy() -> History:
    """Make one that has moved: 20 tasks in ten seconds, one of which runs."""
    tasks = (runs("shop.web.weather.get_weather_of_today_and_tomorrow", "web-1", 7), runs("b", "web-1", 1))
    return history(Moment(NOW - 10, shop(0, 0), (), {}), Moment(NOW, shop(20, 30), tasks, {"mail": 1.0}))


def runs(task: str, name: str, seconds: float) -> Entry:
    return Entry(name, "id", task, "mail", RUNNING, started=int((NOW - seconds) * 1000))


def plain(page: Page) -> str:
    return bare([page.titles, *page.rows])


def bare(lines: list[str]) -> str:
    return "\n".join(re.sub(r"\x1b\[[\d;]*m", "", written(line)).rstrip() for line in lines)


WIDE = """\
WORKER       STATE    TASK                                   FOR  DONE/S  DONE  FAILED  RESTARTS  MEMORY  UPTIME  PID
web          2/2      mail, default  prefork × 4                     2.0    25       2         0  105 MB
  ● web-1    ready    shop.web.weather.g…ay_and_tomorrow +1   7s     2.0    20       0         0   52 MB      3s   12
  ● web-2    ready                                                     0     5       2         0   52 MB      3s   13
video        0/1      video  threads × 16                              0    12       0         3
  ↻ video-1  backoff  exit code 1                                      0    12       0         3"""

NARROW = """\
WORKER      STATE   TASK              FOR DONE/S DONE FAILED
web         2/2     mail, de…fork × 4        2.0   25      2
  ● web-1   ready   shop.web…orrow +1  7s    2.0   20      0
  ● web-2   ready                              0    5      2
video       0/1     video  t…ads × 16          0   12      0
  ↻ video-1 backoff exit code 1                0   12      0"""


@pytest.mark.parametrize(("width", "expected"), [(117, WIDE), (60, NARROW)])
def test_workers_stand_under_their_pools_with_what_they_do(width: int, expected: str) -> None:
    page = workers(busy(), "WORKER", "", width)
    assert plain(page) == expected
    assert page.keys == ("pool:web", "worker:web-1", "worker:web-2", "pool:video", "worker:video-1")


def test_queues_tell_what_waits_comes_and_goes() -> None:
    expected = """\
QUEUE   READY   UNACKED   OLDEST   IN/S   OUT/S   CONSUMERS      TREND
mail       30         1    1m41s    4.0     1.0           2         ▁█
video       7         0               0       0           0         ██"""
    assert plain(queues(busy(), "QUEUE", "", 78)) == expected


def test_the_head_tells_how_the_fleet_is_and_what_is_wrong_first() -> None:
    assert bare(head(busy(), "the supervisor does not answer", 80)).splitlines() == [
        "shop  ! degraded  up 3s  2 of 3 workers ready",
        "broker  redis://:***@host:6379/0  ● up",
        "2.0 tasks/s  █  2 running  37 waiting",
        "the supervisor does not answer",
        "video: 0 of 1 ready",
        "→ See why: celeryfleet logs video -n 50. It is tried again by itself.",
    ]


def test_a_sorted_table_has_the_largest_first_and_marks_the_column() -> None:
    page = workers(busy(), "FAILED", "", 117)
    assert "FAILED▾" in page.titles
    assert page.keys == ("pool:web", "worker:web-2", "worker:web-1", "pool:video", "worker:video-1")
    assert queues(busy(), "READY", "", 80).keys == ("queue:mail", "queue:video")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("web-2", ("pool:web", "worker:web-2")),
        ("VIDEO threads", ("pool:video", "worker:video-1")),
        ("today", ("pool:web", "worker:web-1")),
        ("nothing like it", ()),
    ],
)
def test_words_choose_workers_by_their_names_tasks_and_pools(words: str, keys: tuple[str, ...]) -> None:
    assert workers(busy(), "WORKER", words, 117).keys == keys


def test_without_a_ledger_nothing_is_said_of_tasks_and_traffic() -> None:
    quiet = history(Moment(NOW - 10, shop(0, 0)), Moment(NOW, shop(20, 30)))
    assert "  ● web-1    ready                                                   2.0" in plain(
        workers(quiet, "WORKER", "", 117)
    )
    assert "mail       30         1    1m41s                          2" in plain(queues(quiet, "QUEUE", "", 78))


def test_names_of_others_are_spelled_out() -> None:
    nasty = history(Moment(NOW, shop(), (runs("a\x1b]0;owned\x07\x9b2J", "web-1", 1),)))
    assert "\x9b" not in plain(workers(nasty, "WORKER", "", 117))


def test_a_paused_queue_is_marked() -> None:
    paused = history(Moment(NOW, shop().but(paused=("mail",))))
    assert "mail (paused)" in plain(queues(paused, "QUEUE", "", 100))


def test_a_rate_is_that_of_the_last_seconds_and_none_for_what_was_not_there() -> None:
    found = history(Moment(NOW, shop(0)), Moment(NOW + 5, shop(0)), Moment(NOW + WINDOW + 5, shop(30)))
    assert found.done("worker:web-1") == 30 / WINDOW
    assert found.done("worker:web-9") is None
    found.add(Moment(NOW + WINDOW + 6, shop(0)))
    assert found.done("worker:web-1") == 0, "a new supervisor counts from 0"


def test_memory_is_kept_where_a_moment_does_not_tell_it() -> None:
    poor = shop()
    pools = [one.but(workers=tuple(member.but(rss_bytes=None) for member in one.workers)) for one in poor.pools]
    found = history(Moment(NOW, shop()), Moment(NOW + 1, poor.but(pools=tuple(pools))))
    assert found.memory[12] == 52428800


@pytest.mark.parametrize(("values", "expected"), [([], ""), ([0, 0], "▁▁"), ([0, 1, 2, 4, 8], "▂▃▅█"), ([3], "█")])
def test_a_sparkline_is_as_high_as_its_highest_value(values: list[float], expected: str) -> None:
    assert sparkline(values, 4) == expected


@pytest.mark.parametrize(("rate", "expected"), [(0, "0"), (0.31, "0.3"), (9.96, "10"), (3450.4, "3,450")])
def test_speeds_are_short(rate: float, expected: str) -> None:
    assert speed(rate) == expected
