"""The grammar of a crontab, so that a slip is found without importing Celery."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PART = re.compile(r"(?:\*|(\w{1,9})(?:-(\w{1,9}))?)(?:/([1-9][0-9]?))?", re.ASCII)
#: lowest, highest, names of the lowest and on
_FIELDS: Sequence[tuple[int, int, Sequence[str]]] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)


def valid(text: str) -> bool:
    """Tell whether Celery's `crontab` would take these five fields."""
    written = text.split()
    return len(written) == len(_FIELDS) and all(map(_valid_field, written, _FIELDS))


def _valid_field(text: str, field: tuple[int, int, Sequence[str]]) -> bool:
    return all(_valid_part(part, *field) for part in text.split(","))


def _valid_part(part: str, low: int, high: int, names: Sequence[str]) -> bool:
    match = _PART.fullmatch(part)
    if match is None:
        return False
    return all(_number(word, low, names) in range(low, high + 1) for word in match.groups()[:2] if word)


def _number(word: str, low: int, names: Sequence[str]) -> int:
    if word.isdecimal():
        return int(word)
    short = word[:3].lower()
    return low + names.index(short) if short in names else -1
