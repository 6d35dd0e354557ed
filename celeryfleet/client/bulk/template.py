"""One message that Celery has built → many that differ in id, arguments and time; knows no connection.

A template is not trusted by itself: `copyable.reason` names what could make messages differ otherwise, and the second
message of each shape is built both ways and compared.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from celery.utils.saferepr import saferepr
from kombu.compression import compress
from kombu.serialization import dumps
from kombu.utils.json import JSONEncoder
from kombu.utils.json import dumps as json_dumps

from celeryfleet.app import SENT_AT
from celeryfleet.client.bulk.items import Args, Kwargs
from celeryfleet.client.bulk.seam import is_kombus_json

if TYPE_CHECKING:
    from celery import Celery

#: what stands in a template for a value that each message has of its own; nobody can guess it and write it himself
MARKS = {slot: f"{slot}-{secrets.token_hex(16)}" for slot in ("id", "tag", "body", "args", "kwargs", "sent")}
#: where these are found, besides the id, which is known wherever it stands
_PLACES = {"delivery_tag": "tag", "argsrepr": "args", "kwargsrepr": "kwargs", SENT_AT: "sent"}
#: headers and properties that hold a moment, and so may be others with the next message
_TIMES = ("eta", "expires", "expiration")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that Celery has built, as the broker is to get it."""

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
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Payload:
    """The arguments of a message, encoded."""

    body: str | bytes
    #: their representations, for logs
    args: str
    kwargs: str


class Template:
    """What all messages of one shape have in common, and how their arguments are encoded."""

    def __init__(self, app: Celery, message: Message) -> None:
        self.message = message
        self._task_id = str(message.properties.get("correlation_id"))
        self.headers = self._marked(message.headers)
        self.properties = self._marked(message.properties)
        moments = (values.get(name) for name in _TIMES for values in (message.headers, message.properties))
        #: whether a moment is in it, so that it is soon out of date
        self.timed = any(moment is not None for moment in moments)
        #: bytes of a message with the same arguments, about
        self.weight = len(message.body) + 1000
        self._repr = _representation(app)
        self._no_kwargs = self._repr({}, 1)
        self._dump = _encoder(message)

    def encode(self, args: Args, kwargs: Kwargs) -> Payload:
        """Encode arguments as Celery and kombu have done; raises what Celery raises for those that cannot be."""
        args = args or ()
        return Payload(
            self._dump(args, kwargs), self._repr(args, 0), self._repr(kwargs, 1) if kwargs else self._no_kwargs
        )

    def foretells(self, other: Template) -> bool:
        """Tell whether the message of another template is what this one would have made of its arguments."""
        message = other.message
        payload = self.encode(message.content[0], message.content[1])
        own = (message.body, message.headers.get("argsrepr"), message.headers.get("kwargsrepr"))
        return own == (payload.body, payload.args, payload.kwargs) and self._common() == other._common()

    def _marked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return headers or properties with marks in the place of what is one message's own."""
        return {
            name: MARKS[_PLACES[name]] if name in _PLACES else MARKS["id"] if value == self._task_id else value
            for name, value in values.items()
        }

    def _common(self) -> str:
        """Return all but the moments, in its order; the id must be nowhere else than where it was found."""
        message = self.message
        parts = (_untimed(self.headers), _untimed(self.properties), () if self.timed else message.target)
        text = repr((parts, message.queue, message.serializer, message.compression))
        return text if self._task_id not in text else f"{text} of one message only"


def _untimed(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, name if name in _TIMES and value is not None else value) for name, value in values.items()]


def _representation(app: Any) -> Callable[[object, int], str]:
    """Return what represents arguments (0) and keyword arguments (1) for logs, as Celery does."""
    longest = (app.amqp.argsrepr_maxsize, app.amqp.kwargsrepr_maxsize)
    levels = app.conf.get("task_repr_maxlevels")
    given = {} if levels is None else {"maxlevels": levels}
    return lambda value, which: str(saferepr(value, longest[which], **given))


def _encoder(message: Message) -> Callable[[Args, Kwargs], str | bytes]:
    """Return what encodes arguments as kombu has encoded those of a message."""
    embed, compression = message.content[2], message.compression

    def encode_any(args: Args, kwargs: Kwargs) -> str | bytes:
        body: str | bytes = dumps((args, kwargs, embed), serializer=message.serializer)[2]
        return bytes(compress(body, compression)[0]) if compression else body

    encode = encode_any
    if is_kombus_json(message.serializer) and not compression:
        as_json = JSONEncoder().encode
        tail = f", {as_json(embed)}]"

        def encode(args: Args, kwargs: Kwargs) -> str | bytes:
            try:
                return f"[{as_json(args)}, {as_json(kwargs)}{tail}"
            except (TypeError, ValueError, RecursionError):
                return encode_any(args, kwargs)  # which raises it in kombu's words

    def encode_base64(args: Args, kwargs: Kwargs) -> str:
        body = encode(args, kwargs)
        return base64.b64encode(body.encode() if isinstance(body, str) else body).decode()

    return encode_base64 if message.properties.get("body_encoding") == "base64" else encode


class TextTemplate:
    """Writes messages that are JSON themselves, as kombu's virtual transports do."""

    def __init__(self, template: Template) -> None:
        own = {"headers": template.headers, "properties": template.properties, "body": MARKS["body"]}
        self._format = _format(str(json_dumps({**template.message.raw, **own})))

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
        return _format(self.write(payload, MARKS["id"], MARKS["tag"], f'"{MARKS["sent"]}"'))


def _format(text: str) -> str:
    text = text.replace("%", "%%")
    for slot, mark in MARKS.items():
        bare = slot in ("args", "kwargs", "sent")  # what is put there is JSON already
        text = text.replace(f'"{mark}"' if bare else mark, f"%({slot})s")
    return text
