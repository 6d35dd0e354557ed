"""Finds in a valid fleet what will not do what its author thinks; every finding says what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celeryfleet.plan.routing import destination, matches

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, PoolPlan
    from celeryfleet.spec.model import Fleet

#: seconds, kombu's default on Redis
VISIBILITY_TIMEOUT = 3600.0


class Level(StrEnum):
    """How much a finding matters."""

    WARNING = "warning"  #: something does not work as it is written
    INFO = "info"  #: worth knowing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth telling."""

    code: str
    level: Level
    #: `file:line:column`
    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.level}: {self.what} {self.hint} [{self.code}]"


def lint(fleet: Fleet, plan: Plan, tasks: Collection[str] | None, cpus: int | None = None) -> list[Finding]:
    """Return what is to be said of a fleet, in the order of the rules below.

    `tasks` are the registered names; None: not known. `cpus` are the machine's; None: not looked at.
    """
    findings = [finding for rule in _RULES for finding in rule(fleet, plan)]
    if tasks is not None:
        findings += _routes_without_tasks(fleet, plan, tasks)
    if cpus is not None:
        findings += _more_processes_than_cores(fleet, plan, cpus)
    return findings


def _warning(code: str, where: str, what: str, hint: str) -> Finding:
    return Finding(code, Level.WARNING, where, what, hint)


def _info(code: str, where: str, what: str, hint: str) -> Finding:
    return Finding(code, Level.INFO, where, what, hint)


# --- Queues -----------------------------------------------------------------------------------------------


def _unread_queues(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    read = {queue for pool in fleet.pools.values() for queue in pool.queues}
    for queue in plan.queues:
        if queue.name not in read:
            yield _warning(
                "queue-unread",
                fleet.where("queues", queue.name),
                f'no pool reads the queue "{queue.name}": its tasks wait for ever.',
                "Add it to the `queues` of a pool, or remove it.",
            )


def _unfit_exchanges(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    if plan.broker.kind != "redis":
        return
    for queue in plan.queues:
        if queue.exchange_type == "headers":
            yield _warning(
                "headers-on-redis",
                fleet.where("queues", queue.name, "exchange"),
                f'the queue "{queue.name}" has a headers exchange, which makes workers on Redis reconnect for ever.',
                "Use a topic exchange, or RabbitMQ.",
            )
        elif queue.exchange_type == "fanout":
            yield _warning(
                "fanout-on-redis",
                fleet.where("queues", queue.name, "exchange"),
                f'the queue "{queue.name}" has a fanout exchange, which on Redis loses what no live worker hears '
                "and runs it in each worker that does.",
                "Use a topic exchange with the key #, or RabbitMQ.",
            )


def _unfit_priorities(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    for name, queue in fleet.queues.items():
        if plan.broker.kind == "amqp" and queue.type == "quorum" and queue.max_priority is not None:
            yield _warning(
                "quorum-priority",
                fleet.where("queues", name, "max_priority"),
                f'RabbitMQ refuses the queue "{name}": a quorum queue has no max_priority (406 PRECONDITION_FAILED).',
                "Make it `type: classic`, or drop max_priority.",
            )
    for index, route in enumerate(fleet.routes):
        target = fleet.queues.get(route.queue or "")
        if plan.broker.kind == "amqp" and target and route.priority is not None and target.max_priority is None:
            yield _warning(
                "priority-ignored",
                fleet.where("routes", index, "priority"),
                f'RabbitMQ ignores the priority: the queue "{route.queue}" has no max_priority.',
                f"Give the queue `max_priority: {max(route.priority, 1)}` or more.",
            )


# --- Routes -----------------------------------------------------------------------------------------------


def _lost_routes(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    for index, route in enumerate(fleet.routes):
        item = plan.settings["task_routes"][index]
        if "options" in item and not _reached(plan, item["options"]):
            yield _warning(
                "route-lost",
                fleet.where("routes", index),
                f"no queue gets what this route sends to the exchange "
                f'"{route.exchange}" with the routing key "{route.routing_key or ""}": it is dropped.',
                "Give a queue that exchange and a matching routing_key.",
            )


def _reached(plan: Plan, options: dict[str, Any]) -> tuple[str, ...]:
    return destination(plan.queues, plan.settings["task_default_queue"], options).queues


def _shadowed_routes(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    items = plan.settings["task_routes"][: len(fleet.routes)]
    for index, item in enumerate(items):
        earlier = next((n for n, other in enumerate(items[:index]) if _covers(other, item)), None)
        if earlier is not None:
            yield _warning(
                "route-shadowed",
                fleet.where("routes", index),
                f"this route is never reached: the one in line {fleet.routes[earlier].line} matches first.",
                "The first match wins: move the narrower route up.",
            )


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Tell whether every name that one route matches is surely matched by the other."""
    if "router" in wide or "router" in narrow:
        return False
    if "exact" in narrow:
        return matches(wide, narrow["exact"])
    if wide.get("glob") == "*":
        return True
    same = next(key for key in ("glob", "regex") if key in narrow)
    return bool(wide.get(same) == narrow[same])


def _routes_without_tasks(fleet: Fleet, plan: Plan, tasks: Collection[str]) -> Iterator[Finding]:
    for index, item in enumerate(plan.settings["task_routes"][: len(fleet.routes)]):
        if "router" not in item and not any(matches(item, task) for task in tasks):
            yield _warning(
                "route-unused",
                fleet.where("routes", index),
                "this route matches no task that the app registers.",
                "Correct the name (`celeryfleet tasks` lists them), or remove the route.",
            )


# --- Pools ------------------------------------------------------------------------------------------------


def _ignored_limits(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    for plan_ in plan.pools:
        pool = fleet.pools[plan_.name]
        if plan_.kind == "prefork":
            continue
        dead = ["soft_time_limit"] if plan_.kind in ("gevent", "eventlet") else ["time_limit", "soft_time_limit"]
        for key in [*dead, "max_tasks_per_child", "max_memory_per_child"]:
            if getattr(pool, key) is not None:
                yield _warning(
                    "limit-ignored",
                    fleet.where("pools", plan_.name, key),
                    f"{key} does nothing in a {plan_.kind} pool.",
                    "Use `pool: prefork`, or remove it.",
                )


def _short_visibility(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    if plan.broker.kind != "redis":
        return
    options = plan.settings["broker_transport_options"]
    timeout = options.get("visibility_timeout", VISIBILITY_TIMEOUT)
    for pool in plan.pools:
        limit = _setting(plan, pool, "task_time_limit")
        if _setting(plan, pool, "task_acks_late") and limit is not None and limit > timeout:
            yield _warning(
                "visibility-short",
                fleet.where("pools", pool.name),
                f"a task that runs longer than {timeout:g}s is delivered a second time while it runs: "
                f"task_acks_late is on and the time limit is {limit:g}s.",
                f"Set `broker: {{visibility_timeout: {_above(limit)}}}` or more.",
            )


def _above(seconds: float) -> str:
    return f"{int(seconds // 3600) + 1}h"


def _setting(plan: Plan, pool: PoolPlan, key: str) -> Any:
    return pool.conf.get(key, plan.settings.get(key))


def _killed_on_stop(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    for pool in plan.pools:
        limit = _setting(plan, pool, "task_time_limit")
        if limit is not None and limit > pool.grace:
            fate = "starts anew" if _setting(plan, pool, "task_acks_late") else "is lost"
            yield _info(
                "grace-short",
                fleet.where("pools", pool.name),
                f"a stop waits {pool.grace:g}s, but a task may run {limit:g}s: one that is cut off {fate}.",
                "Raise stop_grace_period to the time limit if that must not be.",
            )


def _greedy_prefetch(fleet: Fleet, plan: Plan) -> Iterator[Finding]:
    for pool in plan.pools:
        multiplier = pool.conf.get("worker_prefetch_multiplier", 1)
        if plan.broker.kind == "redis" and multiplier != 1 and len(pool.queues) > 1:
            yield _info(
                "prefetch-greedy",
                fleet.where("pools", pool.name, "prefetch_multiplier"),
                f'the pool "{pool.name}" takes {multiplier or "any number of"} tasks ahead per process, '
                "so an urgent one waits behind them.",
                "With several queues `prefetch_multiplier: 1` keeps their order.",
            )


def _more_processes_than_cores(fleet: Fleet, plan: Plan, cpus: int) -> Iterator[Finding]:
    processes = {pool.name: pool.replicas * pool.concurrency for pool in plan.pools if pool.kind == "prefork"}
    if sum(processes.values()) > cpus:
        yield _info(
            "processes-over-cores",
            fleet.where("pools"),
            f"{sum(processes.values())} task processes share {cpus} processors.",
            "That is right for tasks that wait, and slow for those that compute.",
        )


_RULES: tuple[Callable[[Fleet, Plan], Iterator[Finding]], ...] = (
    _unread_queues,
    _unfit_exchanges,
    _unfit_priorities,
    _lost_routes,
    _shadowed_routes,
    _ignored_limits,
    _short_visibility,
    _killed_on_stop,
    _greedy_prefetch,
)
