"""Chooses lines of logs: those of some workers, of a task, and those that match; knows no files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from celeryfleet.logs.times import time_of

#: (worker, line without its end)
Line = tuple[str, str]

SUPERVISOR = "supervisor"
#: what may be a worker's name in a line of the supervisor's
_WORKER = re.compile(r"[^\s:,;()\[\]]+?-\d+(?![\w-])")
#: lines of one record that are held until one of them matches
_HELD = 1000


def is_of(log: str, names: Collection[str]) -> bool:
    """Tell whether a log is that of one of these pools or workers, or is named itself."""
    pool, _, number = log.rpartition("-")
    return log in names or (pool in names and number.isdecimal())


def of_task(task: str) -> re.Pattern[str]:
    """Return what matches the id of a task, or its beginning."""
    return re.compile(rf"(?<![\w-]){re.escape(task)}")


@dataclass(frozen=True)
class Choice:
    """Which lines are wanted."""

    #: pools, workers, and logs by their names
    names: Collection[str]
    #: each is found in some line of a record that is wanted
    patterns: Sequence[re.Pattern[str]] = ()

    def opens(self, log: str) -> bool:
        """Tell whether some of a log's lines may be wanted."""
        return is_of(log, self.names) or log == SUPERVISOR

    def few(self, log: str) -> bool:
        """Tell whether not all of them are."""
        return bool(self.patterns) or (log == SUPERVISOR and log not in self.names)

    def __call__(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield the wanted ones; what the supervisor says of a worker stands under that worker's name."""
        found = self._attributed(lines) if SUPERVISOR not in self.names else iter(lines)
        return self._matching(found) if self.patterns else found

    def _attributed(self, lines: Iterable[Line]) -> Iterator[Line]:
        for log, line in lines:
            if log != SUPERVISOR:
                yield log, line
            elif worker := next((name for name in _WORKER.findall(line) if is_of(name, self.names)), ""):
                yield worker, line

    def _matching(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield whole records: a line that begins with a time, and those after it, such as a traceback."""
        held: dict[str, list[str]] = {}
        unmet: dict[str, list[re.Pattern[str]]] = {}
        begins = _beginnings()
        for log, line in lines:
            if begins(log, line):
                held[log], unmet[log] = [], list(self.patterns)
            unmet[log] = [pattern for pattern in unmet[log] if not pattern.search(line)]
            held[log] = [*held[log][-_HELD:], line]
            if not unmet[log]:
                yield from ((log, one) for one in held[log])
                held[log] = []


def records(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Put lines together that belong to one record."""
    record: list[Line] = []
    begins = _beginnings()
    for line in lines:
        if begins(*line) and record:
            yield record
            record = []
        record.append(line)
    yield record


def _beginnings() -> Callable[[str, str], bool]:
    """Return what tells whether a line begins a record: by its time, and each does in a log that has told none yet."""
    timed: set[str] = set()

    def begins(log: str, line: str) -> bool:
        told = time_of(line.encode()) is not None
        timed.update([log] if told else [])
        return told or log not in timed

    return begins
