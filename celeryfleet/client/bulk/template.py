"""One message that Celery has made → many that differ in id, arguments and time; knows no connection.

A template is not trusted by itself: `copyable.reason` names what could make messages differ otherwise, and the second
message of each shape is made both ways and compared.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from celeryfleet.app import SENT_AT
from celeryfleet.client.bulk.items import Args, Kwargs

if TYPE_CHECKING:
    from celery import Celery

#: what stands in a template for a value that each message has of its own; nobody can guess it and write it himself
MARKS = {slot: f"{slot}-{secrets.token_hex(16)}" for slot in ("id", "tag", "body", "args", "kwargs", "sent")}
#: where these are found, besides the id, which is known wherever it stands
_PLACES = {"delivery_tag": "tag", "argsrepr": "args", "kwargsrepr": "kwargs", SENT_AT: "sent"}
#: headers and properties that hold a moment, and so may be others with the next message
_TIMES = ("eta", "expires", "expiration")


@dataclass(frozen=True, slots=True)
class Made:
    """A message that Celery has made, as the broker is to get it."""

    task_id: str
    headers: Mapping[str, Any]
    #: as kombu calls them
    properties: Mapping[str, Any]
    #: before it was encoded: (args, kwargs, embed)
    content: Any
    #: encoded
    body: str | bytes
    serializer: str | None
    compression: str | None
    #: where it goes, in the words of the broker
    target: tuple[Any, ...]
    #: the name of its queue, or of its exchange
    queue: str
    #: as it is sent, in whatever form the publisher has use for
    raw: Any


@dataclass(frozen=True, slots=True)
class Payload:
    """The arguments of a message, encoded."""

    body: str | bytes
    #: their representations, for logs
    args: str
    kwargs: str


class Template:
    """What all messages of one shape have in common, and how their arguments are encoded."""

    def __init__(self, app: Celery, made: Made) -> None:
        self.made = made
        self.encode = _Encoder(app, made).encode
        self.headers = _marked(made.headers, made.task_id)
        self.properties = _marked(made.properties, made.task_id)
        #: whether a moment is in it, so that it is soon out of date
        self.timed = any(values.get(name) is not None for name in _TIMES for values in (made.headers, made.properties))
        #: bytes of a message with the same arguments, about
        self.weight = len(made.body) + 1000

    def foretells(self, other: Template) -> bool:
        """Tell whether the message of another template is what this one would have made of its arguments."""
        made = other.made
        payload = self.encode(made.content[0], made.content[1])
        told = (made.body, made.headers.get("argsrepr"), made.headers.get("kwargsrepr"))
        return told == (payload.body, payload.args, payload.kwargs) and self._common() == other._common()

    def _common(self) -> str:
        """Return all but the moments, in its order; the id must be nowhere else than where it was found."""
        parts = (_untimed(self.headers), _untimed(self.properties), () if self.timed else self.made.target)
        text = repr((parts, self.made.queue, self.made.serializer, self.made.compression))
        return text if self.made.task_id not in text else f"{text} of one message only"


def _marked(values: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """Return headers or properties with marks in the place of what is one message's own."""
    return {
        name: MARKS[_PLACES[name]] if name in _PLACES else MARKS["id"] if value == task_id else value
        for name, value in values.items()
    }


def _untimed(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, name if name in _TIMES and value is not None else value) for name, value in values.items()]


# --- Arguments --------------------------------------------------------------------------------------------


class _Encoder:
    """Encodes arguments as Celery and kombu have done for one message."""

    def __init__(self, app: Any, made: Made) -> None:
        from celery.utils.saferepr import saferepr

        levels = app.conf.get("task_repr_maxlevels")
        self._saferepr = saferepr
        self._levels = {} if levels is None else {"maxlevels": levels}
        self._longest = (app.amqp.argsrepr_maxsize, app.amqp.kwargsrepr_maxsize)
        self._embed = made.content[2]
        self._serializer, self._compression = made.serializer, made.compression
        self._base64 = made.properties.get("body_encoding") == "base64"
        self._dump = self._as_json() if _is_json(made.serializer) and not made.compression else self._as_any
        self._no_kwargs = self._repr({}, 1)

    def encode(self, args: Args, kwargs: Kwargs) -> Payload:
        """Return arguments encoded; raises what Celery raises for those that cannot be."""
        body = self._dump(args or (), kwargs)
        if self._base64:
            body = base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
        return Payload(body, self._repr(args or (), 0), self._repr(kwargs, 1) if kwargs else self._no_kwargs)

    def _repr(self, value: object, which: int) -> str:
        return str(self._saferepr(value, self._longest[which], **self._levels))

    def _as_json(self) -> Callable[[Args, Kwargs], str | bytes]:
        from kombu.utils.json import JSONEncoder

        encode = JSONEncoder().encode
        tail = f", {encode(self._embed)}]"

        def dump(args: Args, kwargs: Kwargs) -> str | bytes:
            try:
                return f"[{encode(args)}, {encode(kwargs)}{tail}"
            except (TypeError, ValueError, RecursionError):
                return self._as_any(args, kwargs)  # which raises it in kombu's words

        return dump

    def _as_any(self, args: Args, kwargs: Kwargs) -> str | bytes:
        from kombu.compression import compress
        from kombu.serialization import dumps

        body: str | bytes = dumps((args, kwargs, self._embed), serializer=self._serializer)[2]
        return bytes(compress(body, self._compression)[0]) if self._compression else body


def _is_json(serializer: str | None) -> bool:
    """Tell whether it is JSON as kombu writes it, with no other encoder registered in its place."""
    from kombu.serialization import registry
    from kombu.utils.json import dumps

    found = registry._encoders.get(serializer or "json")
    return serializer == "json" and found is not None and found.encoder is dumps


# --- Messages of JSON -------------------------------------------------------------------------------------


class TextTemplate:
    """Writes messages that are JSON themselves, as kombu's virtual transports do."""

    def __init__(self, template: Template) -> None:
        from kombu.utils.json import dumps

        message = {**template.made.raw, "headers": template.headers, "properties": template.properties}
        self._text = str(dumps({**message, "body": MARKS["body"]}))
        self._format = _format(self._text)

    def write(self, payload: Payload, task_id: str, tag: str, sent: str) -> str:
        """Return one message; ASCII only."""
        return self._format % {
            "body": payload.body,
            "args": encode_basestring_ascii(payload.args),
            "kwargs": encode_basestring_ascii(payload.kwargs),
            "id": task_id,
            "tag": tag,
            "sent": sent,
        }

    def of(self, payload: Payload) -> str:
        """Return a format for `%` with `id`, `tag` and `sent`, for messages that have these arguments."""
        own = (("body", f'"{payload.body!s}"'), ("args", encode_basestring_ascii(payload.args)))
        text = self._text
        for slot, value in (*own, ("kwargs", encode_basestring_ascii(payload.kwargs))):
            text = text.replace(f'"{MARKS[slot]}"', value)
        return _format(text)


def _format(text: str) -> str:
    text = text.replace("%", "%%")
    for slot, mark in MARKS.items():
        bare = slot in ("args", "kwargs", "sent")  # what is put there is JSON already
        text = text.replace(f'"{mark}"' if bare else mark, f"%({slot})s")
    return text
