"""Says where a task goes and why, exactly as Celery's router decides it; asks no broker and imports no app."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from celeryfleet.errors import FleetError
from celeryfleet.routing.queue import Queue
from celeryfleet.routing.routes import asks_code, by_route, matches
from celeryfleet.routing.table import Destination, Item, RoutingTable, headers_text, message_headers

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet, Route

#: asks a router of the user's: (task, args, kwargs) -> options, a queue's name, or None; made by `celeryfleet.app`
Ask: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """The route that decided."""

    #: in fleet.yaml, counted from 1
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A route that was tried and did not decide."""

    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Destination):
    """Where a task goes, and why; its headers are those that the call or the route gives."""

    task: str
    #: as written, 9 runs first; None: not said
    priority: int | None
    #: as the broker gets it
    wire_priority: int | None
    #: None: the default queue, or what was asked for
    rule: Rule | None
    #: what decided, as half a sentence
    because: str
    passed_over: tuple[PassedOver, ...]
    #: pools that consume one of the queues
    pools: tuple[str, ...]
    #: the place in `fleet.routes` of the one that matches, whether it decides or not; None: none does
    route: int | None = None
    #: False: a router of the user's that was not asked may decide otherwise
    sure: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return what `route --json` prints."""
        told = {key: value for key, value in asdict(self).items() if key not in ("route", "sure")}
        return {"schema_version": 1, "task": self.task, **told}


def resolve(
    fleet: Fleet,
    table: RoutingTable,
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    routers: Mapping[str, Ask] | None = None,
    own: Mapping[str, Any] | None = None,
) -> Decision:
    """Decide where `task` goes when it is sent with these options (queue, exchange, routing_key, priority, headers).

    `own` is what the task's own code says of the same, as `AppFacts.tasks` has it; a call goes before it, and it goes
    before the routes. `routers` maps the path of each `router:` route to what asks it; one that is missing counts as
    having said nothing. A priority is as in fleet.yaml, 9 runs first, but in `own` as on the wire.
    Raises FleetError for an unknown queue, and for an answer that is none.
    """
    call = {key: value for key, value in (options or {}).items() if value is not None}
    code = {key: value for key, value in (own or {}).items() if key in _DECIDING and value is not None}
    asked = {**code, **call}
    if "priority" in call:
        asked["priority"] = table.wire(call["priority"])
    match = _first_match(fleet, table, task, args, kwargs or {}, routers or {})
    routed = match.options or ({} if asked.get("queue") else {"queue": table.default_queue})
    merged = table.laid_over(routed, asked)
    declared, name = _declared(table, merged.get("queue"), *_namer(fleet, match, call, code))
    headers = message_headers(task, merged.get("headers"))
    target = declared.follow({**merged, "queue": name}, headers)
    decides = match.route is not None and _route_decides(routed, asked, merged)
    passed = match.passed
    if match.route is not None and not decides:
        passed += (PassedOver(match.route.line, _overridden(call, code, match.priority)),)
    return Decision(
        **asdict(replace(target, headers=dict(merged.get("headers") or {}))),
        task=task,
        priority=table.wire(asked["priority"]) if "priority" in asked else match.priority,
        wire_priority=merged.get("priority"),
        rule=Rule(match.route.line, match.route.text) if match.route is not None and decides else None,
        because=_because(decides, call, code),
        passed_over=passed,
        pools=table.readers(target.queues),
        route=match.index,
        sure=not match.unasked or bool(asked.get("queue") or asked.get("exchange")),
    )


#: the options by which Celery decides, of those a task's own code may have
_DECIDING = ("queue", "exchange", "routing_key", "priority")


# --- The route that matches -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Match:
    #: None: no route of the fleet matches
    route: Route | None
    #: its place in `fleet.routes`
    index: int | None
    #: what Celery gets for it
    options: dict[str, Any]
    #: as written, 9 runs first
    priority: int | None
    passed: tuple[PassedOver, ...]
    #: whether a router before it was not asked
    unasked: bool


def _first_match(
    fleet: Fleet,
    table: RoutingTable,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    routers: Mapping[str, Ask],
) -> _Match:
    passed: list[PassedOver] = []
    unasked = False
    groups, rest = by_route(fleet, table.routes)
    for index, (route, items) in enumerate(zip(fleet.routes, groups, strict=True)):
        priority, why = route.priority, ""
        if not asks_code(route):
            found = _first_item(items, task)
            why = _mismatch(route, task)
        elif route.router and route.router in routers:
            answer = routers[route.router](task, args, kwargs)
            found = _options_of(answer, route, fleet.where("routes", index, "router"), task)
            why = f"the router {route.router} returned None"
            if found is not None:
                priority = table.wire(found.get("priority"))
                if priority is None and "priority" in items[0]:
                    found["priority"] = items[0]["priority"]
        else:
            found, unasked = None, True
            why = f"the router {route.router} was not asked"
        if found is not None:
            return _Match(route, index, found, priority, tuple(passed), unasked)
        passed.append(PassedOver(route.line, why))
    return _Match(None, None, _first_item(rest, task) or {}, None, tuple(passed), unasked)


def _first_item(items: Sequence[Item], task: str) -> dict[str, Any] | None:
    return next((dict(item["options"]) for item in items if matches(item, task)), None)


def _options_of(answer: Any, route: Route, where: str, task: str) -> dict[str, Any] | None:
    """Read what a router of the user's has answered; None: the next one is to be asked. Raises FleetError."""
    if answer is None:
        return None
    if isinstance(answer, Mapping) and isinstance(answer.get("priority"), int | None):
        return dict(answer)
    if isinstance(answer, str) or hasattr(answer, "exchange"):
        return {"queue": answer}
    what = f'the router "{route.router}" returned {answer!r} for {task}.'
    raise FleetError(what, where, "A router returns the name of a queue, a mapping such as {'queue': 'mail'}, or None.")


def _mismatch(route: Route, task: str) -> str:
    if route.router is not None:
        queue, colon, _ = task.partition(":")
        if not colon:
            return "the name has no colon"
        return f'no queue is called "{queue}", as the name begins' if queue else "nothing is before the name's colon"
    if route.regex is not None:
        return f'the name does not match the regex "{route.regex}"'
    if set("*?[").isdisjoint(route.task or ""):
        return f'the name is not "{route.task}"'
    return f'the name does not match the glob "{route.task}"'


# --- The call, the code and the route ---------------------------------------------------------------------


def _route_decides(routed: Mapping[str, Any], asked: Mapping[str, Any], merged: Mapping[str, Any]) -> bool:
    """Tell whether the route's target stands beside what was asked for."""
    if asked.get("exchange") is not None:
        return False
    if not asked.get("queue"):
        return True
    straight = routed.get("exchange_type", "direct") == "direct"
    return bool(straight and routed.get("exchange") and merged.get("routing_key"))


def _overridden(call: Mapping[str, Any], code: Mapping[str, Any], priority: int | None) -> str:
    key = "exchange" if "exchange" in [*code, *call] else "queue"
    if key in call:
        why = f'it matches, but the {key} "{_name(call[key])}" was asked for'
    else:
        why = f'it matches, but the {key} "{_name(code[key])}" in the task\'s own code goes before it'
    kept = priority is not None and "priority" not in [*code, *call]
    return f"{why}; its priority stays" if kept else why


def _because(decides: bool, call: Mapping[str, Any], code: Mapping[str, Any]) -> str:
    reasons = [f"the call says {_options(call)}"] if call else []
    left = {key: value for key, value in code.items() if key not in call}
    if left:
        reasons.append(f"the task's own code says {_options(left)}")
    if decides:
        return "; ".join(["the first route that matches", *reasons])
    if {"queue", "exchange"}.isdisjoint([*code, *call]):
        return "; ".join(["no route matches: the default queue", *reasons])
    return "; ".join(reasons)


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_quoted(options[key])}" for key in (*_DECIDING, "headers") if key in options)


def _quoted(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({headers_text(value)})"
    return str(value) if isinstance(value, int) else f'"{_name(value)}"'


def _name(value: Any) -> str:
    """Name a queue or an exchange that is given by its name or as Celery's own object."""
    return str(getattr(value, "name", value))


def _namer(fleet: Fleet, match: _Match, call: Mapping[str, Any], code: Mapping[str, Any]) -> tuple[str, str]:
    """Say who has named the queue, and where."""
    if "queue" in call:
        return "", ""
    if "queue" in code:
        return ", which the task's own code names,", ""
    if match.route is None or match.route.router is None:
        return "", ""
    return f", which the router {match.route.router} names,", fleet.where("routes", match.index or 0, "router")


def _declared(table: RoutingTable, queue: Any, namer: str, where: str) -> tuple[RoutingTable, str | None]:
    """Return the table with the queues that there are at the send, and the name of the one that the options have."""
    if not queue:
        return table, None
    if hasattr(queue, "exchange"):  # Celery's own object, which the send declares
        own = Queue.of(queue)
        return replace(table, queues=(own, *(other for other in table.queues if other.name != own.name))), own.name
    if table.creates and table.get(queue) is None:
        return replace(table, queues=(*table.queues, Queue(queue, queue, "direct", queue))), queue
    return table, table.queue(queue, namer, where).name
