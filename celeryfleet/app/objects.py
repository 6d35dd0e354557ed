"""Makes of a plan's settings, which are JSON, the objects that Celery wants: queues, patterns, routers, crontabs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from celeryfleet.routing.routes import travelling, whole

#: how a sentinel is asked: redis-py would try one that is down for seconds, at each connection, before the next (8.1)
_ASKING = {"retry": None, "socket_timeout": 2.0, "socket_connect_timeout": 1.0}


def celery_objects(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with Celery's own objects where JSON has none: queues, patterns, routers, crontabs."""
    values = dict(settings)
    for key in ("broker_transport_options", "result_backend_transport_options"):
        options = values.get(key) or {}
        if "master_name" in options:
            values[key] = {**options, "sentinel_kwargs": _ASKING | (options.get("sentinel_kwargs") or {})}
    if "task_queues" in values:
        values["task_queues"] = tuple(_queue(queue) for queue in values["task_queues"])
    if "task_routes" in values:
        queues = values.get("task_queues", ())
        values["task_routes"] = tuple(_route(item, queues) for item in values["task_routes"])
    if "beat_schedule" in values:
        values["beat_schedule"] = {name: _beat_entry(entry) for name, entry in values["beat_schedule"].items()}
    return values


def _queue(queue: Mapping[str, Any]) -> Any:
    from kombu.entity import Exchange, Queue

    return Queue(
        queue["name"],
        Exchange(queue["exchange"], type=queue["exchange_type"]),
        routing_key=queue["routing_key"],
        queue_arguments=dict(queue["arguments"]) or None,
        binding_arguments=dict(queue.get("headers", {})) or None,
    )


def _route(item: Mapping[str, Any], queues: Sequence[Any]) -> Any:
    """Return one `task_routes` entry: a mapping of its own, so that the written order holds."""
    if "router" in item:
        from celeryfleet.app.routers import UserRouter

        return UserRouter(item["router"], item.get("priority"))
    options, through = travelling(item)
    if through is not None:
        options["queue"] = _queue(asdict(through))
    if "exchange" in item["options"]:
        # Celery declares queues, not exchanges: on Redis a send to an undeclared exchange is lost.
        options["declare"] = [queue for queue in queues if queue.exchange.name == item["options"]["exchange"]]
    if "regex" in item:
        return {re.compile(whole(item["regex"])): options}
    return {item.get("exact") or item["glob"]: options}


def _beat_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    from celery.schedules import crontab

    schedule = entry["schedule"]
    if isinstance(schedule, Mapping):
        schedule = crontab.from_string(" ".join(schedule["crontab"].split()))
    return {**entry, "schedule": schedule}
