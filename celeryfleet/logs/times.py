"""Reads the times that log lines begin with, and the times that people type; knows no files."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

#: `[2026-11-20 20:08:43,517: INFO/MainProcess]`, `2026-11-20 20:08:43.517 | INFO`,
#: `{"time": "2026-11-20T20:08:43.517Z"`
_LINE_TIME = re.compile(
    rb'(?:\x1b\[[\d;]*m)*(?:\[|\{.*?"time"\s*:\s*")?'
    rb"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?)"
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def time_of(line: bytes) -> float | None:
    """Read the time a line begins with, as unix seconds; None where the line continues the one before.

    A time without a zone is this machine's, as Celery, loguru and the supervisor write it.
    """
    found = _LINE_TIME.match(line)
    try:
        return datetime.fromisoformat(found[1].decode()).timestamp() if found else None
    except (ValueError, OverflowError, OSError):
        return None


def parse_since(text: str, now: float) -> float:
    """Read `10m`, `1h30m`, `10:00`, `2026-11-20` or `2026-11-20T10:00[:00][Z]` as unix seconds.

    `now` is unix seconds; a time of day is the latest one that is past. Raises FleetError.
    """
    text = text.strip()
    if text and not _SPAN.sub("", text):
        return now - sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text))
    try:
        if re.fullmatch(r"\d?\d:\d\d(:\d\d)?", text):
            today = datetime.fromtimestamp(now)
            clock = datetime.fromisoformat(f"{today:%Y-%m-%d} {text.zfill(5 if len(text) < 6 else 8)}")
            return (clock if clock <= today else clock - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        from celeryfleet.errors import FleetError

        hint = "Write a span such as 10m or 1h30m, or a time such as 10:00, 2026-11-20 or 2026-11-20T10:00."
        raise FleetError(f'"{text}" is not a time.', hint=hint) from None
