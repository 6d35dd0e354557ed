"""A message that waits in a queue, read as what Celery's producers write; nothing of it is run or unpickled."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celeryfleet.protocol import PARKED_HEADER

#: headers by which a broker, or a worker that has set it aside, says what has befallen a message: one that is sent on
#: begins anew. RabbitMQ would drop an expired one that comes by the same way again, as a message in a circle
_PAST = (PARKED_HEADER, "redelivered", "x-death", "x-delivery-count", "x-first-", "x-last-", "x-acquired-count")


@dataclass(frozen=True, slots=True)
class Message:
    """One message; what is None, or an empty text, is not known."""

    id: str
    task: str
    #: a list, or a text where the body is none of JSON
    args: Any
    kwargs: Any
    #: unix seconds; where its producer has installed the fleet
    sent_at: float | None
    #: as on the wire
    priority: int | None
    #: when it is due and until when it may run, in ISO 8601
    eta: str = ""
    expires: str = ""
    retries: int = 0
    #: what it carries of its canvas: the signatures that come after it
    embedded: Any = None
    headers: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Mapping[str, Any], body: bytes | str, content_type: str, priority: int | None) -> Message:
        """Read a message of Celery's protocol 2 or 1; of anybody else's little is known."""
        told: Mapping[str, Any] = headers
        args, kwargs, embedded = headers.get("argsrepr"), headers.get("kwargsrepr"), None
        match _json(body) if content_type == "application/json" else None:
            case [list(args), dict(kwargs), *rest]:
                embedded = rest[0] if rest else None
            case {"task": str(), "args": list(args), "kwargs": dict(kwargs), **_rest}:
                told = _json(body)
        sent, parked = headers.get("fleet_sent_at"), headers.get(PARKED_HEADER)
        return cls(
            id=str(told.get("id") or ""),
            task=str(told.get("task") or ""),
            args=args,
            kwargs=kwargs,
            sent_at=float(sent) if isinstance(sent, int | float) else None,
            priority=_number(parked.get("priority", priority) if isinstance(parked, Mapping) else priority),
            eta=str(told.get("eta") or ""),
            expires=str(told.get("expires") or ""),
            retries=_number(told.get("retries")) or 0,
            embedded=embedded,
            headers=headers,
        )

    @classmethod
    def of_redis(cls, text: bytes | str) -> Message:
        """Read what kombu keeps on a Redis. Raises ValueError where that is no message."""
        try:
            found = json.loads(text)
            properties, body = found["properties"], found["body"]
            if properties.get("body_encoding") == "base64":
                body = b64decode(body)
            return cls.of(found["headers"], body, str(found.get("content-type")), properties.get("priority"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is no message: {error!r}") from None

    def age(self, now: float) -> float | None:
        """Return the seconds since it was sent."""
        return None if self.sent_at is None else max(0.0, round(now - self.sent_at, 1))

    @property
    def call(self) -> str:
        """Write it as a call: `add(4, 4, note='x')`."""
        return call(self.task, self.args, self.kwargs)


def call(task: str, args: Any, kwargs: Any) -> str:
    """Write a task and its arguments as a call; those may be text, as headers show them."""
    told = map(repr, args) if isinstance(args, list) else [args.strip("()")] if args else []
    text = [f"**{kwargs}"] if kwargs and kwargs != "{}" else []
    named = [f"{k}={v!r}" for k, v in kwargs.items()] if isinstance(kwargs, dict) else text
    return f"{task or '?'}({', '.join([*told, *named])})"


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _json(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # compressed, or somebody else's
        return None


def fresh(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a message as it was when it was first sent."""
    return {name: value for name, value in headers.items() if not name.startswith(_PAST)}


def reason(headers: Mapping[str, Any]) -> str:
    """Say why a message lies among the dead letters: rejected, expired, maxlen, delivery_limit, parked; or nothing."""
    if PARKED_HEADER in headers:
        return "parked"
    match headers.get("x-death"):
        case [{"reason": told}, *_]:
            return str(told)
    return ""
