"""The end of the log, of all workers or of some, as the live screen shows it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from celeryfleet.logs.read import Follower
from celeryfleet.render.log_prefixes import COLORS
from celeryfleet.render.paint import paint
from celeryfleet.text import clean
from celeryfleet.top.listing import Lines

#: lines that are kept
_KEPT = 200
#: what stands before a line, of which the day and what is less than a second are left out
_DATE, _TIME = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ](\d\d:\d\d:\d\d)[.,]\d+"), r"\1"


class Log(Lines):
    """Follows the logs of a pool, of a worker or of all."""

    def __init__(self, id: str, logs: Callable[[str], Follower]) -> None:  # noqa: A002 - Textual's word
        super().__init__(id)
        self._logs = logs
        #: the pool or worker; empty: all
        self.of = ""
        self._follower: Follower | None = None
        #: of workers, in the order in which they spoke
        self._numbers: dict[str, int] = {}
        self._kept: deque[tuple[str, str]] = deque(maxlen=_KEPT)

    def follow(self, of: str) -> None:
        """Show the log of a pool or a worker, with more room; empty: of all."""
        self.on_unmount()
        self.of = of
        self.border_title = f" log of {clean(of)} " if of else " log "
        self.set_class(bool(of), "-large")
        self._follower = self._logs(of)
        self._kept = deque(self._follower.backlog(_KEPT), _KEPT)
        self.read()

    def read(self) -> None:
        """Show what was added."""
        if self._follower is not None:
            self._kept.extend(self._follower.poll())
        width = max((len(name) for name, _ in self._kept), default=0)
        self.show([f"{self._prefix(name, width)} {clean(_DATE.sub(_TIME, line))}" for name, line in self._kept])

    def _prefix(self, name: str, width: int) -> str:
        style = COLORS[self._numbers.setdefault(name, len(self._numbers)) % len(COLORS)]
        return paint(f"{clean(name):<{width}} |", style)

    def on_unmount(self) -> None:
        """Close the files."""
        if self._follower is not None:
            self._follower.close()
