"""What a supervisor remembers on disk for the next one: what it leaves running if it is killed, and what is paused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celeryfleet import private
from celeryfleet.protocol import Mark, Marks
from celeryfleet.records import encode, parse
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.state import FleetState


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
    """The file of processes, of nodes whose messages may still be unacknowledged, of paused queues, and whose it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._processes, self.nodes, self.paused, self.owner, self.marks = _read(file)
        self._births: dict[int, float] = {}
        self._written: object = None

    def alive(self) -> Iterator[tuple[str, Remembered]]:
        """Yield what was remembered and still runs, as (name, process); workers and parts."""
        for name, old in self._processes.items():
            if process.birth(old.pid) == old.birth:
                yield name, old

    def remember(self, state: FleetState, parts: Mapping[str, int | None]) -> bool:
        """Write down what runs now, workers and `parts`, if that has changed; tell if it had. Raises OSError."""
        workers = state.workers.values()
        running = {w.name: (w.pid, w.pool, w.node, w.grace) for w in workers if w.pid is not None}
        running |= {name: (pid, "", "", 0.0) for name, pid in parts.items() if pid is not None}
        nodes = state.dead_nodes.union((w.node for w in workers if w.node), *(w.restoring for w in workers))
        known = (running, nodes, state.paused, state.marks)
        if known == self._written:
            return False
        pids = [pid for pid, *_ in running.values()]
        # A pid that is no longer ours is forgotten: the next process to have it was born at another time.
        self._births = {pid: self._births.get(pid) or process.birth(pid) or 0.0 for pid in pids}
        entries = {
            name: asdict(Remembered(pid, self._births[pid], pool, node, grace))
            for name, (pid, pool, node, grace) in running.items()
        }
        rest = {"nodes": sorted(nodes), "paused": sorted(state.paused), "owner": self.owner}
        rest["marks"] = encode(Marks(tuple(state.marks.values()))).decode()
        whole = {"boot": process.boot_id(), "processes": entries, **rest}
        private.write(str(self._file), json.dumps(whole).encode())
        self._written = known
        return True


def _anyone() -> str:
    return os.urandom(16).hex()


def _read(file: Path) -> tuple[dict[str, Remembered], frozenset[str], frozenset[str], str, tuple[Mark, ...]]:
    """Read what an earlier supervisor wrote; a torn file is no more than a lost memory."""
    try:
        known: Any = json.loads(file.read_bytes())
        nodes, paused = frozenset(map(str, known["nodes"])), frozenset(map(str, known.get("paused", ())))
        owner = str(known.get("owner") or _anyone())
        marks = parse(Marks, known["marks"].encode()).marks if "marks" in known else ()
        kept = (nodes, paused, owner, marks)
        if known["boot"] != process.boot_id():
            return {}, *kept  # the machine was started anew: these pids are anyone's
        return {str(name): Remembered(**entry) for name, entry in known["processes"].items()}, *kept
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, frozenset(), frozenset(), _anyone(), ()
