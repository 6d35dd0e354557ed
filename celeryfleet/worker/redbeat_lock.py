"""RedBeat's lock: a beat that was killed leaves it locked, and the next would wait for its timeout, 25 minutes.

So the fleet writes down by which token it holds the lock, and its next beat gives back what the last one held. The
lock of another fleet is waited for, as RedBeat wants it. Seen in celery-redbeat 2.4 and redis-py 8.1.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from celery import signals
from celery.utils.log import get_logger

from celeryfleet import private

logger = get_logger(__name__)


def inherit(scheduler: Any, file: Path) -> None:
    """Give back the lock that this fleet's last beat held, by `file`, and write down the one that is taken next.

    To be called when the scheduler is there and RedBeat has not asked for the lock yet.
    """
    if not hasattr(scheduler, "lock_key") or not scheduler.lock_key:
        return
    from redbeat.schedulers import get_redis
    from redis.exceptions import LockNotOwnedError

    lock = get_redis(scheduler.app).lock(scheduler.lock_key)
    with contextlib.suppress(FileNotFoundError, LockNotOwnedError):
        lock.do_release(file.read_text())
        logger.info("RedBeat's lock was left by the beat before, and is taken over")
    if lock.locked():
        logger.warning("RedBeat's lock %s is held by a beat elsewhere: waiting for it", scheduler.lock_key)

    def write_down(**_: Any) -> None:
        if scheduler.lock is not None:
            private.write(str(file), scheduler.lock.local.token)

    signals.beat_init.connect(write_down, weak=False)  # after RedBeat's own receiver, which takes the lock
