"""Durations and sizes with units, as text → numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from celeryfleet.text import listed

SECONDS: Final[Mapping[str, float]] = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
}
#: by lower-case unit; `k` is decimal, as in the SI, and `Ki` binary
BYTES: Final[Mapping[str, int]] = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}
#: what a message lists
SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")
#: seconds; longer is a typing error, and timers overflow
LONGEST: Final = 100 * 365 * 86_400
#: bytes
LARGEST: Final = 1024**5

_PART = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*([^\W\d_]*)", re.ASCII)


def duration(text: str) -> float:
    """Return the seconds of `90s`, `1h30m`, `1.5s`, `500ms` or `0`; raise ValueError that says what is wrong."""
    whole = 0.0
    for number, unit in _parts(text, "a duration", "30s or 1h30m"):
        if not unit and (number or whole):
            raise ValueError("has no unit. Write ms, s, m, h, d or w after the number, as in 30s or 1h30m.")
        if unit and unit not in SECONDS:
            raise ValueError(f'has the unknown unit "{unit}". The units are {listed(SECONDS, "or")}.')
        whole += number * SECONDS[unit] if unit else 0
    if not whole <= LONGEST:
        raise ValueError("is longer than 100 years.")
    return round(whole, 6)


def size(text: str) -> int:
    """Return the bytes of `400MB`, `1GiB` or `512k`; raise ValueError that says what is wrong."""
    parts = _parts(text, "a size", "400MB or 1GiB")
    if len(parts) != 1:
        raise ValueError("is not a size. Write one number and its unit, as in 400MB or 1GiB.")
    number, unit = parts[0]
    if not unit and number:
        raise ValueError(f"has no unit. Write {listed(SIZE_UNITS, 'or')} after the number, as in 400MB.")
    if unit and unit.lower() not in BYTES:
        raise ValueError(f'has the unknown unit "{unit}". The units are {listed(SIZE_UNITS, "or")}.')
    whole = number * BYTES[unit.lower()] if unit else 0
    if not whole <= LARGEST:
        raise ValueError("is more than 1024 TiB.")
    return math.floor(whole)


def _parts(text: str, what: str, example: str) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    text = text.strip()
    at = 0
    while at < len(text) or not found:
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"is not {what}. Write a number and its unit, as in {example}.")
        found.append((float(match[1]), match[2]))
        at = match.end()
    return found
