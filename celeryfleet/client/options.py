"""The options of `.set()` and `.apply_async()`: which there are and what they may be; pure."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from celeryfleet.client.faults import ComplaintError
from celeryfleet.client.names import nearest
from celeryfleet.client.steps import Call, Chain, Chord, Group, Map, Step, Value, with_errback, with_link, with_options
from celeryfleet.client.steps import immutable as made_immutable
from celeryfleet.client.values import sort_of
from celeryfleet.fleetfile.headers import OWN, unfit
from celeryfleet.routing.queue import unknown

SECONDS = ("countdown", "expires", "time_limit", "soft_time_limit")
TEXTS = ("queue", "exchange", "routing_key", "eta", "shadow")
#: priority counts from 0 to PRIORITIES, which runs first
PRIORITIES = 9
_ALL = (*SECONDS, *TEXTS, "priority", "headers", "link", "link_error", "immutable")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options somebody wrote, checked."""

    plain: dict[str, Value] = field(default_factory=dict)
    link: tuple[Step, ...] = ()
    on_error: tuple[Step, ...] = ()
    immutable: bool = False

    def given_to(self, step: Step) -> Step:
        """Return the step with these options."""
        step = with_options(step, self.plain) if self.plain else step
        for link in self.link:
            step = with_link(step, link)
        for errback in self.on_error:
            step = with_errback(step, errback)
        return made_immutable(step) if self.immutable else step


def chosen(written: Mapping[str, object], queues: Collection[str] | None) -> Chosen:
    """Check options one by one; raises ComplaintError. `queues` are the declared ones, None: any name will do."""
    plain: dict[str, Value] = {}
    for name, value in written.items():
        if name in SECONDS:
            plain[name] = _seconds(name, value)
        elif name in TEXTS:
            plain[name] = _text(name, value, queues)
        elif name == "priority":
            plain[name] = priority(value)
        elif name == "headers":
            plain[name] = headers(value)
        elif name not in _ALL:
            hint = f"{nearest(name, _ALL)}There are {', '.join(_ALL)}."
            raise ComplaintError(f'There is no option "{name}".', hint, keyword=name)
    link, on_error = _steps(written.get("link")), _steps(written.get("link_error"))
    return Chosen(plain, link, on_error, written.get("immutable") is True)


def priority(value: object) -> int:
    """Return a priority from 0 to 9; raises ComplaintError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITIES:
        what = f"A priority is a whole number from 0 to {PRIORITIES}, and {PRIORITIES} runs first."
        raise ComplaintError(what, keyword="priority")
    return value


def headers(value: object) -> dict[str, Value]:
    """Return headers for a message, plain values by name; raises ComplaintError."""
    if not isinstance(value, Mapping):
        raise ComplaintError(f"headers is a mapping, not {sort_of(value).lower()}.", keyword="headers")
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


def header(word: str) -> tuple[str, str]:
    """Read NAME=VALUE; raises ComplaintError."""
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ComplaintError(f'"{word}" is no header.', "Write NAME=VALUE, such as tenant=acme.", "headers")
    headers({name: value})
    return name, value


def _seconds(name: str, value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ComplaintError(f"{name} is a number of seconds, not {sort_of(value).lower()}.", keyword=name)
    return value


def _text(name: str, value: object, queues: Collection[str] | None) -> str:
    if not isinstance(value, str):
        raise ComplaintError(f"{name} is a text, not {sort_of(value).lower()}.", keyword=name)
    if name == "queue" and queues is not None and value not in queues:
        problem = unknown(value, queues).problems[0]
        raise ComplaintError(problem.what, problem.hint, keyword=name)
    if name == "eta":
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ComplaintError(f'"{value}" is no time.', "Write it as 2030-01-31T12:00:00.", name) from None
    return value


def _steps(value: object) -> tuple[Step, ...]:
    listed = value if isinstance(value, tuple) else () if value is None else (value,)
    for step in listed:
        if not isinstance(step, Call | Map | Group | Chain | Chord):
            raise ComplaintError(f"{sort_of(step)} cannot be called back.", "Write a signature: add.s().")
    return listed
