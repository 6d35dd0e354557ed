"""The fleet's routes as items of Celery's `task_routes`, and back; plan/settings.py says what an item looks like."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.routing.queue import Queue
from celeryfleet.routing.table import LOWEST, Item, RoutingTable, wire

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet, Route

#: how the built-in router is named in fleet.yaml
NAMESPACE = ("celeryfleet.routers.namespace", "celeryfleet.routers:namespace")


def by_route(fleet: Fleet, items: Sequence[Item]) -> tuple[tuple[tuple[Item, ...], ...], tuple[Item, ...]]:
    """Group `task_routes` by the fleet's routes that they come from, and return those that come from none besides.

    The namespace router is one item for each queue, and all others are one for one.
    """
    groups, start = [], 0
    for route in fleet.routes:
        size = len(namespaced(fleet.queues)) if route.router in NAMESPACE else 1
        groups.append(tuple(items[start : start + size]))
        start += size
    return tuple(groups), tuple(items[start:])


def asks_code(route: Route) -> bool:
    """Tell whether a router of the user's decides."""
    return route.router is not None and route.router not in NAMESPACE


def namespaced(queues: Iterable[str]) -> tuple[str, ...]:
    """Name the queues that can stand before the first colon of a task's name."""
    return tuple(name for name in queues if ":" not in name)


def matches(item: Item, task: str) -> bool:
    """Tell whether a `task_routes` item in JSON form, other than a router, applies to a task's name."""
    if "exact" in item:
        return bool(item["exact"] == task)
    if "glob" in item:
        return fnmatch.fnmatchcase(task, item["glob"])
    return re.match(whole(item["regex"]), task) is not None


def whole(regex: str) -> str:
    """Return the expression that matches a whole name, since Celery's `.match` is anchored at the start only."""
    flags = re.match(r"\(\?[aiLmsux]+\)", regex)
    head = flags[0] if flags else ""
    end = "\n" if "x" in head else ""  # a comment in a verbose expression would swallow the parenthesis
    return rf"{head}(?:{regex[len(head) :]}{end})\Z"


def travelling(item: Item) -> tuple[dict[str, Any], Queue | None]:
    """Return the options that Celery gets for an item, and the queue that stands for its exchange; None: none does.

    An exchange that is not direct travels as a queue that nobody declares: by its name Celery would let it go before
    a queue that is asked for.
    """
    options = dict(item["options"])
    if options.get("exchange_type", "direct") == "direct":
        return options, None
    exchange, exchange_type = options.pop("exchange"), options.pop("exchange_type")
    return options, Queue(exchange, exchange, exchange_type, options.pop("routing_key", ""))


# --- From routes to items ---------------------------------------------------------------------------------


def routes(fleet: Fleet, declared: Sequence[Queue], transport: str) -> list[dict[str, Any]]:
    """Return `task_routes` in the written order: one item for each route, and for the namespace router one a queue.

    On Redis a message without a priority has 0, which runs first there. So once priorities are used anywhere, every
    item has one, and the last takes what no route matches: a task that is sent to some queue by name has it too.
    """
    lowest = wire(transport, LOWEST) if transport == "redis" and _ranks(fleet) else None
    items = [item for route in fleet.routes for item in _items(route, declared, transport, lowest)]
    if lowest is not None:
        items.append({"glob": "*", "options": {"queue": fleet.default_queue, "priority": lowest}})
    return items


def _items(route: Route, declared: Sequence[Queue], transport: str, lowest: int | None) -> Iterator[dict[str, Any]]:
    priority = lowest if route.priority is None else wire(transport, route.priority)
    said = {} if priority is None else {"priority": priority}
    if route.router in NAMESPACE:
        for name in namespaced(queue.name for queue in declared):
            yield {"regex": f"(?s:{re.escape(name)}:.*)", "options": {"queue": name, **said}}
    elif route.router is not None:
        yield {"router": route.router, **said}
    else:
        yield {**pattern(route), "options": {**_options(route, declared), **said}}


def _options(route: Route, declared: Sequence[Queue]) -> dict[str, Any]:
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
    if route.headers:
        options["headers"] = route.headers
    return options


def _ranks(fleet: Fleet) -> bool:
    """Tell whether some tasks are to go before others."""
    scheduled = fleet.beat.schedule.values() if fleet.beat else ()
    return (
        any(queue.max_priority is not None for queue in fleet.queues.values())
        or any(route.priority is not None for route in fleet.routes)
        or any("priority" in entry.options for entry in scheduled)
    )


def prioritised(fleet: Fleet, table: RoutingTable) -> set[str]:
    """Name the queues in which some tasks go before others."""
    names = {name for name, queue in fleet.queues.items() if queue.max_priority is not None}
    for route in fleet.routes:
        if route.priority is not None:
            names.update(table.follow(_options(route, table.queues)).queues)
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
