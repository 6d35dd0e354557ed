"""Pool → the workers to run: their `app.Worker` options, their own settings, and the command that does the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.plan.settings import queues, with_user_settings
from celeryfleet.plan.values import AutoscalePolicy, Health, PoolPlan, RestartPolicy
from celeryfleet.routing.routes import prioritised
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet, Pool
    from celeryfleet.plan.facts import Facts

#: the fleet's own heartbeat does their work; mingle alone costs a second of every start
_LEAN = ("mingle", "gossip", "heartbeat")
#: pools that patch Python before anything else is imported
_GREEN = ("gevent", "eventlet")
#: `queue_order_strategy` of kombu: its default, round_robin, ignores the order of -Q
_STRATEGIES = {"strict": "priority", "round_robin": "round_robin"}
_BYTES_PER_KIB = 1024
#: processes ended by a task after which it is parked, at the least and at most, where fleet.yaml does not say
_PARK_AFTER = (3, 20)
#: flags of `celery worker` for a worker's own settings
_FLAGS = {
    "--prefetch-multiplier": "worker_prefetch_multiplier",
    "--max-tasks-per-child": "worker_max_tasks_per_child",
    "--max-memory-per-child": "worker_max_memory_per_child",
    "--time-limit": "task_time_limit",
    "--soft-time-limit": "task_soft_time_limit",
}


def pool_plan(
    fleet: Fleet, name: str, settings: Mapping[str, Any], transport: str, ranked: Collection[str], facts: Facts
) -> PoolPlan:
    """Plan the workers of one pool; `settings` and `ranked` queues are the fleet's, `transport` its broker's."""
    pool = fleet.pools[name]
    if pool.autoscale is not None and transport == "other":
        where = fleet.where("pools", name, "autoscale")
        raise FleetError(
            "autoscale needs Redis or RabbitMQ: of others nobody knows what waits.", where, "Give the pool `replicas`."
        )
    concurrency = facts.cpus if isinstance(pool.concurrency, str) else pool.concurrency
    fork, exec_reason = forks(fleet.preload, pool, facts)
    own = conf(pool, settings, transport, ranked)
    return PoolPlan(
        name=name,
        queues=tuple(pool.queues),
        replicas=_replicas(pool),
        implementation=pool.pool,
        concurrency=concurrency,
        argv=argv(fleet, pool, concurrency, own),
        options=options(fleet, pool, concurrency, facts.host),
        conf=own,
        env=dict(pool.env),
        fork=fork,
        exec_reason=exec_reason,
        grace=pool.stop_grace_period,
        restart=RestartPolicy(**vars(pool.restart)),
        health=Health(**vars(pool.healthcheck)),
        autoscale=AutoscalePolicy(**vars(pool.autoscale)) if pool.autoscale else None,
        park_after=_park_after(pool),
    )


def _park_after(pool: Pool) -> int:
    """Park a task well before it makes its worker fail; who allows for many restarts expects other causes of them."""
    fewest, most = _PARK_AFTER
    return min(max(fewest, (pool.restart.max_restarts + 1) // 2), most) if pool.park_after is None else pool.park_after


def _replicas(pool: Pool) -> int:
    if pool.autoscale is None:
        return pool.replicas
    return min(max(pool.replicas, pool.autoscale.min), pool.autoscale.max)


def options(fleet: Fleet, pool: Pool, concurrency: int, host: str) -> dict[str, Any]:
    """Return the keyword arguments of `app.Worker`; `{name}` is filled in per worker."""
    return {
        "hostname": f"{{name}}@{fleet.name}.{host}",
        "queues": list(pool.queues),
        "concurrency": concurrency,
        "pool": pool.pool,
        "loglevel": _level(fleet, pool),
        "quiet": True,
        **{f"without_{part}": True for part in _without(pool)},
    }


def _level(fleet: Fleet, pool: Pool) -> str:
    return (pool.log_level or fleet.logs.level).upper()


def _without(pool: Pool) -> tuple[str, ...]:
    return tuple(part for part in _LEAN if not (pool.events and part == "heartbeat"))


def conf(pool: Pool, settings: Mapping[str, Any], transport: str, ranked: Collection[str]) -> dict[str, Any]:
    """Return the settings of this pool's workers on top of the fleet's; `{node}` is filled in per worker.

    `ranked` are the queues in which some tasks go before others.
    """
    prefetch = pool.prefetch_multiplier
    if prefetch is None and (_in_order(pool, transport, ranked) or pool.autoscale):
        prefetch = 1  # nothing can overtake a message that a worker has prefetched, and no new replica can take it
    ours: dict[str, Any] = {
        "worker_pool": pool.pool,
        "worker_prefetch_multiplier": prefetch,
        "worker_max_tasks_per_child": pool.max_tasks_per_child,
        "worker_max_memory_per_child": _kib(pool.max_memory_per_child),
        "task_time_limit": _number(pool.time_limit),
        "task_soft_time_limit": _number(pool.soft_time_limit),
        "worker_send_task_events": True if pool.events else None,
        # After a lost connection Celery raises the prefetch again whenever a task ends, and waits for RabbitMQ's answer
        # where that is: in a thread, while the main thread reads the same socket, and both wait for ever.
        "worker_enable_prefetch_count_reduction": False if (pool.pool, transport) == ("threads", "amqp") else None,
    }
    ours = {key: value for key, value in ours.items() if value is not None}
    if transport == "redis":
        ours["broker_transport_options"] = settings["broker_transport_options"] | {
            "queue_order_strategy": _STRATEGIES[pool.order],
            # A worker's own keys: when it is killed, what it had taken can be brought back at once.
            "unacked_key": "unacked:{node}",
            "unacked_index_key": "unacked_index:{node}",
            "unacked_mutex_key": "unacked_mutex:{node}",
        }
    return with_user_settings(ours, dict(pool.celery))


def ranked(fleet: Fleet, transport: str) -> set[str]:
    """Name the queues in which the broker has some tasks go before others."""
    declared = queues(fleet)
    if transport == "redis":
        return prioritised(fleet, RoutingTable(declared, transport, fleet.default_queue))
    return {queue.name for queue in declared if transport == "amqp" and "x-max-priority" in queue.arguments}


def _in_order(pool: Pool, transport: str, ranked: Collection[str]) -> bool:
    several = transport == "redis" and len(pool.queues) > 1 and pool.order == "strict"
    return several or not set(ranked).isdisjoint(pool.queues)


def _kib(size: int | None) -> int | None:
    return None if size is None else max(1, size // _BYTES_PER_KIB)


def argv(fleet: Fleet, pool: Pool, concurrency: int, own: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the `celery worker` command of a worker with these settings of its own; `{node}` is filled in."""
    flags: list[tuple[str, Any]] = [
        ("-Q", ",".join(pool.queues)),
        ("-n", "{node}"),
        ("-c", concurrency),
        ("-P", pool.pool),
        ("-l", _level(fleet, pool)),
        *((flag, own.get(key)) for flag, key in _FLAGS.items()),
    ]
    given = [part for flag, value in flags if value is not None for part in (flag, str(value))]
    events = ["-E"] if pool.events else []
    return ("celery", "-A", fleet.app, "worker", *given, *events, *(f"--without-{part}" for part in _without(pool)))


def _number(seconds: float | None) -> float | int | None:
    return int(seconds) if seconds is not None and seconds == int(seconds) else seconds


def forks(preload: str, pool: Pool, facts: Facts) -> tuple[bool, str]:
    """Decide whether a pool's workers fork from the preloaded app; if not though it was asked for, say why."""
    if preload == "false":
        return False, ""
    if pool.pool in _GREEN:
        return False, f"{pool.pool} patches Python, which must come before the import"
    if not facts.can_fork:
        return False, "workers are forked from a preloaded app on Linux only"
    if preload == "auto" and pool.env:
        names = ", ".join(sorted(pool.env))
        return False, f"the pool sets env ({names}), which must be there before the import"
    return True, ""
