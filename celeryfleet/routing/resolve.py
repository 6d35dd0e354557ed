"""Says where a task goes and why, exactly as Celery's router decides it; asks no broker and imports no app."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.plan.values import QueuePlan
from celeryfleet.routing.delivery import destination, headers_text, known, laid_over, message_headers, wire
from celeryfleet.routing.routes import NAMESPACE, Item, by_route, matches

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet, Route
    from celeryfleet.plan.values import Plan

#: asks a router of the user's: (task, args, kwargs) -> options, a queue's name, or None
Ask = Callable[[str, Sequence[Any], Mapping[str, Any]], Any]


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


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a task goes, and why."""

    task: str
    #: None where an exchange decides
    queue: str | None
    #: every queue that gets the message; empty: it is lost
    queues: tuple[str, ...]
    exchange: str
    exchange_type: str
    routing_key: str
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
    #: those that the call or the route gives, and none of Celery's own
    headers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `route --json` prints."""
        return {
            "schema_version": 1,
            "task": self.task,
            "queue": self.queue,
            "queues": list(self.queues),
            "exchange": self.exchange,
            "exchange_type": self.exchange_type,
            "routing_key": self.routing_key,
            "headers": self.headers,
            "priority": self.priority,
            "wire_priority": self.wire_priority,
            "rule": {"line": self.rule.line, "text": self.rule.text} if self.rule else None,
            "because": self.because,
            "passed_over": [{"line": passed.line, "why": passed.why} for passed in self.passed_over],
            "pools": list(self.pools),
        }


def resolve(
    fleet: Fleet,
    plan: Plan,
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    routers: Mapping[str, Ask] | None = None,
    own: Mapping[str, Any] | None = None,
) -> Decision:
    """Decide where `task` goes when it is sent with these options (queue, exchange, routing_key, priority, headers).

    `own` is what the task's own code says of the same, as `AppFacts.tasks` has it; a call goes before it, and it goes
    before the routes. `routers` maps the path of each `router:` route to a function that asks it; one that is missing
    counts as having said nothing. A priority is as in fleet.yaml, 9 runs first, but in `own` as on the wire.
    Raises FleetError for an unknown queue, and for a router that fails.
    """
    kind = plan.broker.kind
    call = {key: value for key, value in (options or {}).items() if value is not None}
    code = {key: value for key, value in (own or {}).items() if key in _DECIDING and value is not None}
    asked = {**code, **call}
    if "priority" in call:
        asked["priority"] = wire(kind, call["priority"])
    match = _first_match(fleet, plan, task, args, kwargs or {}, routers or {})
    default = plan.settings["task_default_queue"]
    routed = match.options or ({} if asked.get("queue") else {"queue": default})
    merged = laid_over(routed, asked, plan.settings["task_default_routing_key"])
    declared, name = _queues(plan, merged.get("queue"), _namer(fleet, match, call, code))
    headers = message_headers(task, merged.get("headers"))
    target = destination(declared, default, {**merged, "queue": name}, kind, headers)
    decides = match.route is not None and _route_decides(routed, asked, merged)
    passed = match.passed
    if match.route is not None and not decides:
        passed += (PassedOver(match.route.line, _overridden(call, code, match.priority)),)
    return Decision(
        task=task,
        queue=target.queue,
        queues=target.queues,
        exchange=target.exchange,
        exchange_type=target.exchange_type,
        routing_key=target.routing_key,
        priority=wire(kind, asked["priority"]) if "priority" in asked else match.priority,
        wire_priority=merged.get("priority"),
        rule=Rule(match.route.line, match.route.text) if match.route is not None and decides else None,
        because=_because(decides, call, code),
        passed_over=passed,
        pools=tuple(pool.name for pool in plan.pools if set(pool.queues) & set(target.queues)),
        headers=dict(merged.get("headers") or {}),
    )


#: the options by which Celery decides, of those a task's own code may have
_DECIDING = ("queue", "exchange", "routing_key", "priority")


# --- The route that matches -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Match:
    #: None: no route of the fleet matches
    route: Route | None
    #: its place in `fleet.routes`
    index: int
    #: what Celery gets for it
    options: dict[str, Any]
    #: as written, 9 runs first
    priority: int | None
    passed: tuple[PassedOver, ...]


def _first_match(
    fleet: Fleet, plan: Plan, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], routers: Mapping[str, Ask]
) -> _Match:
    passed: list[PassedOver] = []
    groups, rest = by_route(fleet, plan.settings["task_routes"])
    for index, (route, items) in enumerate(zip(fleet.routes, groups, strict=True)):
        priority = route.priority
        if route.router is not None and route.router not in NAMESPACE:
            found, why = _ask(route.router, fleet.where("routes", index, "router"), routers, task, args, kwargs)
            if found is not None:
                priority = wire(plan.broker.kind, found.get("priority"))
                found = filled(found, items[0].get("priority"))
        else:
            found, why = _first_item(items, task), _mismatch(route, task)
        if found is not None:
            return _Match(route, index, found, priority, tuple(passed))
        passed.append(PassedOver(route.line, why))
    return _Match(None, -1, _first_item(rest, task) or {}, None, tuple(passed))


def _first_item(items: Sequence[Item], task: str) -> dict[str, Any] | None:
    return next((dict(item["options"]) for item in items if matches(item, task)), None)


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


# --- Routers of the user's --------------------------------------------------------------------------------


def _ask(
    path: str, where: str, routers: Mapping[str, Ask], task: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    if path not in routers:
        return None, f"the router {path} was not asked"
    try:
        answer = routers[path](task, args, kwargs)
    except FleetError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise FleetError(f'the router "{path}" fails for {task}: {reason}.', where, _place(error)) from error
    if answer is None:
        return None, f"the router {path} returned None"
    if isinstance(answer, Mapping) and isinstance(answer.get("priority"), int | None):
        return dict(answer), ""
    if isinstance(answer, str) or hasattr(answer, "exchange"):
        return {"queue": answer}, ""
    what = f'the router "{path}" returned {answer!r} for {task}.'
    raise FleetError(what, where, "A router returns the name of a queue, a mapping such as {'queue': 'mail'}, or None.")


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"It fails at {frame.filename}:{frame.lineno}: {frame.line}"


def filled(options: dict[str, Any], priority: int | None) -> dict[str, Any]:
    """Return a router's options with a priority on the wire, where they should have one and do not."""
    if priority is None or options.get("priority") is not None:
        return options
    return {**options, "priority": priority}


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
    """Name a queue or an exchange, be it Celery's own object."""
    return str(getattr(value, "name", value))


def _namer(fleet: Fleet, match: _Match, call: Mapping[str, Any], code: Mapping[str, Any]) -> tuple[str, str]:
    """Say who has named the queue, and where."""
    if "queue" in call or match.route is None or not match.route.router:
        return (", which the task's own code names," if "queue" in code and "queue" not in call else ""), ""
    if "queue" in code:
        return ", which the task's own code names,", ""
    return f", which the router {match.route.router} names,", fleet.where("routes", match.index, "router")


def _queues(plan: Plan, queue: Any, namer: tuple[str, str]) -> tuple[tuple[QueuePlan, ...], str | None]:
    """Return the queues that there are at the send, and the name of the one that the options have."""
    if not queue:
        return plan.queues, None
    if hasattr(queue, "exchange"):  # Celery's own object, which the send declares
        wanted = dict(queue.binding_arguments or {})
        own = QueuePlan(queue.name, queue.exchange.name, queue.exchange.type, queue.routing_key or "", headers=wanted)
        return (own, *(other for other in plan.queues if other.name != own.name)), own.name
    if plan.settings.get("task_create_missing_queues") and all(other.name != queue for other in plan.queues):
        return (*plan.queues, QueuePlan(queue, queue, "direct", queue)), queue
    return plan.queues, known(plan.queues, queue, *namer).name
