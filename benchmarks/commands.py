"""Measures how long the commands take that ask a fleet how it is: ours and Celery's, about the same running workers."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import measure as meter
from benchmarks import peers
from benchmarks.running import running
from benchmarks.samples import Samples

COUNT = 4
MEASURE = f"a command about {COUNT} workers, s"
ON_TERMINAL = "celeryfleet status, on a terminal"
PIPED = "celeryfleet status, piped"
HEALTH = "celeryfleet health"
CELERY_STATUS = "celery status"
CELERY_PING = "celery inspect ping"
#: by name: the words, and whether it runs on a terminal
COMMANDS: dict[str, tuple[tuple[str, ...], bool]] = {
    ON_TERMINAL: (("celeryfleet", "status"), True),
    PIPED: (("celeryfleet", "status"), False),
    "celeryfleet status --json": (("celeryfleet", "status", "--json"), False),
    HEALTH: (("celeryfleet", "health"), False),
    CELERY_STATUS: (("celery", "-A", "shop", "status"), False),
    CELERY_PING: (("celery", "-A", "shop", "inspect", "ping"), False),
    "python -c pass": (("python", "-c", "pass"), False),
}

Say = Callable[[str], None]


def measure(samples: Samples, url: str, repeat: int, say: Say) -> None:
    """Run each command in turn, over and over, while one celeryfleet fleet runs."""
    with running(peers.fleet(COUNT, url), COUNT, url) as peer:
        for _ in range(repeat):
            for name, (words, tty) in COMMANDS.items():
                samples.add(MEASURE, name, meter.command(words, peer.folder, peer.env, tty))
        say(f"{repeat} times {len(COMMANDS)} commands")
