"""What is sent in bulk, item by item: arguments, or a mapping of arguments and options; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.text import listed

Args: TypeAlias = "list[Any] | tuple[Any, ...]"
Kwargs: TypeAlias = Mapping[str, Any]
#: arguments, or a mapping with some of KEYS
Item: TypeAlias = "Args | Mapping[str, Any]"

#: options that an item may have of its own, besides its task
OPTIONS = ("queue", "priority", "countdown", "eta", "expires", "headers")
KEYS = ("args", "kwargs", "task", *OPTIONS)
_NONE: Mapping[str, Any] = {}


def read(item: Item) -> tuple[Args, Kwargs, Mapping[str, Any]]:
    """Return an item's arguments, and the mapping that has options of its own. Raises FleetError."""
    if isinstance(item, tuple | list):
        return item, _NONE, _NONE
    if not isinstance(item, Mapping):
        what = f"It is a tuple or list of arguments, or a mapping, not {type(item).__name__}."
        raise FleetError(what, hint=f"A single argument is a tuple of one: ({item!r:.40},).")
    unknown = next((key for key in item if key not in KEYS), None)
    if unknown is not None:
        hint = did_you_mean(str(unknown), KEYS) or f"There are {listed(KEYS)}."
        raise FleetError(f'There is no "{unknown}".', hint=hint)
    args, kwargs = item.get("args", ()), item.get("kwargs", _NONE)
    if not isinstance(args, tuple | list):
        raise FleetError(f'"args" is a list such as [4, 4], not {type(args).__name__}.')
    if not isinstance(kwargs, Mapping):
        raise FleetError(f'"kwargs" is a mapping such as {{"x": 4}}, not {type(kwargs).__name__}.')
    return args, kwargs, item
