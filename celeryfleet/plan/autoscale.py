"""How many replicas a pool should have now. Pure: what was measured, what was known before and the time are given.

It follows two measurements, not a guess of the user's: how many messages come, and how long a task takes. Their
product is how many tasks run at a time if nothing is to pile up. What has piled up comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from celeryfleet.plan.values import AutoscalePolicy, PoolPlan

#: seconds over which the rate of messages is counted, and seconds of work over which a task's duration is averaged
_RATE_SPAN, _RUNTIME_SPAN = 10.0, 300.0
#: seconds that the oldest message may wait where a policy has no target
_AGE = 30.0
#: a part of a worker that is worth no worker
_SPARE = 0.1
#: a worker that will have done what it has within this part of its grace period may be stopped
_SOON = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What one worker does."""

    #: tasks that run
    active: int = 0
    #: tasks that it has taken, those that run included
    reserved: int = 0
    #: tasks that it has done since it is known
    processed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured of a pool."""

    #: messages in its queues
    ready: int
    #: seconds; None where no message tells
    oldest_age: float | None = None
    #: of its workers, by name
    workers: Mapping[str, Load] = field(default_factory=dict)

    @property
    def active(self) -> int:
        """Count the tasks that run."""
        return sum(load.active for load in self.workers.values())

    @property
    def undone(self) -> int:
        """Count the messages that are not done, in the queues and in the workers."""
        return self.ready + sum(load.reserved for load in self.workers.values())


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier samples have taught."""

    #: the latest one, and when it was taken
    sample: Sample | None = None
    at: float = 0.0
    #: when messages came, in how many seconds, and how many
    came: tuple[tuple[float, float, int], ...] = ()
    #: seconds that tasks ran, and tasks that ended, both fading
    ran: float = 0.0
    ended: float = 0.0
    #: how many replicas there were to be in the end
    replicas: int | None = None
    #: how many replicas were needed, and when, as far back as the cooldown
    needs: tuple[tuple[float, int], ...] = ()

    def after(self, sample: Sample, now: float) -> Memory:
        """Learn from another sample."""
        if self.sample is None:
            return Memory(sample, now)
        old, seconds = self.sample, now - self.at
        ended = sum(
            max(0, load.processed - old.workers[name].processed)
            for name, load in sample.workers.items()
            if name in old.workers
        )
        came = max(0, sample.undone - old.undone + ended)
        ran = (old.active + sample.active) / 2 * seconds
        ages = math.exp(-seconds / _RUNTIME_SPAN) if ran else 1.0
        return Memory(
            sample,
            now,
            came=(*(one for one in self.came if one[0] > now - _RATE_SPAN), (now, seconds, came)),
            ran=self.ran * ages + ran,
            ended=self.ended * ages + ended,
            needs=self.needs,
        )

    @property
    def rate(self) -> float:
        """Return the messages that come in a second."""
        watched = sum(seconds for _, seconds, _ in self.came)
        return sum(count for *_, count in self.came) / watched if watched else 0.0

    @property
    def runtime(self) -> float:
        """Return the seconds that a task takes; one that runs counts as if it ended now."""
        count = self.ended + (self.sample.active if self.sample else 0)
        return self.ran / count if count else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many replicas are wanted, why if that is a change, and which go first if they are fewer."""

    replicas: int
    memory: Memory
    cause: str = ""
    #: names of workers, the idlest one first
    idlest: tuple[str, ...] = ()


def wanted(pool: PoolPlan, policy: AutoscalePolicy, sample: Sample, memory: Memory, now: float) -> Verdict:
    """Decide on the number of replicas of a pool.

    It grows at once to what is needed; it shrinks to the most that was needed within the cooldown, and by no more
    workers than have nothing to do, or soon will. Limits hold at once.
    """
    # What was set by hand, or in fleet.yaml, counts as needed, too.
    given = () if memory.replicas == pool.replicas else ((now, pool.replicas),)
    memory = memory.after(sample, now)
    need, cause = _need(pool, policy, sample, memory)
    needs = (*memory.needs, *given, (now, need))
    recent = tuple((at, one) for at, one in needs if at > now - policy.cooldown)
    aim = need
    if need < pool.replicas:
        loads = sample.workers.values()
        stay = sum(load.reserved * memory.runtime / pool.concurrency > pool.grace * _SOON for load in loads)
        aim = min(pool.replicas, max(stay, need, *(one for _, one in recent)))
    bounded = min(policy.max, max(policy.min, aim))
    memory = replace(memory, needs=recent, replicas=bounded)
    if bounded == pool.replicas:
        return Verdict(bounded, memory)
    if bounded != aim:
        cause = f"{cause}; the limits are {policy.min} and {policy.max}"
    idlest = sorted(sample.workers, key=lambda name: sample.workers[name].reserved)
    return Verdict(bounded, memory, cause, tuple(idlest))


def _need(pool: PoolPlan, policy: AutoscalePolicy, sample: Sample, memory: Memory) -> tuple[int, str]:
    """Return how many replicas are needed, limits aside, and why."""
    age = policy.target_age or (None if policy.target_length else _AGE)
    rate, runtime = memory.rate, memory.runtime
    backlog = sample.ready / age if age else 0.0
    traffic = f"{rate:.2g} messages come a second, a task takes {runtime:.2g} s, and {sample.ready} wait"
    found = [
        (math.ceil((rate + backlog) * runtime / pool.concurrency - _SPARE), traffic),
        (math.ceil(sample.active / pool.concurrency), f"{sample.active} tasks run"),
        (min(1, sample.ready), f"{sample.ready} messages wait"),
    ]
    if policy.target_length:
        each = f"and each worker should have {policy.target_length}"
        found.append((math.ceil(sample.undone / policy.target_length), f"{sample.undone} messages wait or run, {each}"))
    if age and (sample.oldest_age or 0.0) > age:
        found.append((pool.replicas + 1, f"the oldest message has waited {sample.oldest_age:.0f} s"))
    return max(found, key=lambda one: one[0])
