"""What stands before the lines of several workers' logs."""

from __future__ import annotations

from collections.abc import Iterable

from celeryfleet.logs.read import natural
from celeryfleet.render.paint import paint

#: cyan, green, yellow, magenta, blue, then the bright ones; red is for errors
_COLORS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")


class Prefixes:
    """Puts the worker's name before each line: aligned, each worker in a colour of its own."""

    def __init__(self, names: Iterable[str] = (), color: bool = False, shown: bool = True) -> None:
        self._color = color
        self._shown = shown
        self._width = 0
        self._numbers: dict[str, int] = {}
        for name in sorted(names, key=natural):
            self._number(name)

    def __call__(self, name: str, line: str) -> str:
        """Return the line as it is shown; a name unknown so far takes the next colour."""
        if not self._shown:
            return line
        number = self._number(name)
        prefix = paint(f"{name:<{self._width}} |", _COLORS[number % len(_COLORS)], self._color)
        return f"{prefix} {line}"

    def _number(self, name: str) -> int:
        self._width = max(self._width, len(name))
        return self._numbers.setdefault(name, len(self._numbers))
