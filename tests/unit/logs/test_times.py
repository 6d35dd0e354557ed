from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.logs.times import parse_since, time_of

#: half past two in the afternoon of 2025-03-10, where these tests live
NOW = 1_741_597_200.0


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Live where the clock is half an hour off, so that a zone that is mixed up shows."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(*moment: int) -> float:
    return datetime(*moment).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"[2025-03-10 10:08:43,517: INFO/MainProcess] celery",
        b"2025-03-10 10:08:43.517 | INFO     | loguru",
        b"2025-03-10 10:08:43.517 start web-1",
        b"2025-03-10T10:08:43.517+05:30 with a zone",
        b"2025-03-10T04:38:43.517Z in UTC",
        b'{"time": "2025-03-10T04:38:43.517Z", "message": "json"}',
        b'{"message": "later", "time":"2025-03-10T04:38:43.517+00:00"}',
        b"\x1b[32m2025-03-10 10:08:43.517\x1b[0m | coloured",
    ],
)
def test_each_kind_of_line_tells_its_time(line: bytes) -> None:
    assert time_of(line) == pytest.approx(local(2025, 3, 10, 10, 8, 43) + 0.517)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Traceback (most recent call last):",
        b"  2025-03-10 10:08:43 indented",
        b"2025-03-10 is a day",
        b"2025-13-41 10:08:43 is no day",
        b'{"message": "time: 2025-03-10 10:08:43"}',
        b"\xff\xfe",
    ],
)
def test_other_lines_tell_none(line: bytes) -> None:
    assert time_of(line) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - 600),
        ("1h30m", NOW - 5400),
        ("0.5s", NOW - 0.5),
        ("500ms", NOW - 0.5),
        ("2d", NOW - 172800),
        ("1w", NOW - 604800),
        ("2025-03-09", datetime(2025, 3, 9)),
        ("2025-03-10T10:00", datetime(2025, 3, 10, 10)),
        ("2025-03-10 10:00:30.5", datetime(2025, 3, 10, 10, 0, 30, 500_000)),
        ("2025-03-10T04:30Z", datetime(2025, 3, 10, 10)),
        ("14:29", datetime(2025, 3, 10, 14, 29)),
        ("9:05", datetime(2025, 3, 10, 9, 5)),
        ("14:31:00", datetime(2025, 3, 9, 14, 31)),
    ],
)
def test_a_time_is_read_as_people_type_it(text: str, expected: float | datetime) -> None:
    wanted = expected.timestamp() if isinstance(expected, datetime) else expected
    assert parse_since(text, NOW) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "yesterday", "10", "10 parsecs", "2025-13-01", "25:00", "m10"])
def test_what_is_no_time_is_an_error_that_says_how_to_write_one(text: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse_since(text, NOW)
    assert str(caught.value) == (
        f'"{text}" is not a time. '
        "Write a span such as 10m or 1h30m, or a time such as 10:00, 2026-11-20 or 2026-11-20T10:00."
    )
