"""A message as the ledger keeps it, to be shown and to be sent again. Knows no broker."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

#: characters of a message at most; a larger one is not kept
MOST = 65_536
#: in place of what is hidden
HIDDEN = "***"
#: headers that show arguments
_SHOWING = ("argsrepr", "kwargsrepr")
#: properties that stay with it
_PROPERTIES = ("reply_to", "delivery_mode", "priority")


def kept(message: Any, hide: Collection[str] = ()) -> str | None:
    """Return a kombu message as JSON, without what is to be hidden; None where that can't be had."""
    body = bytes(message.body) if isinstance(message.body, bytes | memoryview) else str(message.body).encode()
    if len(body) > MOST:
        return None
    headers = {name: value for name, value in (message.headers or {}).items() if name != "compression"}
    hidden = False
    if hide:
        masked = _masked(message.content_type, body, frozenset(hide))
        if masked is None:
            return None
        hidden = json.loads(body) != masked
        body = json.dumps(masked).encode()
        headers = {name: value for name, value in headers.items() if name not in _SHOWING}
    try:
        text, binary = body.decode(), False
    except ValueError:
        text, binary = base64.b64encode(body).decode(), True
    whole = {
        "body": text,
        "binary": binary,
        "hidden": hidden,
        "type": message.content_type,
        "encoding": message.content_encoding,
        "headers": headers,
        "properties": {name: message.properties[name] for name in _PROPERTIES if message.properties.get(name)},
        "delivery": {name: message.delivery_info.get(name) or "" for name in ("exchange", "routing_key")},
    }
    try:
        return json.dumps(whole, separators=(",", ":"))
    except (TypeError, ValueError):  # a header that is no JSON, such as a RabbitMQ's timestamp
        return None


def body_of(whole: Mapping[str, Any]) -> bytes:
    """Return the body of a kept message that was read as JSON."""
    return base64.b64decode(whole["body"]) if whole["binary"] else str(whole["body"]).encode()


def arguments(text: str | None) -> tuple[Any, Any]:
    """Return the arguments of a kept message: (args, kwargs) as JSON has them, or as its headers show them; or None."""
    if text is None:
        return None, None
    whole = json.loads(text)
    if whole["type"] == "application/json" and not whole["binary"]:
        args, kwargs = json.loads(whole["body"])[:2]
        return args, kwargs
    return tuple(whole["headers"].get(name) for name in _SHOWING)


def follower(embedded: Any, task_id: str) -> str | None:
    """Return the name of the task of this id that is sent once another is done; None: there is no such one.

    `embedded` is what the body of that other carries: the signatures of its chain, its chord and its callbacks.
    """
    parts = [embedded]  # whoever may send a message may nest it deeply
    while parts:
        match parts.pop():
            case {"task": str(task), "options": {"task_id": found}} if found == task_id:
                return task
            case Mapping() as more:
                parts += more.values()
            case list(more):
                parts += more
    return None


def follower_of(text: str | None, task_id: str) -> str | None:
    """Return the same for a kept message."""
    whole = json.loads(text) if text is not None and task_id in text else {"type": ""}
    if whole["type"] != "application/json" or whole["binary"]:
        return None
    body = json.loads(whole["body"])
    return follower(body[2], task_id) if isinstance(body, list) and len(body) > 2 else None


def _masked(content_type: str, body: bytes, hide: frozenset[str]) -> Any:
    """Return the body's value with what is under hidden names replaced; None where it is no JSON."""
    if content_type != "application/json":
        return None
    try:
        return _without(json.loads(body), hide)
    except (ValueError, RecursionError):
        return None


def _without(value: Any, hide: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: HIDDEN if name in hide else _without(item, hide) for name, item in value.items()}
    return [_without(item, hide) for item in value] if isinstance(value, list) else value
