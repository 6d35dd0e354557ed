"""Values as YAML text, on one line, in quotes only where they need them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from celeryfleet.fleetfile.tree import resolve

_PLAIN = re.compile(r"[A-Za-z_./$][A-Za-z0-9_./@+$%{}:-]*|[0-9]+[A-Za-z%][A-Za-z0-9%]*")
_PLAIN_IN_FLOW = re.compile(r"[A-Za-z_.][A-Za-z0-9_.@+-]*")


def scalar(text: str, *, flow: bool = False) -> str:
    """Write a text so that it is read as the same text; `flow`: within brackets."""
    fits = (_PLAIN_IN_FLOW if flow else _PLAIN).fullmatch(text)
    plain = fits and isinstance(resolve(text), str) and not text.endswith(":") and text.lower() not in _BOOLEANS
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


#: of YAML 1.1, which other tools read
_BOOLEANS = frozenset(("yes", "no", "on", "off", "y", "n"))


def listing(texts: Iterable[str]) -> str:
    """Write texts as a list."""
    return f"[{', '.join(scalar(text, flow=True) for text in texts)}]"


def mapping(values: Mapping[str, str]) -> str:
    """Write a mapping whose values are YAML text already."""
    return f"{{{', '.join(f'{key}: {value}' for key, value in values.items())}}}"


def span(seconds: float) -> str:
    """Write a duration with its largest unit that leaves no fraction."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds / size)}{unit}"
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds:g}s"


def kibibytes(number: int) -> str:
    """Write a size that is counted in KiB."""
    for unit, size in (("GiB", 1024 * 1024), ("MiB", 1024)):
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return f"{number}KiB"
