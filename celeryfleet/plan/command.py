"""Pool → the workers to run: their `app.Worker` options, their own settings, and the command that does the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.plan.settings import queues, with_user_settings
from celeryfleet.plan.values import AutoscalePolicy, Health, PoolPlan, RestartPolicy
from celeryfleet.routing.routes import prioritised
from celeryfleet.routing.table import RoutingTable
from celeryfleet.worker_protocol import FLAGS

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet, Pool
    from celeryfleet.plan.facts import Facts

#: the fleet's own heartbeat does their work; mingle alone costs a second of every start
_LEAN = ("mingle", "gossip", "heartbeat")
#: pools that patch Python before anything else is imported
_GREEN = ("gevent", "eventlet")
#: `queue_order_strategy` of kombu: its default, round_robin, ignores the order of -Q
STRATEGIES = {"strict": "priority", "round_robin": "round_robin"}
_BYTES_PER_KIB = 1024
#: processes ended by a task after which it is parked, at the least and at most, where fleet.yaml does not say
_PARK_AFTER = (3, 20)


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
    fork, exec_reason = forks(fleet.preload, pool, facts)
    events = fleet.events if pool.events is None else pool.events
    own = conf(pool, settings, transport, events, facts.cpus)
    otherwise = _defaults(pool, transport, ranked)
    otherwise = {key: value for key, value in otherwise.items() if key not in own and key not in settings}
    return PoolPlan(
        name=name,
        queues=tuple(pool.queues),
        replicas=_replicas(pool),
        argv=argv(fleet, pool, otherwise | own),
        options=options(fleet, pool, events, facts.host),
        conf=own,
        defaults=otherwise,
        env=dict(pool.env),
        fork=fork,
        exec_reason=exec_reason,
        grace=pool.stop_grace_period,
        restart=RestartPolicy(**vars(pool.restart)),
        health=Health(**vars(pool.healthcheck)),
        autoscale=AutoscalePolicy(**vars(pool.autoscale)) if pool.autoscale else None,
        park_after=_park_after(pool),
        app=fleet.app_of(pool),
    )


def _park_after(pool: Pool) -> int:
    """Park a task well before it makes its worker fail; who allows for many restarts expects other causes of them."""
    fewest, most = _PARK_AFTER
    return min(max(fewest, (pool.restart.max_restarts + 1) // 2), most) if pool.park_after is None else pool.park_after


def _replicas(pool: Pool) -> int:
    if pool.autoscale is None:
        return pool.replicas
    return min(max(pool.replicas, pool.autoscale.min), pool.autoscale.max)


def options(fleet: Fleet, pool: Pool, events: bool | None, host: str) -> dict[str, Any]:
    """Return the keyword arguments of `app.Worker`; `{name}` is filled in per worker."""
    return {
        "hostname": f"{{name}}@{fleet.name}.{host}",
        "queues": list(pool.queues),
        "loglevel": _level(fleet, pool),
        "quiet": True,
        **{f"without_{part}": True for part in _without(events)},
    }


def _level(fleet: Fleet, pool: Pool) -> str:
    return (pool.log_level or fleet.logs.level).upper()


def _without(events: bool | None) -> tuple[str, ...]:
    return tuple(part for part in _LEAN if not (events and part == "heartbeat"))


def conf(pool: Pool, settings: Mapping[str, Any], transport: str, events: bool | None, cpus: int) -> dict[str, Any]:
    """Return what fleet.yaml says of this pool's workers, on top of the fleet's settings; `{node}` is filled in."""
    ours: dict[str, Any] = {
        "worker_pool": pool.pool,
        "worker_concurrency": cpus if isinstance(pool.concurrency, str) else pool.concurrency,
        "worker_prefetch_multiplier": pool.prefetch_multiplier,
        "worker_max_tasks_per_child": pool.max_tasks_per_child,
        "worker_max_memory_per_child": _kib(pool.max_memory_per_child),
        "task_time_limit": _number(pool.time_limit),
        "task_soft_time_limit": _number(pool.soft_time_limit),
        "worker_send_task_events": events,
    }
    ours = {key: value for key, value in ours.items() if value is not None}
    if transport == "redis":
        ours["broker_transport_options"] = settings["broker_transport_options"] | {
            "queue_order_strategy": STRATEGIES[pool.order],
            # A worker's own keys: when it is killed, what it had taken can be brought back at once.
            "unacked_key": "unacked:{node}",
            "unacked_index_key": "unacked_index:{node}",
            "unacked_mutex_key": "unacked_mutex:{node}",
        }
    return with_user_settings(ours, dict(pool.celery))


def _defaults(pool: Pool, transport: str, ranked: Collection[str]) -> dict[str, Any]:
    """Return the settings of this pool's workers where neither fleet.yaml nor the app says anything.

    `ranked` are the queues in which some tasks go before others.
    """
    ours: dict[str, Any] = {"worker_pool": "prefork", "worker_concurrency": 1}
    if _in_order(pool, transport, ranked) or pool.autoscale:
        # Nothing can overtake a message that a worker has prefetched, and no new replica can take it.
        ours["worker_prefetch_multiplier"] = 1
    return ours


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


def argv(fleet: Fleet, pool: Pool, own: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the `celery worker` command of a worker with these settings of its own; `{node}` is filled in."""
    flags: list[tuple[str, Any]] = [
        ("-Q", ",".join(pool.queues)),
        ("-n", "{node}"),
        ("-l", _level(fleet, pool)),
        *((flag, own.get(key)) for flag, key in FLAGS.items()),
    ]
    given = [part for flag, value in flags if value is not None for part in (flag, str(value))]
    events = own.get("worker_send_task_events")
    lean = (f"--without-{part}" for part in _without(events))
    return (
        "celery",
        "-A",
        fleet.named_apps[fleet.app_of(pool)].app,
        "worker",
        *given,
        *(["-E"] if events else []),
        *lean,
    )


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
