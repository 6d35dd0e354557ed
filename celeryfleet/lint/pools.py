"""Rules about pools: limits that do nothing, orders that are not kept, and stops that cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.text import duration, quoted

if TYPE_CHECKING:
    from celeryfleet.plan.values import PoolPlan

GREEN = ("gevent", "eventlet")
#: limits of a pool → the settings they are
_LIMITS = {
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "max_memory_per_child": "worker_max_memory_per_child",
}


# --- What does nothing ------------------------------------------------------------------------------------


@rule("CF030", "limit-ignored", "A limit that this kind of pool does not enforce", Level.WARNING)
def ignored_limits(case: Case) -> Iterator[Found]:
    """Find limits on pools that have no child processes to kill."""
    for pool in case.plan.pools:
        for key, setting in _LIMITS.items():
            if _enforces(pool.implementation, key) or not case.setting(pool, setting):
                continue
            own = (("pools", pool.name, key), ("pools", pool.name, "celery", setting))
            written = any(case.fleet.wrote(*path) for path in own)
            whose = " of the app's settings" if case.of_the_app(pool, setting) else ""
            yield Found(
                case.where(*own, ("pools", pool.name, "pool")),
                f"{key if case.fleet.wrote(*own[0]) else setting}{whose} does nothing in a {pool.implementation} pool.",
                "Use `pool: prefork`, or remove it."
                if written
                else "Use `pool: prefork`, or know that none holds here.",
            )
    yield from _ignored_by_task(case)


def _enforces(kind: str, key: str) -> bool:
    return kind == "prefork" or (kind in GREEN and key == "time_limit")


def _ignored_by_task(case: Case) -> Iterator[Found]:
    """Find limits in tasks' own code, for tasks that such a pool runs."""
    for pool in case.plan.pools:
        for key in ("time_limit", "soft_time_limit"):
            named = [task for task in case.run_by(pool) if case.limited(task, key)]
            if named and not _enforces(pool.implementation, key):
                yield Found(
                    case.fleet.where("pools", pool.name, "pool"),
                    f"the {key} in the code of {quoted(named)} does nothing in a {pool.implementation} pool.",
                    "Use `pool: prefork`, or send them to a queue that such a pool reads.",
                )


@rule("CF037", "autoscaler-ignored", "Celery's own autoscaler", Level.WARNING)
def autoscaler(case: Case) -> Iterator[Found]:
    """Find the setting of a part that no worker of a fleet starts."""
    paths: list[tuple[str, ...]] = [("celery", "worker_autoscaler")]
    paths += [("pools", pool.name, "celery", "worker_autoscaler") for pool in case.plan.pools]
    for path in paths:
        if case.fleet.wrote(*path):
            yield Found(
                case.fleet.where(*path),
                "worker_autoscaler does nothing: a worker of a fleet keeps its concurrency; pools grow by replicas.",
                "Remove it, and give the pool `autoscale: {min: 1, max: 4}`.",
            )


@rule("CF038", "pool-not-installed", "A pool whose module is not installed", Level.WARNING, "machine")
def not_installed(case: Case) -> Iterator[Found]:
    """Find gevent and eventlet pools without gevent and eventlet."""
    for pool in case.plan.pools:
        if case.machine is not None and pool.implementation in case.machine.absent:
            yield Found(
                case.fleet.where("pools", pool.name, "pool"),
                f"{pool.implementation} is not installed here: the workers of this pool cannot start.",
                f"pip install {pool.implementation}",
            )


# --- Order ------------------------------------------------------------------------------------------------


@rule("CF032", "prefetch-greedy", "Tasks taken ahead, past which nothing can go", Level.INFO)
def greedy_prefetch(case: Case) -> Iterator[Found]:
    """Find pools that take so much ahead that the order of their queues means little."""
    for pool in case.plan.pools:
        multiplier = pool.conf.get("worker_prefetch_multiplier", 1)
        if case.on_redis and multiplier != 1 and len(pool.queues) > 1:
            yield Found(
                case.where(
                    ("pools", pool.name, "prefetch_multiplier"),
                    ("pools", pool.name, "celery", "worker_prefetch_multiplier"),
                    ("pools", pool.name),
                ),
                f'the pool "{pool.name}" takes {multiplier or "any number of"} tasks ahead per process, '
                "so an urgent one waits behind them.",
                "With several queues `prefetch_multiplier: 1` keeps their order.",
            )


@rule("CF033", "starvation", "A queue that is read only while others are empty", Level.INFO)
def starvation(case: Case) -> Iterator[Found]:
    """Find queues that no pool reads first, nor in turn: under constant load before them, they wait for ever."""
    if not case.on_redis:
        return
    served = {
        queue
        for name, pool in case.fleet.pools.items()
        for queue in (pool.queues if pool.order == "round_robin" else pool.queues[:1])
    }
    starving: dict[str, list[str]] = {}  # by the first pool that reads them
    for queue in case.plan.queues:
        behind = [pool.name for pool in case.plan.pools if queue.name in pool.queues]
        if behind and queue.name not in served:
            starving.setdefault(behind[0], []).append(queue.name)
    for name, queues in starving.items():
        read = case.fleet.pools[name].queues
        before = [queue for queue in read[: max(map(read.index, queues))] if queue not in queues]
        yield Found(
            case.fleet.where("pools", name, "queues"),
            f"no pool reads {quoted(queues)} first: while {quoted(before)} never "
            f"{'runs' if len(before) == 1 else 'run'} dry, tasks do not run there at all.",
            "Right if they may wait that long; else a pool that has it first, or `order: round_robin`.",
        )


@rule("CF034", "order-ignored", "An order of queues that the broker does not keep", Level.INFO)
def ignored_order(case: Case) -> Iterator[Found]:
    """Find pools whose strict order cannot be had: RabbitMQ hands out what it has, to whom it likes."""
    if case.on_redis:
        return
    several = [pool for pool in case.plan.pools if len(pool.queues) > 1]
    for pool in several:
        if case.fleet.wrote("pools", pool.name, "order") and case.fleet.pools[pool.name].order == "strict":
            yield Found(
                case.fleet.where("pools", pool.name, "order"),
                f'{_broker(case)} does not keep the order of the queues of "{pool.name}": it delivers from all of '
                "them, in turn.",
                "Give what must go first a pool of its own, or one queue with max_priority.",
                Level.WARNING,
            )
    plain = [pool.name for pool in several if not case.fleet.wrote("pools", pool.name, "order")]
    if plain:
        yield Found(
            case.fleet.where("pools", plain[0], "queues"),
            f"{_broker(case)} does not keep the order in which a pool names its queues "
            f"({', '.join(plain)}): it delivers from all of them, in turn.",
            "Write `order: round_robin`, which it is; or give what must go first a pool of its own.",
        )


def _broker(case: Case) -> str:
    return "RabbitMQ" if case.on_rabbitmq else "this broker"


# --- Stops ------------------------------------------------------------------------------------------------


@rule("CF031", "grace-short", "A stop that cuts off a task which may run longer", Level.INFO)
def short_grace(case: Case) -> Iterator[Found]:
    """Find pools whose tasks may run longer than a stop waits."""
    for pool in case.plan.pools:
        limit, late = case.setting(pool, "task_time_limit"), case.setting(pool, "task_acks_late")
        tasks = case.run_by(pool)
        again = [] if late else [task for task in tasks if case.runs.get(task, {}).get("acks_late")]
        if limit and limit > pool.grace:
            fate = "starts anew" if late else "is lost"
            fate += f", but {quoted(again)}, acknowledged late, {_starts(again)} anew" if again else ""
            yield _cut_off(case, pool, f"a task may run {duration(limit)}: one that is cut off {fate}.")
            continue
        longer = {task: own for task in tasks if (own := case.limited(task, "time_limit") or 0) > pool.grace}
        if longer and _enforces(pool.implementation, "time_limit"):
            kept = [task for task in longer if late or task in again]
            lost = [task for task in longer if task not in kept]
            fates = [f"{quoted(lost)} {'is' if len(lost) == 1 else 'are'} lost"] if lost else []
            fates += [f"{quoted(kept)} {_starts(kept)} anew"] if kept else []
            most = duration(max(longer.values()))
            yield _cut_off(case, pool, f"by their own code tasks may run {most}: if cut off, {' and '.join(fates)}.")


def _starts(tasks: Sequence[str]) -> str:
    return "starts" if len(tasks) == 1 else "start"


def _cut_off(case: Case, pool: PoolPlan, what: str) -> Found:
    hint = "Raise stop_grace_period to the time limit if that must not be."
    return Found(case.fleet.where("pools", pool.name), f"a stop waits {duration(pool.grace)}, but {what}", hint)


RULES = (
    ignored_limits,
    short_grace,
    greedy_prefetch,
    starvation,
    ignored_order,
    autoscaler,
    not_installed,
)
