"""What is to be reached: which figure is held against which, and by what measure it counts as good."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import bulk, commands, kills, peers, resting, starts, tasks
from benchmarks.samples import Key, Samples

#: how many pools the large and the small fleet have
LARGE, SMALL = 16, 4


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table."""

    what: str
    ours: Key
    #: what ours is divided by; None: the limit is for the figure itself
    peer: Key | None
    #: None: shown for comparison only
    limit: float | None
    #: whether more is better
    at_least: bool = False

    def value(self, samples: Samples) -> float | None:
        """Return what is held against the limit: a ratio, or the figure itself; None: it was not measured."""
        ours = samples.median(self.ours)
        if self.peer is None or ours is None:
            return ours
        peer = samples.median(self.peer)
        return ours / peer if peer else None

    def reached(self, samples: Samples) -> bool | None:
        """Tell whether the target is reached; None: there is none, or it was not measured."""
        value = self.value(samples)
        if value is None or self.limit is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def targets(large: int = LARGE, small: int = SMALL) -> tuple[Target, ...]:
    """Return the table for fleets of these sizes."""
    started = (*_starts(large, 0.20), *_starts(small, 0.30))
    return (*started, *_resting(large), *_commands(), *_kills(), *_tasks(), *_bulk())


def _starts(count: int, limit: float) -> tuple[Target, ...]:
    measure, ours = starts.name(count), Key(starts.name(count), peers.EMBEDDED)
    what = f"`up -d --wait`, {count} pools, to all ready"
    lean = peers.named("honcho", lean=True)
    return (
        Target(f"{what} / honcho to all ready", ours, Key(measure, "honcho"), limit),
        Target(f"{what} / honcho with lean flags", ours, Key(measure, lean), None),
        Target(f"{what}, on the shared broker / honcho", Key(measure, peers.FLEET), Key(measure, "honcho"), None),
    )


def _resting(count: int) -> tuple[Target, ...]:
    def against(measure: str, lean: bool) -> tuple[Key, Key]:
        return Key(measure, peers.FLEET), Key(measure, peers.named(peers.PLAIN, lean))

    idle = f"supervisor idle over {count} workers"
    return (
        Target(f"memory of {count} pools / exec'd workers with lean flags", *against(resting.MEMORY, True), 0.55),
        Target("the same after some tasks", *against(resting.WORN, True), None),
        Target(f"{idle}, CPU s/min", Key(resting.KEEPER_CPU, resting.ALONE), None, 0.05),
        Target(f"{idle}, MiB PSS", Key(resting.KEEPER_MEMORY, resting.ALONE), None, 30.0),
        Target("with its fork server, CPU s/min", Key(resting.KEEPER_CPU, peers.FLEET), None, None),
        Target("with its fork server, MiB PSS", Key(resting.KEEPER_MEMORY, peers.FLEET), None, None),
        Target(f"idle CPU of the whole fleet of {count} / plain workers", *against(resting.IDLE, False), 0.30),
        Target("the same / plain workers with lean flags", *against(resting.IDLE, True), None),
    )


def _commands() -> tuple[Target, ...]:
    def ratio(ours: str, peer: str, limit: float) -> Target:
        return Target(f"`{ours}` / `{peer}`", Key(commands.MEASURE, ours), Key(commands.MEASURE, peer), limit)

    return (
        ratio(commands.ON_TERMINAL, commands.CELERY_STATUS, 0.12),
        ratio(commands.PIPED, commands.CELERY_STATUS, 0.05),
        ratio(commands.HEALTH, commands.CELERY_PING, 0.03),
    )


def _kills() -> tuple[Target, ...]:
    ours, what = Key(kills.MEASURE, peers.FLEET), "kill -9 of a worker to its replacement ready"
    lean, own = (Key(kills.MEASURE, peers.named("supervisord", flag)) for flag in (True, False))
    return (
        Target(f"{what} / supervisord with lean flags", ours, lean, 0.10),
        Target(f"{what} / supervisord", ours, own, None),
    )


def _tasks() -> tuple[Target, ...]:
    def ratio(load: tasks.Load, limit: float | None, peer: str = tasks.SAME) -> Target:
        measure = load.measure
        what = f"{load.name}, {load.workers} worker{'s'[: load.workers - 1]} / {peer}"
        return Target(what, Key(measure, peers.FLEET), Key(measure, peer), limit, True)

    others = (tasks.RESULTS, tasks.FOUR_RESULTS, tasks.LATE, tasks.LARGE, tasks.RABBIT)
    return (
        ratio(tasks.ONE, 1.6),
        ratio(tasks.ONE, None, tasks.OWN_FLAGS),
        ratio(tasks.FOUR, 1.5),
        ratio(tasks.FOUR, None, tasks.OWN_FLAGS),
        *(ratio(load, None) for load in others),
    )


def _bulk() -> tuple[Target, ...]:
    def ratio(ours: str, measure: str, peer: str, limit: float | None, what: str) -> Target:
        return Target(f"{what} / {peer}", Key(measure, ours), Key(measure, peer), limit, True)

    same, varying = "tasks sent to Redis, same arguments", "tasks sent to Redis, varying arguments"
    confirmed = "tasks sent to RabbitMQ and confirmed"
    return (
        ratio(bulk.SAME, bulk.REDIS, bulk.LOOP, 40.0, same),
        ratio(bulk.SAME, bulk.REDIS, bulk.LEAN, None, same),
        ratio(bulk.VARYING, bulk.REDIS, bulk.LOOP, 15.0, varying),
        ratio(bulk.VARYING, bulk.REDIS, bulk.LEAN, None, varying),
        ratio(bulk.VARYING, bulk.REDIS, bulk.GROUP, None, varying),
        ratio(bulk.HOOKED, bulk.REDIS, bulk.LOOP, None, "the same, but Celery has to make each message"),
        ratio(bulk.SAME, bulk.RABBIT, bulk.LOOP, 3.0, f"{confirmed}, same arguments"),
        ratio(bulk.VARYING, bulk.RABBIT, bulk.LOOP, 3.0, f"{confirmed}, varying arguments"),
    )
