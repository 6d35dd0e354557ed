"""The routes of an app that knows no fleet (`task_routes`) as the routes of a fleet.yaml that do the same."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from celeryfleet.routing.table import LOWEST, wire

#: what a route of fleet.yaml can say of a message
_KEYS = ("queue", "exchange", "routing_key", "priority")


def routes_of(task_routes: Any, transport: str, default_queue: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return routes in their order, the first match wins, and what of `task_routes` cannot be written as one."""
    routes: list[dict[str, Any]] = []
    lost: list[str] = []
    several = isinstance(task_routes, list | tuple)
    for item in () if not task_routes else task_routes if several else (task_routes,):
        if isinstance(item, Mapping | list | tuple):
            pairs = list(item.items() if isinstance(item, Mapping) else item)
            if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                lost.append(f"{item!r} in task_routes is no route, to Celery neither")
                continue
            # In one mapping an exact name goes before all patterns, wherever it stands (celery/app/routes.py MapRoute).
            for pattern, answer in sorted(pairs, key=lambda pair: not isinstance(pair[0], str) or "*" in pair[0]):
                routes += _route(pattern, answer, transport, lost)
        else:
            path = item if isinstance(item, str) else _path(item)
            routes += [{"router": path}] if path else []
            lost += [] if path else [f"the router {type(item).__name__} of task_routes has no path to import it by"]
    if transport == "redis" and routes[-1:] == [{"task": "*", "queue": default_queue, "priority": LOWEST}]:
        # They are a fleet's, which adds this one itself and gives the lowest to all that name none.
        lowest = {"priority": LOWEST}
        routes = [{key: route[key] for key in route if {key: route[key]} != lowest} for route in routes[:-1]]
    elif transport == "redis" and any("priority" in route for route in routes):
        # To Celery what has no priority is 0, which Redis runs first; in a fleet it would run last.
        routes.append({"task": "*", "queue": default_queue})
        routes = [route if "router" in route else {"priority": wire(transport, 0), **route} for route in routes]
        routes = [{key: route[key] for key in ("task", "regex", "router", *_KEYS) if key in route} for route in routes]
    return routes, lost


def _route(pattern: Any, answer: Any, transport: str, lost: list[str]) -> Iterator[dict[str, Any]]:
    if isinstance(pattern, re.Pattern):  # which Celery matches at the start of a name only
        named = pattern.pattern if pattern.pattern.endswith(("$", r"\Z", ".*")) else f"(?:{pattern.pattern}).*"
        route = {"regex": named}
    else:
        route = {"task": str(pattern)}
    options = dict(answer) if isinstance(answer, Mapping) else {"queue": answer}
    said = {key: getattr(value, "name", value) for key, value in options.items() if value is not None}
    if "queue" in said:  # which decides alone
        said = {key: value for key, value in said.items() if key not in ("exchange", "exchange_type", "routing_key")}
    if isinstance(said.get("priority"), int):
        said["priority"] = wire(transport, said["priority"])
    dropped = [key for key in said if key not in (*_KEYS, "exchange_type")]
    if dropped:
        lost.append(f"{', '.join(dropped)} of the route of {next(iter(route.values()))}: a route decides where only")
    kept = {key: said[key] for key in _KEYS if key in said}
    if kept:
        yield {**route, **kept}


def _path(router: Any) -> str:
    """Name what a router can be imported by: itself, or a class that makes its like; empty: nothing."""
    named = router if hasattr(router, "__qualname__") else type(router)
    path = f"{named.__module__}.{named.__qualname__}"
    if getattr(sys.modules.get(named.__module__), named.__qualname__, None) is not named:
        return ""
    return path if named is router or not vars(router) else ""
