"""One beat at a time of those that hosts run on a broker they share: who holds the lease sends, the others stand by.

The process that sends holds the lease itself, and looks at it before each task: one that was stopped, or cut off, has
lost it and finds that out before it sends again. What goes out of its hands meanwhile is refused by the broker (see
redis_lease.py and rabbit_lease.py). When each task was last sent goes with the lease, so that whoever takes it over
sends what is due since then, and nothing again.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery.utils.log import get_logger

from celeryfleet.records import Record
from celeryfleet.worker_protocol import Beat

logger = get_logger(__name__)

#: seconds between two tries to have it
WAIT = 0.5
#: into how many parts its time is divided: its holder renews it after one, and counts it as over one before it is
PARTS = 6
_OVER = "its lease is over; it stood still, or did not reach the broker"


class LostError(BaseException):
    """The lease is not ours any more; not an Exception, which Celery's scheduler would log, and go on."""


class DeniedError(Exception):
    """The broker does not let this user keep a lease."""


class Lease(ABC):
    """A lease in some broker."""

    #: seconds that it certainly lasts since the broker was asked last
    lasts: float
    #: the host that has it, as far as is known
    holder = ""
    #: what its methods raise where the broker cannot be reached
    errors: tuple[type[Exception], ...] = ()

    @abstractmethod
    def take(self) -> bool:
        """Ask for the lease, or ask to keep it; tell whether it is ours. Raises DeniedError."""

    @abstractmethod
    def sent(self) -> Mapping[str, float]:
        """Return when each task of the schedule was last sent, in unix seconds; it is ours since just now."""

    @abstractmethod
    def let_go(self) -> None:
        """Let go of connections that may be broken, and connect anew the next time."""

    def sending(self, name: str) -> None:  # noqa: B027
        """Have the broker refuse what is sent for this entry if the lease is not ours any more; empty: no entry."""

    def has_sent(self, name: str) -> None:  # noqa: B027
        """Keep that an entry was just sent."""

    def close(self) -> None:
        """Give the lease back."""
        self.let_go()


def now() -> float:
    """Return seconds of a clock that goes on while the process, or the machine, sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def guard(scheduler: Any, options: Mapping[str, Any], tell: Callable[[Record], object]) -> Guard:
    """Have a scheduler send only while it holds the lease of its fleet, for `options["lease"]` seconds at a time."""
    from celeryfleet.worker.rabbit_lease import RabbitLease
    from celeryfleet.worker.redis_lease import RedisLease

    fleet, host, seconds = (options[key] for key in ("fleet", "host", "lease"))
    # What could not be sent is due as before: another try, which might go by another connection, is the next one's.
    scheduler.app.conf.task_publish_retry = False
    if scheduler.app.connection_for_write().transport.driver_type == "redis":
        return Guard(scheduler, RedisLease(scheduler.app, fleet, host, seconds), tell)
    return Guard(scheduler, RabbitLease(scheduler, fleet, host, seconds), tell)


class Guard:
    """Has a scheduler send only while it holds the lease."""

    def __init__(self, scheduler: Any, lease: Lease, tell: Callable[[Record], object]) -> None:
        self._scheduler, self._lease, self._tell = scheduler, lease, tell
        self._tick, self._send = scheduler.tick, scheduler.apply_async
        #: until when it is ours for certain, and when it is to be renewed; none: it is not ours
        self._until: float | None = None
        self._renew_at = 0.0
        self._told: Record | None = None
        self._trouble = ""
        scheduler.tick, scheduler.apply_async = self.tick, self.apply_async
        self.close = lease.close

    def tick(self) -> float:
        """Send what is due, if the lease is ours; return the seconds until the next look."""
        try:
            if (self._until is None or now() >= self._renew_at) and not self._hold():
                return WAIT
            wait = self._tick()
        except LostError as error:
            logger.warning("beat stops sending: %s", error)
            self._until = None
            self._lease.let_go()
            return WAIT
        left = max(0.0, self._renew_at - now())
        return left if wait is None else min(wait, left)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send one task, as the scheduler does, if the lease is ours. Raises LostError."""
        try:
            if self._until is None or now() >= self._until:
                raise LostError(_OVER)
            self._lease.sending(entry.name)
            result = self._send(entry, producer=producer, advance=advance, **options)
        except LostError:
            self._not_sent(entry)
            raise
        except Exception as error:
            if not self._outage(error):
                raise
            self._not_sent(entry)
            raise LostError(f"the broker cannot be reached: {error}") from error
        finally:
            self._lease.sending("")
        try:
            self._lease.has_sent(entry.name)
        except self._lease.errors as error:
            raise LostError(f"the broker cannot be reached: {error}") from error
        return result

    def _hold(self) -> bool:
        """Take the lease, or keep it; tell whether it is ours. Raises LostError where it was ours and is no more."""
        asked, had = now(), self._until
        try:
            if had is not None and asked >= had:
                raise LostError(_OVER)
            ours = self._lease.take()
            if ours and had is None:
                self._resume(self._lease.sent())
                asked = now()  # it may have taken its time
                ours = self._lease.take()
        except DeniedError as error:
            logger.warning("no lease can be had, so let beat run on one host only: %s", error)
            ours, asked = True, asked + 1e9  # for good
        except self._lease.errors as error:
            if had is not None:
                raise LostError(f"the broker cannot be reached: {error}") from error
            if not self._trouble:
                self._trouble = str(error)
                logger.error("beat cannot reach the broker, and tries again: %s", error)
            self._lease.let_go()
            self._say(Beat(connecting=True, loop_busy=True))
            return False
        if not ours:
            holder = self._lease.holder
            if had is not None:
                raise LostError(f"its lease was taken over by host {holder}")
            self._say(Beat(consuming=True, loop_busy=True, standby=f"host {holder}" if holder else "another host"))
            return False
        part = self._lease.lasts / PARTS
        self._until, self._renew_at = asked + self._lease.lasts - part, asked + part
        self._say(Beat(consuming=True, loop_busy=True))
        return True

    def _say(self, beat: Beat) -> None:
        """Tell the supervisor how it is, if that has changed."""
        if beat == self._told:
            return
        self._told = beat
        self._tell(beat)
        if not beat.connecting:
            self._trouble = ""
            logger.info(
                f"beat stands by: it runs on {beat.standby}" if beat.standby else "beat has the lease, and sends"
            )

    def _resume(self, sent: Mapping[str, float]) -> None:
        """Go on where the one before has stopped."""
        schedule = self._scheduler.schedule
        for name, at in sent.items():
            entry = schedule.get(name)
            if entry is not None and (entry.last_run_at is None or entry.last_run_at.timestamp() < at):
                entry.last_run_at = datetime.fromtimestamp(at, getattr(entry.last_run_at, "tzinfo", None))
        self._scheduler.populate_heap()

    def _not_sent(self, entry: Any) -> None:
        """Have an entry be due as it was before: Celery counts it as sent before it is."""
        known = self._scheduler.schedule.get(entry.name)
        if known is not None:
            known.last_run_at = entry.last_run_at

    def _outage(self, error: BaseException) -> bool:
        """Tell whether this came of a broker that cannot be reached, rather than of what was to be sent."""
        lost = self._scheduler.connection.recoverable_connection_errors
        came_of = error.__context__
        return isinstance(came_of, OSError) or isinstance(getattr(came_of, "__cause__", None), lost)
