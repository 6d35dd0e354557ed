"""Measures memory and CPU of workers that have nothing to do, and of what watches over them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import measure as meter
from benchmarks import peers, tasks
from benchmarks.running import Running, running
from benchmarks.samples import Samples

_MIB = 1024 * 1024
#: seconds after the last worker is ready in which start-up work may still be going on
_SETTLE = 4.0
#: no-op tasks for each worker, before memory is read a second time
_TASKS = 100

Say = Callable[[str], None]

MEMORY = "memory of all processes, MiB PSS"
WORN = f"memory after {_TASKS} tasks a worker, MiB PSS"
IDLE = "idle CPU of all processes, s/min"
KEEPER_CPU = "idle CPU of the supervisor, s/min"
KEEPER_MEMORY = "memory of the supervisor, MiB PSS"
#: our supervisor's process without its fork server
ALONE = "celeryfleet, without its fork server"


@dataclass(frozen=True, slots=True)
class Window:
    """What the processes used while they were left alone."""

    #: seconds of CPU a minute, by pid
    cpu: dict[int, float]
    #: bytes, by pid
    pss: dict[int, int]

    def of(self, pids: frozenset[int]) -> tuple[float, float]:
        """Return CPU s/min and MiB PSS of some of them."""
        return sum(self.cpu.get(pid, 0.0) for pid in pids), sum(self.pss.get(pid, 0) for pid in pids) / _MIB


def recipes(count: int, url: str) -> list[peers.Recipe]:
    """Return all that is left idle, in the order of a round."""
    watched = [peer(count, True) for peer in peers.SUPERVISORS]
    return [peers.fleet(count, url), *watched, peers.plain(count, True), peers.plain(count, False)]


def measure(samples: Samples, count: int, url: str, seconds: float, say: Say) -> None:
    """Leave each peer alone for some seconds, one after the other."""
    for recipe in recipes(count, url):
        with running(recipe, count, url) as peer:
            time.sleep(_SETTLE)
            window = look(peer, seconds)
            cpu, memory = window.of(peer.pids())
            samples.add(IDLE, recipe.name, cpu)
            samples.add(MEMORY, recipe.name, memory)
            _keepers(samples, recipe.name, peer, window)
            tasks.run(peer.crowd, tasks.messages(peer.crowd, _TASKS * count), count)
            worn = meter.pss(peer.pids()) / _MIB
            samples.add(WORN, recipe.name, worn)
            say(f"{recipe.name}: {memory:.0f} MiB, after tasks {worn:.0f} MiB; idle {cpu:.2f} CPU s/min")


def look(peer: Running, seconds: float) -> Window:
    """Read memory, then see what CPU is used in the next seconds."""
    pids = peer.pids()
    memory = {pid: meter.pss([pid]) for pid in pids}
    before, begun = meter.cpu(pids), time.perf_counter()
    time.sleep(seconds)
    after, taken = meter.cpu(pids), time.perf_counter() - begun
    return Window({pid: meter.cpu_per_minute({pid: before[pid]}, {pid: after[pid]}, taken) for pid in pids}, memory)


def _keepers(samples: Samples, name: str, peer: Running, window: Window) -> None:
    keepers = peer.keepers()
    if not keepers:
        return
    found = {name: keepers}
    if name == peers.FLEET:
        found[ALONE] = frozenset({_supervisor(peer)})
    for subject, pids in found.items():
        cpu, memory = window.of(pids)
        samples.add(KEEPER_CPU, subject, cpu)
        samples.add(KEEPER_MEMORY, subject, memory)


def _supervisor(peer: Running) -> int:
    words = ["celeryfleet", "status", "--json"]
    done = subprocess.run(words, cwd=peer.folder, env=peer.env, capture_output=True, check=True)
    return int(json.loads(done.stdout)["supervisor"]["pid"])
