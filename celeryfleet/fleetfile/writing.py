"""Writes values as YAML of fleet.yaml, in quotes only where they need them; knows no key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from celeryfleet.fleetfile.tree import resolve

_PLAIN = re.compile(r"[A-Za-z_./$][A-Za-z0-9_./@+$%{}:-]*|[0-9]+(\.[0-9]+)?[A-Za-z%][A-Za-z0-9%]*")
_PLAIN_IN_FLOW = re.compile(r"[A-Za-z_.][A-Za-z0-9_.@+-]*|[0-9]+(\.[0-9]+)?[A-Za-z%][A-Za-z0-9%]*")
#: of YAML 1.1, which other tools read
_BOOLEANS = frozenset(("yes", "no", "on", "off", "y", "n"))


def scalar(text: str, *, flow: bool = False) -> str:
    """Write a text so that it is read as the same text; `flow`: within brackets."""
    fits = (_PLAIN_IN_FLOW if flow else _PLAIN).fullmatch(text)
    if fits and isinstance(resolve(text), str) and not text.endswith(":") and text.lower() not in _BOOLEANS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def flow(value: Any) -> str:
    """Write a value of JSON's types on one line; a `$` in it is no variable."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(str(key))}: {flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value.replace("$", "$$"), flow=True) if isinstance(value, str) else json.dumps(value)
