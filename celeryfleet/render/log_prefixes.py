"""How the lines of several workers' logs are shown together: a name before each, or each as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TextIO

from celeryfleet.logs.read import natural
from celeryfleet.logs.times import time_of
from celeryfleet.render.paint import paint, screen
from celeryfleet.text import folded, tamed

#: cyan, green, yellow, magenta, blue, then the bright ones; red is for errors
COLORS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
#: columns for a line that are worth an indent
_LEAST = 20


class Prefixes:
    """Puts the worker's name before each line: aligned, each worker in a colour of its own."""

    def __init__(self, names: Iterable[str], stream: TextIO, shown: bool = True) -> None:
        self._stream = stream
        self._shown = shown
        self._width = 0
        self._numbers: dict[str, int] = {}
        for name in sorted(names, key=natural):
            self._number(name)

    def __call__(self, name: str, line: str) -> str:
        """Return the line as it is shown; a name unknown so far takes the next colour."""
        if not self._shown:
            return line
        style = COLORS[self._number(name) % len(COLORS)]
        color, width = screen(self._stream)
        room = width - self._width - len(" | ")
        parts = folded(tamed(line).expandtabs(), room) if room >= _LEAST else [line]
        names = [name, *[""] * (len(parts) - 1)]
        starts = (paint(f"{first:<{self._width}} |", style, color) for first in names)
        return "\n".join(f"{start} {part}" for start, part in zip(starts, parts, strict=True))

    def _number(self, name: str) -> int:
        self._width = max(self._width, len(name))
        return self._numbers.setdefault(name, len(self._numbers))


class JsonLines:
    """Makes each line an object, for who collects them; what a worker has written as one stays as it is."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def __call__(self, name: str, line: str) -> str:
        """Return the line as it is shown; empty: it is not."""
        if (line.startswith("{") and line.endswith("}")) or not line.strip():
            return line.strip()
        at = time_of(line.encode())
        message = line if at is None else line.partition(" ")[2].partition(" ")[2]
        stamp = datetime.fromtimestamp(self._clock() if at is None else at, UTC).isoformat(timespec="milliseconds")
        whole = {"time": stamp.replace("+00:00", "Z"), "level": "INFO", "worker": name, "message": message}
        return json.dumps(whole, ensure_ascii=False)
