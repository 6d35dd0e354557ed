"""Measures how long it takes from the kill -9 of a worker until its replacement answers ping."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from benchmarks import peers
from benchmarks.running import Running, running
from benchmarks.samples import Samples

#: workers of each peer; each is killed once at most, so that no backoff comes in
COUNT = 4
#: seconds after the last worker is ready: supervisord takes one as started after 1 s only
_SETTLE = 1.5
MEASURE = "kill -9 of a worker to its replacement ready, s"

Say = Callable[[str], None]


def recipes(url: str) -> list[peers.Recipe]:
    """Return all that replaces a killed worker, in the order of a round; honcho stops everything instead."""
    restarting = (peers.supervisord, peers.circus)
    return [peers.fleet(COUNT, url), *(peer(COUNT, lean) for peer in restarting for lean in (True, False))]


def measure(samples: Samples, url: str, say: Say) -> None:
    """Kill the workers of each peer one by one, one peer after the other."""
    for recipe in recipes(url):
        with running(recipe, COUNT, url) as peer:
            time.sleep(_SETTLE)
            found = [kill(peer, node, pid) for node, pid in sorted(peer.crowd.pids(COUNT).items())]
            for seconds in found:
                samples.add(MEASURE, recipe.name, seconds)
            say(f"{recipe.name}: {', '.join(f'{seconds:.3f}' for seconds in found)} s")


def kill(peer: Running, node: str, pid: int) -> float:
    """Kill one worker; return the seconds until another of its name answers."""
    before = peer.crowd.listeners()
    begun = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    peer.crowd.await_new(node, before)
    taken = time.perf_counter() - begun
    time.sleep(_SETTLE)
    return taken
