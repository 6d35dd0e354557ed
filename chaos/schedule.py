"""A seed → what is sent and what is broken, in which order; pure. How far a run gets is for the clock to say."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What can happen to a fleet."""

    KILL_WORKER = "kill -9 of a worker"
    KILL_CHILD = "kill -9 of a pool's child"
    KILL_FORK_SERVER = "kill -9 of the fork server"
    KILL_SUPERVISOR = "kill -9 of the supervisor, up"
    KILL_BROKER = "kill -9 of the broker"
    KILL_ALL = "kill -9 of the whole fleet, up"
    RAIN = "kill -9 of workers and children, in a rain"
    STOP_WORKER = "STOP, CONT of a worker"
    STOP_CHILD = "STOP, CONT of a pool's child"
    STOP_FORK_SERVER = "STOP, CONT of the fork server"
    STOP_SUPERVISOR = "STOP, CONT of the supervisor"
    STOP_BROKER = "STOP, CONT of the broker"
    STOP_KILL_WORKER = "STOP, then kill -9 of a worker"
    RESTART_BROKER = "restart of the broker"
    CUT = "all connections cut"
    FULL_DISK = "full disk"
    SCALE = "scale"
    RELOAD = "reload with other code"
    ROLLING = "restart --rolling"
    PAUSE = "pause, resume"
    DOWN_UP = "down, up"


#: how often each kind comes, against the others
WEIGHTS = {
    Kind.KILL_WORKER: 8,
    Kind.KILL_CHILD: 6,
    Kind.STOP_KILL_WORKER: 8,
    Kind.RAIN: 6,
    Kind.KILL_FORK_SERVER: 3,
    Kind.KILL_SUPERVISOR: 3,
    Kind.KILL_BROKER: 3,
    Kind.KILL_ALL: 2,
    Kind.STOP_WORKER: 3,
    Kind.STOP_CHILD: 2,
    Kind.STOP_FORK_SERVER: 2,
    Kind.STOP_SUPERVISOR: 2,
    Kind.STOP_BROKER: 2,
    Kind.RESTART_BROKER: 2,
    Kind.CUT: 3,
    Kind.FULL_DISK: 2,
    Kind.SCALE: 6,
    Kind.RELOAD: 3,
    Kind.ROLLING: 2,
    Kind.PAUSE: 3,
    Kind.DOWN_UP: 2,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens."""

    kind: Kind
    #: which of those that it can happen to, from 0 to 1, each; a rain takes them all
    picks: tuple[float, ...]
    #: seconds between its first half and its second, where it has two
    hold: float
    #: replicas
    scale: int
    #: seconds of rest after the fleet has recovered
    rest: float


@dataclass(frozen=True, slots=True)
class Job:
    """A task to send."""

    id: str
    #: the task's name, which is how it acknowledges
    ack: str
    queue: str
    #: seconds of work
    seconds: float
    #: seconds before it is due
    countdown: float | None


@dataclass(frozen=True, slots=True)
class Burst:
    """Tasks that are sent at once, and the seconds of silence after them."""

    jobs: tuple[Job, ...]
    silence: float


LATE, EARLY = "late", "early"
#: tasks of a burst at most, and seconds of silence: some 80 a second
_BURST, _SILENCE = 160, 2.0
#: one task in so many takes long, and one is due later
_LONG, _DUE_LATER = 30, 15


def faults(seed: int, kinds: Collection[Kind] = tuple(Kind)) -> Iterator[Fault]:
    """Give one fault after the other, of these kinds, for ever."""
    random = Random(f"faults {seed}")
    possible = [kind for kind in Kind if kind in kinds]
    weights = [WEIGHTS[kind] for kind in possible]
    while True:
        (kind,) = random.choices(possible, weights)
        picks = tuple(random.random() for _ in range(random.randint(3, 8)))
        yield Fault(kind, picks, random.uniform(0.05, 2.0), random.randint(1, 4), random.uniform(0.0, 0.5))


def bursts(seed: int, queues: Collection[str]) -> Iterator[Burst]:
    """Give one burst of tasks after the other, for ever; no two tasks have one id."""
    random, number = Random(f"load {seed}"), 0
    while True:
        jobs = []
        for _ in range(random.randint(1, _BURST)):
            number += 1
            jobs.append(_job(random, number, sorted(queues)))
        yield Burst(tuple(jobs), random.uniform(0.0, _SILENCE))


def _job(random: Random, number: int, queues: list[str]) -> Job:
    ack = EARLY if random.random() < 0.3 else LATE
    long = random.randrange(_LONG) == 0
    seconds = random.uniform(0.2, 1.5) if long else random.uniform(0.0, 0.02)
    countdown = random.uniform(0.5, 5.0) if random.randrange(_DUE_LATER) == 0 else None
    return Job(f"{ack}-{number}", ack, random.choice(queues), round(seconds, 4), countdown)
