"""Rules about routes: those that never decide, and where what they send ends up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from celeryfleet.lint.queues import arguments
from celeryfleet.lint.values import Case, Found, Level, RouterFault, rule
from celeryfleet.routing.routes import asks_code, by_route, matches
from celeryfleet.routing.table import Item, headers_text
from celeryfleet.text import counted, quoted

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Route
    from celeryfleet.routing.queue import Queue


def grouped(case: Case) -> Iterator[tuple[int, Route, tuple[Item, ...]]]:
    """Go through the routes, each with its place and what Celery gets for it."""
    groups, _ = by_route(case.fleet, case.plan.routing.routes)
    return zip(range(len(groups)), case.fleet.routes, groups, strict=True)


# --- Rules that need fleet.yaml alone ---------------------------------------------------------------------


@rule("CF020", "route-lost", "A route whose messages reach no queue", Level.WARNING)
def lost(case: Case) -> Iterator[Found]:
    """Find routes to an exchange that has no queue for their key."""
    table = case.plan.routing
    for index, route, items in grouped(case):
        sent = [item for item in items if "options" in item]
        targets = (table.follow_route(item["options"], item.get("exact")) for item in sent)
        target = next((target for target in targets if not target.queues), None)
        if target is None or _keyless(case, route):
            continue
        by = f'the routing key "{route.routing_key or ""}"'
        hint = "Give a queue that exchange and a matching routing_key."
        if target.exchange_type == "headers":
            by = f"the headers {headers_text(target.headers)}"
            hint = "Give a queue that exchange and matching headers; texts, numbers and booleans are never the same."
        yield Found(
            case.fleet.where("routes", index),
            f'no queue gets what this route sends to the exchange "{target.exchange}" with {by}: {table.fate}.',
            hint,
        )


@rule("CF021", "route-shadowed", "A route that an earlier one makes unreachable", Level.WARNING)
def shadowed(case: Case) -> Iterator[Found]:
    """Find routes of which every name matches an earlier route."""
    groups = [items for _, _, items in grouped(case)]
    for index, items in enumerate(groups):
        earlier = next((n for n, others in enumerate(groups[:index]) if _cover(others, items)), None)
        if earlier is not None:
            yield Found(
                case.fleet.where("routes", index),
                f"this route is never reached: the one in line {case.fleet.routes[earlier].line} matches first.",
                "The first match wins: move the narrower route up.",
            )


def _cover(wide: Sequence[Item], narrow: Sequence[Item]) -> bool:
    """Tell whether every name that one route matches is surely matched by the other."""
    return bool(narrow) and all(any(_covers(other, item) for other in wide) for item in narrow)


def _covers(wide: Item, narrow: Item) -> bool:
    if "router" in wide or "router" in narrow:
        return False
    if "exact" in narrow:
        return matches(wide, narrow["exact"])
    if wide.get("glob") == "*":
        return True
    if "glob" in wide and "glob" in narrow and _prefix(wide["glob"]) is not None:
        return str(narrow["glob"]).startswith(_prefix(wide["glob"]) or "")
    same = next(key for key in ("glob", "regex") if key in narrow)
    return bool(wide.get(same) == narrow[same])


def _prefix(glob: str) -> str | None:
    """Return what stands before the star of a glob such as `shop.*`; None for any other glob."""
    return glob[:-1] if glob.endswith("*") and set("*?[").isdisjoint(glob[:-1]) else None


@rule("CF024", "topic-without-key", "A message to a topic exchange without a routing key", Level.WARNING)
def keyless(case: Case) -> Iterator[Found]:
    """Find what is published under a pattern, or under no key at all, where a key is meant to decide."""
    for index, route in enumerate(case.fleet.routes):
        target = _keyless(case, route)
        if target is not None:
            yield Found(
                case.fleet.where("routes", index),
                f'the exchange "{target.exchange}" is a topic exchange, but this route gives no routing key: '
                + _published(case, target if route.queue else None),
                f"Add the key that its queues are to go by, such as routing_key: {_example(target.routing_key)}",
            )
    default = case.plan.routing.get(case.fleet.default_queue)
    if default is not None and _is_pattern(case, default):
        yield Found(
            case.where(("default_queue",), ("queues", default.name)),
            f'the default queue "{default.name}" has a topic exchange: what no route names is published to it under '
            f'the pattern itself, "{default.routing_key}".',
            "Make a queue with a direct exchange the default queue.",
        )


def _keyless(case: Case, route: Route) -> Queue | None:
    """Return a queue of the topic exchange that a route sends to without a key; None: it does not."""
    if route.router is not None or route.routing_key is not None:
        return None
    if route.exchange is not None:
        bound = [queue for queue in case.plan.queues if queue.exchange == route.exchange]
        return next((queue for queue in bound if queue.exchange_type == "topic" and queue.routing_key != "#"), None)
    target = case.plan.routing.get(route.queue)
    return target if target is not None and _is_pattern(case, target) else None


def _is_pattern(case: Case, queue: Queue) -> bool:
    """Tell whether a queue's key is a pattern; where all queues of its exchange take everything, none matters."""
    beside = {other.routing_key for other in case.plan.queues if other.exchange == queue.exchange}
    return (
        queue.exchange_type == "topic" and not {"*", "#"}.isdisjoint(queue.routing_key.split(".")) and beside != {"#"}
    )


def _published(case: Case, target: Queue | None) -> str:
    if target is None:
        return f'what it sends goes by the key of the default queue, "{case.plan.routing.default_key}".'
    return f'what it sends goes by the pattern itself, "{target.routing_key}".'


def _example(binding: str) -> str:
    return ".".join("created" if word in ("*", "#") else word for word in binding.split("."))


@rule("CF025", "priority-ignored", "A priority that its queue does not have", Level.WARNING)
def ignored_priorities(case: Case) -> Iterator[Found]:
    """Find priorities that RabbitMQ takes no notice of."""
    for index, route in enumerate(case.fleet.routes):
        target = case.plan.routing.get(route.queue or case.fleet.default_queue)
        if not case.on_rabbitmq or route.priority is None or target is None or route.exchange is not None:
            continue
        given = arguments(case, target)
        if "x-max-priority" not in given and given.get("x-queue-type") != "quorum":
            yield Found(
                case.fleet.where("routes", index, "priority"),
                f'RabbitMQ ignores the priority: the queue "{target.name}" has no max_priority.',
                f"Give the queue `max_priority: {max(route.priority, 1)}` or more.",
            )
        most = given.get("x-max-priority")
        if isinstance(most, int) and route.priority > most and given.get("x-queue-type") != "quorum":
            yield Found(
                case.fleet.where("routes", index, "priority"),
                f'RabbitMQ takes the priority {route.priority} for {most}, the highest of the queue "{target.name}".',
                f"Write `priority: {most}`, or give the queue `max_priority: {route.priority}`.",
                Level.INFO,
            )


# --- Rules that need the registered tasks -----------------------------------------------------------------


@rule("CF022", "route-unused", "A route that matches no registered task", Level.WARNING, "app")
def unused(case: Case) -> Iterator[Found]:
    """Find routes with a misspelt name."""
    for index, route, items in grouped(case):
        if not asks_code(route) and not any(matches(item, task) for item in items for task in case.tasks):
            yield Found(
                case.fleet.where("routes", index),
                "this route matches no task that the app registers.",
                "Correct the name (`celeryfleet tasks` lists them), or remove the route.",
            )


@rule("CF023", "default-only", "Tasks that only the default queue catches", Level.INFO, "app")
def default_only(case: Case) -> Iterator[Found]:
    """Find tasks that no route names, where there are routes."""
    names = [
        task
        for task, decision in case.decisions.items()
        if decision.route is None and decision.sure and set(case.tasks[task]).isdisjoint(("queue", "exchange"))
    ]
    if case.fleet.routes and names:
        yield Found(
            case.fleet.where("routes"),
            f"no route names {quoted(names)}: {counted(len(names), 'task')} for the default queue, "
            f'"{case.fleet.default_queue}".',
            "Right if they are meant to go there; else add a route.",
        )


@rule("CF026", "route-overridden", "A route that a task's own queue goes before", Level.WARNING, "app")
def overridden(case: Case) -> Iterator[Found]:
    """Find tasks whose code names another queue than their route."""
    for task, decision in case.decisions.items():
        queue = _queue_name(case.tasks[task].get("queue"))
        if case.plan.routing.get(queue) is None or decision.route is None:
            continue
        route = case.fleet.routes[decision.route]
        if any(map(asks_code, case.fleet.routes[: decision.route])) or route.queue in (None, queue):
            continue
        yield Found(
            case.fleet.where("routes", decision.route),
            f'this route sends {task} to "{route.queue}", but its own code says queue="{queue}", which goes first.',
            "Remove queue= from the task's decorator, so that fleet.yaml decides.",
        )


@rule("CF027", "own-queue-unknown", "A task whose code names a queue that is not declared", Level.WARNING, "app")
def unknown_queues(case: Case) -> Iterator[Found]:
    """Find tasks that cannot be sent."""
    if case.plan.settings.get("task_create_missing_queues"):
        return
    for task, own in case.tasks.items():
        queue = own.get("queue")
        if isinstance(queue, str) and queue and case.plan.routing.get(queue) is None:
            yield Found(
                case.fleet.where("queues"),
                f'the code of {task} names the unknown queue "{queue}": sending it fails (QueueNotFound).',
                "Declare the queue and have a pool read it, or remove queue= from the task's decorator.",
            )


def _queue_name(queue: object) -> str | None:
    """Name a queue that is given by its name or as Celery's own object."""
    name = getattr(queue, "name", queue)
    return str(name) if name else None


# --- Rules that need the user's routers -------------------------------------------------------------------


@rule("CF028", "router-wrong", "A router whose answer no task can be sent by", Level.WARNING, "routers")
def wrong_answers(case: Case) -> Iterator[Found]:
    """Find routers that fail, or name what there is not; where they looked at arguments, that may be right."""
    groups: dict[tuple[str, bool, str], list[RouterFault]] = {}
    for fault in case.routers.faults if case.routers is not None else ():
        groups.setdefault((fault.where, fault.depends, fault.said), []).append(fault)
    for (where, depends, said), faults in groups.items():
        reasons = list(dict.fromkeys(fault.reason for fault in faults))
        reason = reasons[0] if len(reasons) == 1 else f"{reasons[0]} and {len(reasons) - 1} more like it"
        asked = ", asked without arguments," if depends else ""
        does = said.format(reason=reason, tasks=quoted(fault.task for fault in faults))
        hints = [faults[0].hint, _IF_WITHOUT if depends else ""]
        what, hint = f"the router {faults[0].router}{asked} {does}", "\n".join(filter(None, hints))
        yield Found(where, what, hint, Level.INFO if depends else None)


_IF_WITHOUT = "Right if these are never sent without arguments: `celeryfleet route TASK ARG…` asks with some."

RULES = (lost, shadowed, unused, default_only, keyless, ignored_priorities, overridden, unknown_queues, wrong_answers)
