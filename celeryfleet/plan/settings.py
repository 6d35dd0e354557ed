"""Fleet → Celery's settings, in JSON's types; `celeryfleet.app` makes Celery's objects of them.

`task_queues` is a list of {name, exchange, exchange_type, routing_key, arguments}. `task_routes` has one item for
each route, in the written order: {"exact" | "glob" | "regex": pattern, "options": {…}} or {"router": "module.attr"};
a regex means the whole name. Priorities in it are those of the wire.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.plan import broker
from celeryfleet.plan.routing import destination, wire
from celeryfleet.plan.values import QueuePlan

if TYPE_CHECKING:
    from celeryfleet.plan.paths import Paths
    from celeryfleet.spec.model import Fleet, Queue, Route

#: dict settings that the user's own add to instead of replacing
MERGED = ("broker_transport_options", "result_backend_transport_options")
LOWEST = 0


def queues(fleet: Fleet) -> tuple[QueuePlan, ...]:
    """Spell every queue out: Celery would give a bare one the default exchange, which duplicates tasks."""
    return tuple(_queue(name, queue) for name, queue in fleet.queues.items())


def _queue(name: str, queue: Queue) -> QueuePlan:
    arguments: dict[str, Any] = {}
    if queue.type is not None:
        arguments["x-queue-type"] = queue.type
    if queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    return QueuePlan(
        name=name,
        exchange=queue.exchange.name if queue.exchange else name,
        exchange_type=queue.exchange.type if queue.exchange else "direct",
        routing_key=queue.routing_key or name,
        arguments=arguments | queue.arguments,
        max_age=queue.max_age,
    )


def settings(fleet: Fleet, paths: Paths) -> dict[str, Any]:
    """Return the settings that every worker and producer of the fleet shares."""
    declared = queues(fleet)
    default = next(queue for queue in declared if queue.name == fleet.default_queue)
    url = broker.broker_url(fleet, paths)
    results = broker.result_backend(fleet, url)
    ours = {
        "broker_url": url,
        "result_backend": results,
        "task_queues": [_queue_json(queue) for queue in declared],
        "task_default_queue": default.name,
        "task_default_exchange": default.exchange,
        "task_default_exchange_type": default.exchange_type,
        "task_default_routing_key": default.routing_key,
        "task_create_missing_queues": False,
        "task_routes": routes(fleet, declared, broker.kind(url)),
        "broker_transport_options": broker.transport_options(fleet, url),
        "broker_connection_retry_on_startup": True,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_extended": True,
    }
    merged = with_user_settings(ours, fleet.celery)
    result_options = broker.result_options(url, results, merged["broker_transport_options"])
    if result_options:
        given = merged.get("result_backend_transport_options", {})
        merged["result_backend_transport_options"] = result_options | given
    return {key: value for key, value in merged.items() if key not in MERGED or value}


def _queue_json(queue: QueuePlan) -> dict[str, Any]:
    return {
        "name": queue.name,
        "exchange": queue.exchange,
        "exchange_type": queue.exchange_type,
        "routing_key": queue.routing_key,
        "arguments": queue.arguments,
    }


def with_user_settings(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Lay the user's settings over ours: theirs win, and transport options are merged."""
    merged = ours | theirs
    for key in MERGED:
        if key in ours and key in theirs:
            merged[key] = ours[key] | theirs[key]
    return merged


# --- Routes -----------------------------------------------------------------------------------------------


def routes(fleet: Fleet, declared: Sequence[QueuePlan], kind: str) -> list[dict[str, Any]]:
    """Return one `task_routes` item for each route, in the written order."""
    ranked = prioritised(fleet, declared) if kind == "redis" else set()
    items = [_route(route, fleet.default_queue, declared, kind, ranked) for route in fleet.routes]
    if fleet.default_queue in ranked:
        options = {"queue": fleet.default_queue, "priority": wire(kind, LOWEST)}
        items.append({"glob": "*", "options": options})
    return items


def _route(route: Route, default: str, declared: Sequence[QueuePlan], kind: str, ranked: set[str]) -> dict[str, Any]:
    if route.router is not None:
        return {"router": route.router}
    options = _options(route, declared)
    if route.priority is not None:
        options["priority"] = wire(kind, route.priority)
    elif ranked.intersection(destination(declared, default, options).queues):
        # On Redis no priority means 0, which is the highest there: such a task would run among the 9s.
        options["priority"] = wire(kind, LOWEST)
    return {**pattern(route), "options": options}


def _options(route: Route, declared: Sequence[QueuePlan]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if route.queue is not None:
        options["queue"] = route.queue
    if route.exchange is not None:
        options["exchange"] = route.exchange
        # Without it Celery takes any exchange for a direct one (celery/app/amqp.py, send_task_message).
        types = (queue.exchange_type for queue in declared if queue.exchange == route.exchange)
        options["exchange_type"] = next(types, "direct")
    if route.routing_key is not None:
        options["routing_key"] = route.routing_key
    return options


def prioritised(fleet: Fleet, declared: Sequence[QueuePlan]) -> set[str]:
    """Name the queues in which some tasks go before others."""
    names = {name for name, queue in fleet.queues.items() if queue.max_priority is not None}
    for route in fleet.routes:
        if route.priority is not None:
            names.update(destination(declared, fleet.default_queue, _options(route, declared)).queues)
    return names


def pattern(route: Route) -> dict[str, str]:
    """Return a route's pattern so that Celery takes it as it is meant.

    Celery sees a glob in `*` alone: `?` and `[]` by themselves would be an exact name (celery/app/routes.py).
    """
    if route.regex is not None:
        return {"regex": route.regex}
    task = route.task or "*"
    if "*" in task:
        return {"glob": task}
    if "?" in task or "[" in task:
        return {"regex": fnmatch.translate(task)[:-2]}  # without its \Z, which newer Pythons write \z
    return {"exact": task}
