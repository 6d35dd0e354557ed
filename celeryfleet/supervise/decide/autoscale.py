"""How many replicas a pool should have now. Pure: what was measured, what was done before and the time are given."""

from __future__ import annotations

import math
from dataclasses import dataclass

from celeryfleet.plan.values import AutoscalePolicy


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured of a pool's queues."""

    #: messages that wait, those included that a worker has taken and not acknowledged
    waiting: int
    #: seconds; None where no message tells
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What the last decision left to remember."""

    #: replicas wanted so far
    replicas: int
    #: when that last changed; None: never
    changed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many replicas are wanted, and why if that is a change."""

    memory: Memory
    cause: str = ""


def wanted(policy: AutoscalePolicy, sample: Sample, memory: Memory, now: float) -> Verdict:
    """Decide on the number of replicas.

    It grows at once to what the backlog asks for (`target_length` messages each), or by one while the oldest message
    is older than `target_age`; it shrinks by one at a time when fewer would do. Between two changes lies the
    cooldown, but limits hold at once.
    """
    bounded = min(policy.max, max(policy.min, memory.replicas))
    if bounded != memory.replicas:
        return _changed(bounded, now, f"the limits are {policy.min} and {policy.max}")
    if memory.changed_at is not None and now < memory.changed_at + policy.cooldown:
        return Verdict(memory)
    aim, cause = _aim(policy, sample, memory.replicas)
    aim = min(policy.max, max(policy.min, aim))
    return Verdict(memory) if aim == memory.replicas else _changed(aim, now, cause)


def _aim(policy: AutoscalePolicy, sample: Sample, replicas: int) -> tuple[int, str]:
    """Return the number to aim for, limits aside, and why."""
    by_length = math.ceil(sample.waiting / policy.target_length) if policy.target_length else 0
    late = policy.target_age is not None and (sample.oldest_age or 0.0) > policy.target_age
    if by_length > replicas:
        return by_length, f"{sample.waiting} messages wait, and each worker should have {policy.target_length}"
    if late:
        return replicas + 1, f"the oldest message has waited {sample.oldest_age:.0f} s"
    if by_length < replicas and (policy.target_length or not sample.waiting):
        return replicas - 1, f"{sample.waiting} messages wait"
    return replicas, ""


def _changed(replicas: int, now: float, cause: str) -> Verdict:
    return Verdict(Memory(replicas, now), cause)
