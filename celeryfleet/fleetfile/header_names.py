"""What a header of a message may not be: one by which Celery and the fleet work, or one that RabbitMQ cannot take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

OWN = frozenset({
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    *("stamps", "compression", "redelivered", "fleet_sent_at"),
})  # fmt: skip

#: bytes of a header's name
_NAME = 255
#: bytes of a text; RabbitMQ takes all headers of a message, Celery's included, in one frame of 131,072
_TEXT = 100_000
_INTEGERS = range(-(1 << 63), 1 << 63)


def unfit(name: str, value: object) -> str:
    """Say why a header cannot go to RabbitMQ, which ends the connection over it or cannot be told; empty: it can."""
    if _size(name) > _NAME:
        return f"its name has more than {_NAME} bytes"
    if isinstance(value, str):
        return f"it has more than {_TEXT:,} bytes" if _size(value) > _TEXT else ""
    if isinstance(value, int):
        return "" if value in _INTEGERS else "it is a number of more than 64 bits"
    if isinstance(value, float | Decimal):
        return "" if math.isfinite(value) else f"{value} is no number there"
    if isinstance(value, Mapping):
        return _first(unfit(str(key), inner) for key, inner in value.items())
    return _first(unfit("", inner) for inner in value) if isinstance(value, list | tuple) else ""


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _first(reasons: Iterable[str]) -> str:
    return next(filter(None, reasons), "")
