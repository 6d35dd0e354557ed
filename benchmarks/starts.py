"""Measures how long it takes from the start command until every worker answers ping."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import peers
from benchmarks.running import running
from benchmarks.samples import Samples

Say = Callable[[str], None]


def name(count: int) -> str:
    """Name this measurement."""
    return f"start of {count} pools, s"


def recipes(count: int, url: str) -> list[peers.Recipe]:
    """Return all that is started, in the order of a round."""
    ours = [peers.fleet(count, name=peers.EMBEDDED), peers.fleet(count, url)]
    return [*ours, *(peer(count, lean) for peer in peers.PEERS for lean in (False, True))]


def measure(samples: Samples, count: int, url: str, say: Say) -> None:
    """Start each peer once, one after the other."""
    for recipe in recipes(count, url):
        with running(recipe, count, url) as peer:
            samples.add(name(count), recipe.name, peer.seconds)
            say(f"{recipe.name}: {peer.seconds:.2f} s (all answer ping after {peer.answered:.2f} s)")
