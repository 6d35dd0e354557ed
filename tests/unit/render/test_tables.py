from __future__ import annotations

import io
import os
from typing import Any

import pytest

from celeryfleet.cli.lean import without_broker
from celeryfleet.protocol import BrokerStatus, LastExit, QueueStatus, Status, SupervisorStatus
from celeryfleet.render import tables as table
from celeryfleet.render.paint import screen
from celeryfleet.text import clean, columns, written
from tests.unit.shown import pool, queue, reply, worker

NOW = 1_700_000_000.0
TRACE = (
    "Traceback (most recent call last):",
    '  File "/srv/shop/video.py", line 3, in <module>',
    "\x1b[31mOSError\x1b[0m",
)


def shop() -> Status:
    """Make a fleet with a healthy pool, and one that is not."""
    killed = LastExit(-9, "SIGKILL", NOW - 100, "killed by SIGKILL", TRACE)
    broken = LastExit(1, None, NOW - 7, "exit code 1", ("before", "OSError: no disk"))
    gone: dict[str, Any] = {"pid": None, "rss_bytes": None, "uptime_s": 0.0}
    web = pool(
        "web",
        2,
        worker("web-1", pid=12345, uptime_s=192.4, active=3, processed=12034),
        worker("web-2", pid=12346, uptime_s=59.9, restarts=1, failed=2),
    )
    video = pool(
        "video",
        2,
        worker("video-1", "backoff", restarts=3, cause="exit code 1; back in 4 s", last_exit=broken, **gone),
        worker("video-2", "failed", restarts=5, cause="5 deaths in 5m", last_exit=killed, **gone),
        queues=("video",),
        implementation="threads",
        concurrency=16,
    )
    reason = "importing the app starts a thread (metrics), which a fork would lose"
    return reply(
        web,
        video,
        state="degraded",
        notes=(f"Workers are started one by one, not forked: {reason}.",),
        supervisor=SupervisorStatus(1, 4000.0),
        queues=(
            queue("default", ready=0, consumers=2),
            queue("mail", ready=1234, unacked=8, oldest_age_s=101.2, max_age=30.0, consumers=2),
            queue("video", ready=7, oldest_age_s=3700.0),
            queue("low", ready=3),
        ),
    )


EIGHTY = """\
shop  ! degraded  up 1h06m  2 of 4 workers ready
broker  redis://:***@host:6379/0  ● up
! Workers are started one by one, not forked: importing the app starts a thread
  (metrics), which a fork would lose.

WORKER       STATE      PID  UPTIME  RESTARTS  ACTIVE    DONE  FAILED  MEMORY
web  2/2  mail, default  prefork x 4
  ● web-1    ready    12345   3m12s         0       3  12,034       0   52 MB
  ● web-2    ready    12346     59s         1       0      12       2   52 MB
video  0/2  video  threads x 16
  ↻ video-1  backoff      -       -         3       0      12       0       -
      exit code 1; back in 4 s
      │ OSError: no disk
  ✗ video-2  failed       -       -         5       0      12       0       -
      5 deaths in 5m
      last exit 1m40s ago: killed by SIGKILL
      │ Traceback (most recent call last):
      │   File "/srv/shop/video.py", line 3, in <module>
      │ OSError

QUEUE     READY   UNACKED   OLDEST   CONSUMERS
default       0         0        -           2
mail      1,234         8    1m41s           2
video         7         0    1h01m           0
low           3         0        -           0

→ See why: celeryfleet logs video -n 50. Mended? celeryfleet restart video
→ The oldest message of mail waits 1m41s, longer than max_age 30s. More workers:
  celeryfleet scale web=3
→ No running pool reads low: celeryfleet up, once a pool names it in its queues
"""

WIDE = """\
shop  ! degraded  up 1h06m  2 of 4 workers ready  broker  redis://:***@host:6379/0  ● up
! Workers are started one by one, not forked: importing the app starts a thread (metrics), which a fork would lose.

WORKER        STATE       PID   UPTIME   RESTARTS   ACTIVE     DONE   FAILED   MEMORY
web  2/2  mail, default  prefork x 4
  ● web-1     ready     12345    3m12s          0        3   12,034        0    52 MB
  ● web-2     ready     12346      59s          1        0       12        2    52 MB
video  0/2  video  threads x 16
  ↻ video-1   backoff       -        -          3        0       12        0        -
      exit code 1; back in 4 s
      │ OSError: no disk
  ✗ video-2   failed        -        -          5        0       12        0        -
      5 deaths in 5m
      last exit 1m40s ago: killed by SIGKILL
      │ Traceback (most recent call last):
      │   File "/srv/shop/video.py", line 3, in <module>
      │ OSError

QUEUE     READY   UNACKED   OLDEST   CONSUMERS
default       0         0        -           2
mail      1,234         8    1m41s           2
video         7         0    1h01m           0
low           3         0        -           0

→ See why: celeryfleet logs video -n 50. Mended? celeryfleet restart video
→ The oldest message of mail waits 1m41s, longer than max_age 30s. More workers: celeryfleet scale web=3
→ No running pool reads low: celeryfleet up, once a pool names it in its queues
"""


@pytest.mark.parametrize(("width", "expected"), [(80, EIGHTY), (140, WIDE)])
def test_status_shows_what_runs_what_waits_and_what_to_do(width: int, expected: str) -> None:
    assert table.status(shop(), NOW, False, width) == expected


def test_a_fleet_that_is_well_takes_few_lines_and_gives_no_advice() -> None:
    found = reply(pool("web", 1, worker("web-1")), queues=(queue("mail", ready=0, unacked=1, consumers=2),))
    assert (
        table.status(found, NOW, False, 80)
        == """\
shop  ● ready  up 3s  1 of 1 workers ready
broker  redis://:***@host:6379/0  ● up

WORKER      STATE   PID   UPTIME   RESTARTS   ACTIVE   DONE   FAILED   MEMORY
web  1/1  mail, default  prefork x 4
  ● web-1   ready     2       3s          0        0     12        0    52 MB

QUEUE   READY   UNACKED   OLDEST   CONSUMERS
mail        0         1        -           2
"""
    )


def test_colours_follow_the_states_and_do_not_move_the_columns() -> None:
    plain = table.status(shop(), NOW, False, 100)
    coloured = written(table.status(shop(), NOW, True, 100))
    assert [clean(line) for line in coloured.splitlines()] == plain.splitlines()
    for part in (
        "\x1b[1mshop\x1b[0m",
        "\x1b[33m! degraded\x1b[0m",
        "\x1b[32m  ● web-1\x1b[0m",
        "\x1b[31m  ✗ video-2\x1b[0m",
        "\x1b[33m1m41s\x1b[0m",
        "\x1b[2m      │ OSError\x1b[0m",
    ):
        assert part in coloured
    assert "\x1b[31m0\x1b[0m\n" in coloured, "messages that nobody consumes are red"
    assert "\x1b" not in plain


@pytest.mark.parametrize("width", [30, 40, 60, 72, 80, 100, 200])
@pytest.mark.parametrize("name", ["web", "a-pool-whose-name-was-chosen-by-a-committee-of-its-users", "図書館の通知"])
def test_no_line_is_wider_than_the_terminal(width: int, name: str) -> None:
    found = shop()
    web = pool(name, 2, worker(f"{name}-1", pid=4194304, processed=98765432))
    found = found.but(pools=(web, found.pools[1]), queues=(found.queues[0].but(name=name), *found.queues[1:]))
    for text in (table.status(found, NOW, False, width), table.ps(found, False, width)):
        long = [line for line in text.splitlines() if columns(line) > width]
        # below 60 columns numbers overflow rather than lie
        assert not long or width < 60


def test_without_a_terminal_nothing_is_cut() -> None:
    name = "a-pool-whose-name-was-chosen-by-a-committee-of-its-users"
    found = shop()
    found = found.but(pools=(pool("web", 1, worker(name)), found.pools[1]))
    assert name in table.status(found, NOW, False, 0)
    assert name in table.ps(found, False, 0)


def test_many_workers_are_all_shown_and_aligned() -> None:
    workers = [worker(f"web-{number}", pid=number) for number in range(1, 121)]
    text = table.status(reply(pool("web", 120, *workers)), NOW, False, 80)
    rows = [line for line in text.splitlines() if line.startswith("  ●")]
    assert len(rows) == 120
    assert len({len(row) for row in rows}) == 1


def test_a_log_line_cannot_control_the_terminal() -> None:
    said = LastExit(1, None, NOW, "exit code 1", ("\x1b]0;title\x07\x1b[2Jwiped\r\ttab\x9b31m",))
    text = table.status(reply(pool("web", 1, worker("web-1", "failed", last_exit=said))), NOW, False, 80)
    assert "      │ wiped\\r    tab\\x9b31m\n" in text
    assert not any(char in text for char in "\x1b\r\x07\x9b")


def test_a_cause_of_many_lines_takes_one_line_of_the_table() -> None:
    cause = 'the app "shop" fails to import: SyntaxError\n  File "shop.py", line 1\n    def ('
    broken = pool("web", 1, worker("web-1", "failed", cause=cause, pid=None, rss_bytes=None))
    text = table.status(reply(broken, state="degraded"), NOW, color=False, width=0)
    assert '      the app "shop" fails to import: SyntaxError\n' in text
    assert "�" not in text


def test_a_fleet_that_is_down_says_how_to_start_it() -> None:
    down = reply(state="down", supervisor=SupervisorStatus(), broker=BrokerStatus("", "down"), queues=())
    assert (
        table.status(down, NOW, False, 80)
        == """\
shop  ○ down

→ Nothing runs. Start the fleet: celeryfleet up -d --wait
"""
    )
    assert table.ps(down, False, 80) == "shop is down\n"


def test_ps_is_a_line_for_each_process() -> None:
    assert (
        table.ps(shop(), False, 80)
        == """\
PROCESS        PID   STATE     UPTIME   MEMORY   QUEUES
supervisor       1   up         1h06m        -
web-1        12345   ready      3m12s    52 MB   mail,default
web-2        12346   ready        59s    52 MB   mail,default
video-1          -   backoff        -        -   video
video-2          -   failed         -        -   video
"""
    )


def hints(*queues: QueueStatus, **changes: Any) -> list[str]:
    pools = (pool("web", 1, worker("web-1")), pool("low", 0, queues=("low",)))
    return list(table.hints(reply(*pools, queues=queues, **changes)))


def test_each_thing_that_is_wrong_has_its_hint() -> None:
    assert hints() == []
    assert hints(queue("mail", ready=1)) == ["mail has messages, and no worker that reads it is ready."]
    assert hints(queue("low", ready=1)) == ["low waits for a worker: celeryfleet scale low=1"]
    running = "No running pool reads lost: celeryfleet up, once a pool names it in its queues"  # one may be stopped
    assert hints(queue("lost", ready=1)) == [running]
    assert hints(queue("mail", ready=1), paused=("mail",)) == ["mail is paused. Go on: celeryfleet resume mail"]
    assert hints(queue("mail", ready=0)) == []
    late = queue("mail", ready=1, consumers=1, oldest_age_s=31.0, max_age=30.0)
    assert hints(late) == [
        "The oldest message of mail waits 31s, longer than max_age 30s. More workers: celeryfleet scale web=2"
    ]
    assert hints(late.but(oldest_age_s=30.0)) == []
    assert list(table.hints(without_broker(reply(), "host:6379: no answer within 2 s"))) == [
        "The broker cannot be reached: host:6379: no answer within 2 s."
    ]


def test_a_terminal_is_coloured_and_a_file_is_not() -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, os.fdopen(master):
        assert screen(terminal, {}) == (True, 80), "a terminal that does not know its width"
        assert not screen(terminal, {"NO_COLOR": "1"})[0]
        assert not screen(terminal, {"TERM": "dumb"})[0]
        assert screen(terminal, {"COLUMNS": "99"})[1] == 99
    assert screen(io.StringIO(), {}) == (False, 0)


def test_a_screen_that_is_too_small_leaves_out_workers_that_are_well_first_and_then_the_end() -> None:
    web = [worker(f"web-{n}") for n in range(1, 21)]
    mail = [worker("mail-1"), worker("mail-2", "failed", cause="it exited with code 1")]
    report = reply(pool("web", 20, *web), pool("mail", 2, *mail))
    whole = table.status(report, 0.0, False, 80).splitlines()
    assert table.status(report, 0.0, False, 80, len(whole)).splitlines() == whole
    for height in range(3, len(whole)):
        shown = table.status(report, 0.0, False, 80, height).splitlines()
        assert len(shown) <= height
        hidden = [row for row in whole if row not in shown]
        if not shown[-1].startswith("… "):
            assert all("ready" in row or "20/20" in row or "1/2" in row for row in hidden), hidden
            assert any("mail-2" in row for row in shown)
    folded = table.status(report, 0.0, False, 80, len(whole) - 12)
    assert "web  20/20  12 not shown  mail, default  prefork x 4\n" in folded
    assert table.status(report, 0.0, False, 80, 5).splitlines()[-1] == "… 9 more lines: celeryfleet status"
