"""How a message is to be sent: which options there are and what they may be, on a command line as in a canvas; pure."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from celeryfleet.client.names import nearest
from celeryfleet.client.values import ComplaintError, kind_of
from celeryfleet.fleetfile.headers import OWN, unfit
from celeryfleet.routing.queue import unknown

SECONDS = ("countdown", "expires", "time_limit", "soft_time_limit")
TEXTS = ("queue", "exchange", "routing_key", "shadow")
#: those that hold signatures, or say how a signature takes arguments
CALLBACKS = ("link", "link_error")
#: priority counts from 0 to PRIORITIES, which runs first
PRIORITIES = 9
_ALL = (*SECONDS, *TEXTS, "eta", "priority", "headers", *CALLBACKS, "immutable")


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is to be sent; None: as its route and its own attributes say."""

    queue: str | None = None
    #: 0 to 9, and 9 runs first, on every broker
    priority: int | None = None
    #: seconds
    countdown: float | None = None
    eta: datetime.datetime | None = None
    #: seconds, or a moment
    expires: float | datetime.datetime | None = None
    #: for the message, besides Celery's own
    headers: Mapping[str, Any] | None = None
    exchange: str | None = None
    routing_key: str | None = None

    def __post_init__(self) -> None:
        if self.countdown is not None and self.eta is not None:
            raise ComplaintError("--countdown and --eta exclude each other.")

    @property
    def target(self) -> dict[str, Any]:
        """Return those that say where it goes."""
        return {name: self.given().get(name) for name in ("queue", "exchange", "routing_key", "headers")}

    def given(self) -> dict[str, Any]:
        """Return those that say something; a time without a zone is one of this machine's."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["eta"] = self.eta.astimezone() if self.eta else None
        return {name: value for name, value in values.items() if value not in (None, {})}


def checked(options: Mapping[str, Any], queues: Collection[str] | None) -> dict[str, Any]:
    """Check those options of a signature that are plain; raises ComplaintError. `queues` None: any name will do."""
    plain: dict[str, Any] = {}
    for name, value in options.items():
        if name == "eta" or (name == "expires" and isinstance(value, str)):
            plain[name] = _time(name, value)
        elif name in SECONDS:
            plain[name] = _seconds(name, value)
        elif name in TEXTS:
            plain[name] = _text(name, value, queues)
        elif name == "priority":
            plain[name] = priority(value)
        elif name == "headers":
            plain[name] = headers(value)
        elif name not in _ALL:
            hint = f"{nearest(name, _ALL)}There are {', '.join(_ALL)}."
            raise ComplaintError(f'There is no option "{name}".', hint, name)
    return plain


def priority(value: object) -> int:
    """Return a priority from 0 to 9; raises ComplaintError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITIES:
        what = f"A priority is a whole number from 0 to {PRIORITIES}, and {PRIORITIES} runs first."
        raise ComplaintError(what, keyword="priority")
    return value


def headers(value: object) -> dict[str, Any]:
    """Return headers for a message, plain values by name; raises ComplaintError."""
    if not isinstance(value, Mapping):
        raise ComplaintError(f"headers is a mapping, not {kind_of(value).lower()}.", keyword="headers")
    for name, held in value.items():
        if not isinstance(name, str) or not name:
            raise ComplaintError("A header has a name, which is a text.", keyword="headers")
        if name in OWN:
            raise ComplaintError(f'The header "{name}" is one of Celery\'s own.', "Choose another name.", "headers")
        if held is not None and not isinstance(held, str | bool | int | float):
            raise ComplaintError(f'The header "{name}" is a text, a number, true or false.', keyword="headers")
        why = unfit(name, held)
        if why:
            raise ComplaintError(f'The header "{name:.40}" cannot be sent: {why}.', keyword="headers")
    return dict(value)


def read_headers(words: Iterable[str]) -> dict[str, str]:
    """Read the NAME=VALUE of `--header`; a value is a text. Raises ComplaintError."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ComplaintError(f'--header: "{word}" is no header.', "Write NAME=VALUE, such as tenant=acme.")
        found |= headers({name: value})
    return found


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ComplaintError(f"{name} is a number of seconds, not {value!r:.40}.", keyword=name)
    return value


def _time(name: str, value: object) -> datetime.datetime:
    hint = "Write it as 2030-01-31T12:00:00."
    if not isinstance(value, str):
        raise ComplaintError(f"{name} is a time, not {kind_of(value).lower()}.", hint, name)
    try:
        return datetime.datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise ComplaintError(f'{name} is no time: "{value:.40}".', hint, name) from None


def _text(name: str, value: object, queues: Collection[str] | None) -> str:
    if not isinstance(value, str) or not value:
        raise ComplaintError(
            f"{name} is a text, not {kind_of(value).lower() if value else 'an empty one'}.", keyword=name
        )
    if name == "queue" and queues is not None and value not in queues:
        problem = unknown(value, queues).problems[0]
        raise ComplaintError(problem.what, problem.hint, name)
    return value
