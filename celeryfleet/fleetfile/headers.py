"""The headers that fleet.yaml names: those that a route gives to messages, and those that a queue wants of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from celeryfleet.fleetfile.fields import kind, refuse, unwrapped
from celeryfleet.fleetfile.header_names import OWN, unfit
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import Scalar

#: how many of a queue's headers a message must have
MATCH = "x-match"
_WAYS = ("all", "any")


def _values(value: Any) -> dict[str, Any]:
    """Return a mapping of names to plain values."""
    if isinstance(value, Scalar) and value.value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(f"must be a mapping, but it is {kind(value)}", "Write headers: {kind: pdf}")
    for name, held in value.items():
        if not name:
            raise refuse("holds a header without a name")
        if not isinstance(unwrapped(held), str | int | float):
            raise refuse(f"must be a text, a number, true or false, but it is {kind(held)}", at=name)
        why = unfit(name, unwrapped(held))
        if why:
            raise refuse(f"cannot be sent: {why}", at=name)
    return dict(unwrapped(value))


def _binding(value: Any) -> dict[str, Any]:
    """Return what a queue wants, with x-match first; nothing if it wants nothing."""
    found = _values(value)
    if not found:
        return found
    match = found.pop(MATCH, "all")
    if match not in _WAYS:
        hint = did_you_mean(str(match), _WAYS)
        raise refuse(f"must be all or any, but it is {kind(value[MATCH])}", hint, at=MATCH)
    ignored = next((name for name in found if name.startswith("x-")), None)
    if ignored:
        raise refuse("can't be asked for: RabbitMQ passes over headers that begin with x-", at=ignored)
    if not found:
        raise refuse("names no header", "Write headers: {x-match: any, kind: pdf}, or leave it out for all messages.")
    return {MATCH: match, **found}


def _given(value: Any) -> dict[str, Any]:
    """Return the headers of a route's messages."""
    found = _values(value)
    own = next((name for name in found if name in OWN), None)
    if own:
        raise refuse("is one of Celery's own headers", "Choose another name.", at=own)
    return found


#: of the messages that a queue of a headers exchange gets
Binding = Annotated[dict[str, Any], BeforeValidator(_binding)]
#: for the messages that a route sends
Headers = Annotated[dict[str, Any], BeforeValidator(_given)]
