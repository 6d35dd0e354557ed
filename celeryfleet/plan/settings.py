"""Fleet → Celery's settings, in JSON's types; `celeryfleet.app` makes Celery's objects of them.

`task_queues` is a list of {name, exchange, exchange_type, routing_key, arguments} and, where a queue of a headers
exchange wants some, headers. `task_routes` has its items in the written order of the routes: {"exact" | "glob" |
"regex": pattern, "options": {…}} or {"router": "module.attr"}, the latter with the "priority" of answers that have
none; a regex means the whole name. Priorities are those of the wire. `routing.routes.by_route` says which item is of
which route.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from celeryfleet.plan import broker
from celeryfleet.plan.connecting import agreed
from celeryfleet.routing.queue import Queue
from celeryfleet.routing.routes import routes
from celeryfleet.routing.table import transport_of

if TYPE_CHECKING:
    from celeryfleet.fleetfile import model
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.facts import Paths

#: dict settings that the user's own add to instead of replacing
MERGED = ("broker_transport_options", "result_backend_transport_options")


def queues(fleet: Fleet) -> tuple[Queue, ...]:
    """Spell every queue out: Celery would give a bare one the default exchange, which duplicates tasks."""
    delays = _delays_on_the_broker(fleet)
    return tuple(_queue(name, queue, delays) for name, queue in fleet.queues.items())


def _delays_on_the_broker(fleet: Fleet) -> bool:
    """Tell whether Celery has RabbitMQ hold what is due later, in place of the workers.

    It does so for a whole app as soon as one of its queues is a quorum queue, but not where an exchange is direct:
    there such tasks fill a worker's prefetch until they are due, and it stands still (seen in 5.7).
    """
    url = str(fleet.celery.get("broker_url", fleet.broker.url))
    types = {queue.arguments.get("x-queue-type", queue.type) for queue in fleet.queues.values()}
    return transport_of(url) == "amqp" and "quorum" in types


def _queue(name: str, queue: model.Queue, delays: bool = False) -> Queue:
    if delays and queue.exchange is None:
        # A name of its own: a direct exchange of the queue's name may be there from before. Delayed messages are
        # found by the end of their key, where "bulk.mail" would be taken for "mail", too.
        exchange = (f"{name}.topic", "topic", queue.routing_key or name.replace(".", ":"))
    else:
        written = queue.exchange
        exchange = (written.name if written else name, written.type if written else "direct", queue.routing_key or name)
    arguments: dict[str, Any] = {}
    if queue.type is not None:
        arguments["x-queue-type"] = queue.type
    if queue.max_priority is not None:
        arguments["x-max-priority"] = queue.max_priority
    if queue.max_length is not None:
        arguments["x-max-length"] = queue.max_length
    return Queue(
        name=name,
        exchange=exchange[0],
        exchange_type=exchange[1],
        routing_key=exchange[2],
        arguments=arguments | queue.arguments,
        max_age=queue.max_age,
        headers=queue.headers,
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
        "task_routes": routes(fleet, declared, transport_of(url)),
        "broker_transport_options": broker.transport_options(fleet, url),
        "broker_connection_retry_on_startup": True,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_extended": True,
    }
    merged = with_user_settings(ours, fleet.celery) | {"broker_url": url}
    if merged["broker_transport_options"].get("confirm_publish") and "task_routes" not in fleet.celery:
        merged["task_routes"] = [_mandatory(item) for item in merged["task_routes"]]
    merged |= agreed(merged, str(PurePath(fleet.file).parent), fleet.where)
    return {key: value for key, value in merged.items() if key not in MERGED or value}


def _queue_json(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "exchange": queue.exchange,
        "exchange_type": queue.exchange_type,
        "routing_key": queue.routing_key,
        "arguments": queue.arguments,
        **({"headers": queue.headers} if queue.headers else {}),
    }


def with_user_settings(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Lay the user's settings over ours: theirs win, and transport options are merged."""
    merged = ours | theirs
    for key in MERGED:
        if key in ours and key in theirs:
            merged[key] = ours[key] | theirs[key]
    return merged


def _mandatory(item: dict[str, Any]) -> dict[str, Any]:
    """Have RabbitMQ give back what a route sends to an exchange and no queue takes."""
    options = item.get("options", {})
    return {**item, "options": {**options, "mandatory": True}} if "exchange" in options else item
