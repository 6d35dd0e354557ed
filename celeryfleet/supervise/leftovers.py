"""What a supervisor remembers on disk, so that the next one knows again what a killed one left running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from celeryfleet.supervise import process
from celeryfleet.supervise.state import FleetState


@dataclass(frozen=True, slots=True)
class Remembered:
    """One process of the fleet."""

    pid: int
    #: as `process.birth` gives it: a pid alone may be somebody else's by now
    birth: float
    pool: str = ""
    node: str = ""
    grace: float = 0.0


class Leftovers:
    """The file of processes and of the nodes whose messages may still be unacknowledged."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = self._read()
        self._births: dict[int, float] = {}
        self._written: dict[str, Any] = {}

    def alive(self) -> Iterator[tuple[str, Remembered]]:
        """Yield what was remembered and still runs, as (name, process); `broker`, `keeper`, `server` are no workers."""
        for name, entry in self._before.get("processes", {}).items():
            old = Remembered(**entry)
            if process.birth(old.pid) == old.birth:
                yield name, old

    def bereave(self, state: FleetState) -> FleetState:
        """Add the nodes of earlier workers, whose messages nobody may have brought back."""
        return replace(state, bereft=state.bereft | frozenset(self._before.get("nodes", [])))

    def remember(self, state: FleetState, broker: int | None, keeper: int | None, server: int | None) -> None:
        """Write down what runs now, if that has changed."""
        processes = {}
        for worker in state.workers.values():
            if worker.pid is not None:
                entry = self._entry(worker.pid, worker.pool, worker.node, worker.grace)
                processes[worker.name] = asdict(entry)
        for name, pid in (("broker", broker), ("keeper", keeper), ("server", server)):
            if pid is not None:
                processes[name] = asdict(self._entry(pid))
        nodes = {worker.node for worker in state.workers.values() if worker.node} | state.bereft
        known = {"processes": processes, "nodes": sorted(nodes)}
        if known != self._written:
            self._write(known)
            self._written = known

    def _entry(self, pid: int, pool: str = "", node: str = "", grace: float = 0.0) -> Remembered:
        if pid not in self._births:
            self._births[pid] = process.birth(pid) or 0.0
        return Remembered(pid, self._births[pid], pool, node, grace)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):  # a torn write is no more than a lost memory
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, Any]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(self._file)
