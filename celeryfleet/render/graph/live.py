"""What runs, as a drawing shows it: numbers of queues and pools, and what is to be seen at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mood(StrEnum):
    """How something is: it decides the colour."""

    PLAIN = "plain"  #: nothing to be said of it
    WELL = "well"  #: it runs as wanted
    LATE = "late"  #: amber: it waits too long, or not all of it runs
    BAD = "bad"  #: red: nobody consumes it, or nothing of it runs


@dataclass(frozen=True, slots=True)
class QueueLive:
    """A queue now; None: the broker does not tell."""

    ready: int | None
    unacked: int | None
    #: seconds
    oldest_age: float | None
    consumers: int
    #: older than the queue's max_age
    late: bool
    paused: bool

    @property
    def mood(self) -> Mood:
        """Sum it up."""
        if self.paused:
            return Mood.LATE
        if not self.consumers:
            return Mood.BAD
        return Mood.LATE if self.late else Mood.WELL


@dataclass(frozen=True, slots=True)
class PoolLive:
    """A pool now, in workers."""

    ready: int
    want: int

    @property
    def mood(self) -> Mood:
        """Sum it up; a pool that is wanted with no workers is as it should be."""
        if self.ready >= self.want:
            return Mood.WELL if self.want else Mood.PLAIN
        return Mood.LATE if self.ready else Mood.BAD


@dataclass(frozen=True, slots=True)
class Live:
    """A running fleet, by the names of its queues and pools."""

    #: ready, degraded, starting, stopping or down
    state: str
    queues: Mapping[str, QueueLive]
    pools: Mapping[str, PoolLive]


def live(report: Mapping[str, Any]) -> Live:
    """Take from a report of `status` what a drawing shows."""
    paused = report.get("paused", ())
    return Live(
        report["state"],
        {queue["name"]: _queue(queue, queue["name"] in paused) for queue in report["queues"]},
        {pool["name"]: PoolLive(pool["ready"], pool["want"]) for pool in report["pools"]},
    )


def _queue(queue: Mapping[str, Any], paused: bool) -> QueueLive:
    age, limit = queue["oldest_age_s"], queue.get("max_age")
    late = age is not None and limit is not None and age > limit
    return QueueLive(queue["ready"], queue["unacked"], age, queue["consumers"], late, paused)
