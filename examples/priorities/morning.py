"""A morning: python morning.py DAILY EXPORTS SECONDS [TASK_SECONDS] sends all the daily notifications at once, and then

so many exports a second, at random, for so many seconds. A task takes TASK_SECONDS in the mean (0.02).
"""

from __future__ import annotations

import random
import sys
import time

from notifications import app, daily, export

import celeryfleet


def main() -> None:
    """Send it all."""
    burst, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    mean = float(sys.argv[4]) if len(sys.argv) > 4 else 0.02
    celeryfleet.bulk(app, daily, ((random.expovariate(1 / mean),) for _ in range(burst)))
    due = end = time.monotonic()
    end += seconds
    while rate and (due := due + random.expovariate(rate)) < end:
        time.sleep(max(0.0, due - time.monotonic()))
        export.delay(random.expovariate(1 / mean))


if __name__ == "__main__":
    main()
