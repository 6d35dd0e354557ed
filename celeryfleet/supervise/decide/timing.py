"""How long things may take, and how long a process that died has to wait."""

from __future__ import annotations

import zlib

from celeryfleet.plan.values import RestartPolicy

#: seconds that a worker told to stop cold has before SIGKILL
COLD_SECONDS = 5.0
#: seconds of warm stop for a worker that is stuck without any task
STUCK_SECONDS = 3.0
#: seconds that a worker may take to start without any sign of life; importing a large app is slow
START_SECONDS = 300.0
#: seconds before a worker that does not read what it was told to read is told again
TOLD_SECONDS = 5.0
#: seconds that the broker or the fork server has to stop before SIGKILL
PART_SECONDS = 10.0
#: when the broker or the fork server that died comes back
PART_RESTART = RestartPolicy(backoff=0.5, max_backoff=10.0, max_restarts=6, window=60.0)


def delay(name: str, deaths: int, policy: RestartPolicy) -> float:
    """Return the seconds to wait after the latest of `deaths`: none at first, then doubling, spread by 20 %."""
    if deaths <= 1:
        return 0.0
    spread = zlib.crc32(f"{name}/{deaths}".encode()) / 2**32
    return min(policy.max_backoff, policy.backoff * 2.0 ** (deaths - 2)) * (0.8 + 0.4 * spread)
