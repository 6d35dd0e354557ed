"""The headers of messages: what they may be, what a route gives, and what a queue wants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from celeryfleet.fleetfile.cursor import Cursor
from celeryfleet.fleetfile.fields import Reader, choice, mapping_of
from celeryfleet.fleetfile.tree import plain

#: by which Celery and the fleet work
OWN = frozenset({
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    *("stamps", "compression", "redelivered", "fleet_sent_at"),
})  # fmt: skip
#: how many of a queue's headers a message must have
MATCH = "x-match"
#: bytes of a header's name
_NAME = 255
#: bytes of a text; RabbitMQ takes all headers of a message, Celery's included, in one frame of 131,072
_TEXT = 100_000
_INTEGERS = range(-(1 << 63), 1 << 63)


def unfit(name: str, value: object) -> str:
    """Say why RabbitMQ would not take a header: it closes the connection, or loses the value; empty: it would."""
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


# --- In fleet.yaml ----------------------------------------------------------------------------------------


def _value(at: Cursor) -> Any:
    value = plain(at.node)
    if not isinstance(value, str | int | float):
        raise at.refuse(f"must be a text, a number, true or false, but it is {at.shown}")
    if why := unfit(at.name, value):
        raise at.refuse(f"cannot be sent: {why}")
    return value


def _wanted(at: Cursor) -> Any:
    if at.name == MATCH:
        return choice("all", "any")(at)
    if at.name.startswith("x-"):
        raise at.refuse("can't be asked for: RabbitMQ passes over headers that begin with x-")
    return _value(at)


def _given(at: Cursor) -> Any:
    if at.name in OWN:
        raise at.refuse("is one of Celery's own headers", "Choose another name.")
    return _value(at)


def binding(at: Cursor) -> dict[str, Any]:
    """Read what a queue of a headers exchange wants, with x-match first; nothing if it wants nothing."""
    found = _headers(_wanted)(at)
    if any(at) and all(header.name == MATCH for header in at):
        hint = "Write headers: {x-match: any, kind: pdf}, or leave it out for all messages."
        raise at.refuse("names no header", hint)
    return {MATCH: found.pop(MATCH, "all"), **found} if found else {}


def _headers(read: Reader[Any]) -> Reader[dict[str, Any]]:
    return mapping_of(read, lambda name: "" if name else "must not be empty", example="Write headers: {kind: pdf}")


#: the headers that a route gives to messages
given = _headers(_given)
