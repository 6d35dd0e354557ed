"""Says where a task goes and why, exactly as Celery's router decides it; asks no broker and imports no app."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, QueuePlan
    from celeryfleet.spec.model import Fleet, Route

#: the priority that runs first, on every broker
HIGHEST = 9

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
    #: None: the default queue, or a queue that was asked for
    rule: Rule | None
    passed_over: tuple[PassedOver, ...]
    #: pools that consume one of the queues
    pools: tuple[str, ...]

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
            "priority": self.priority,
            "wire_priority": self.wire_priority,
            "rule": {"line": self.rule.line, "text": self.rule.text} if self.rule else None,
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
) -> Decision:
    """Decide where `task` goes when it is sent with these options (queue, exchange, routing_key, priority).

    `routers` maps the path of each `router:` route to a function that asks it; one that is missing counts as having
    said nothing. `priority` is as in fleet.yaml: 9 runs first. Raises FleetError for an unknown queue.
    """
    asked = {key: value for key, value in (options or {}).items() if value is not None}
    kind = plan.broker.kind
    passed: list[PassedOver] = []
    index, routed = _first_match(plan, fleet, task, args, kwargs or {}, routers or {}, passed)
    rule = fleet.routes[index] if index is not None and index < len(fleet.routes) else None
    wire_priority = wire(kind, asked["priority"]) if "priority" in asked else routed.get("priority")
    if "priority" in asked:
        priority = asked["priority"]
    elif rule is not None and rule.router:
        priority = wire(kind, wire_priority)
    else:
        priority = rule.priority if rule else None
    if rule and ("queue" in asked or "exchange" in asked):
        wanted = f'queue "{asked["queue"]}"' if "queue" in asked else f'exchange "{asked["exchange"]}"'
        passed.append(PassedOver(rule.line, f"it matches, but the {wanted} was asked for"))
        rule = None
    target = destination(plan.queues, plan.settings["task_default_queue"], {**routed, **asked})
    return Decision(
        task=task,
        queue=target.queue,
        queues=target.queues,
        exchange=target.exchange,
        exchange_type=target.exchange_type,
        routing_key=target.routing_key,
        priority=priority,
        wire_priority=wire_priority,
        rule=Rule(rule.line, rule.text) if rule else None,
        passed_over=tuple(passed),
        pools=tuple(pool.name for pool in plan.pools if set(pool.queues) & set(target.queues)),
    )


def _first_match(
    plan: Plan,
    fleet: Fleet,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    routers: Mapping[str, Ask],
    passed: list[PassedOver],
) -> tuple[int | None, dict[str, Any]]:
    for index, item in enumerate(plan.settings["task_routes"]):
        if "router" in item:
            answer, why = _ask(item["router"], routers, task, args, kwargs)
            if answer is not None:
                return index, answer
        elif matches(item, task):
            return index, dict(item["options"])
        else:
            why = _mismatch(fleet.routes[index])
        passed.append(PassedOver(fleet.routes[index].line, why))
    return None, {}


def _ask(
    path: str, routers: Mapping[str, Ask], task: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    if path not in routers:
        return None, f"the router {path} was not asked"
    answer = routers[path](task, args, kwargs)
    if answer is None:
        return None, f"the router {path} returned None"
    return ({"queue": answer} if isinstance(answer, str) else dict(answer)), ""


def matches(item: Mapping[str, Any], task: str) -> bool:
    """Tell whether a `task_routes` item in JSON form, other than a router, applies to a task's name."""
    if "exact" in item:
        return bool(item["exact"] == task)
    if "glob" in item:
        return fnmatch.fnmatchcase(task, item["glob"])
    return re.match(whole(item["regex"]), task) is not None


def _mismatch(route: Route) -> str:
    if route.regex is not None:
        return f'the name does not match the regex "{route.regex}"'
    if set("*?[").isdisjoint(route.task or ""):
        return f'the name is not "{route.task}"'
    return f'the name does not match the glob "{route.task}"'


def whole(regex: str) -> str:
    """Return the expression that matches a whole name, since Celery's `.match` is anchored at the start only."""
    flags = re.match(r"\(\?[aiLmsux]+\)", regex)
    head = flags[0] if flags else ""
    end = "\n" if "x" in head else ""  # a comment in a verbose expression would swallow the parenthesis
    return rf"{head}(?:{regex[len(head) :]}{end})\Z"


# --- Priorities -------------------------------------------------------------------------------------------


def wire(kind: str, priority: int | None) -> int | None:
    """Return the number a broker of this kind gets for a priority, and the other way round.

    On Redis 0 runs first, so it is inverted there, within the ten steps that kombu knows.
    """
    if priority is None or kind != "redis":
        return priority
    return min(HIGHEST, max(0, HIGHEST - priority))


# --- Exchanges --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Destination:
    """What the broker does with a message."""

    #: None where an exchange decides
    queue: str | None
    queues: tuple[str, ...]
    exchange: str
    exchange_type: str
    routing_key: str


def destination(queues: Sequence[QueuePlan], default: str, options: Mapping[str, Any]) -> Destination:
    """Follow a message with these options (queue, exchange, exchange_type, routing_key) to its queues.

    This is what Celery's `send_task_message` does with them (celery/app/amqp.py). Raises FleetError.
    """
    name, exchange, key = options.get("queue"), options.get("exchange"), options.get("routing_key")
    if name is None and exchange is None:
        name = default
    queue = _known(queues, name) if name is not None else None
    declared = next((q.exchange_type for q in queues if q.exchange == exchange), "direct")
    kind = options.get("exchange_type") or (queue.exchange_type if queue else declared)
    if kind == "direct" and not (exchange and key):
        if queue is None:  # no key: Celery sends to the nameless exchange, with no queue's name
            return Destination(None, (), exchange or "", kind, "")
        return Destination(queue.name, (queue.name,), queue.exchange, kind, queue.routing_key)
    if exchange is None and queue is not None:
        key = key or queue.routing_key
        reached = bound(queues, queue.exchange, kind, key)
        return Destination(queue.name if queue.name in reached else None, reached, queue.exchange, kind, key)
    return Destination(None, bound(queues, exchange or "", kind, key or ""), exchange or "", kind, key or "")


def _known(queues: Sequence[QueuePlan], name: str) -> QueuePlan:
    for queue in queues:
        if queue.name == name:
            return queue
    names = [queue.name for queue in queues]
    near = difflib.get_close_matches(name, names, 1)
    guess = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(names)}."
    raise FleetError(f'the queue "{name}" is unknown.', hint=guess)


def bound(queues: Sequence[QueuePlan], exchange: str, kind: str, key: str) -> tuple[str, ...]:
    """Name the queues that an exchange copies a message with this routing key to, in their order.

    A headers exchange decides by what is not known here: all its queues are named.
    """
    return tuple(q.name for q in queues if q.exchange == exchange and _binds(kind, q.routing_key, key))


def _binds(kind: str, binding: str, key: str) -> bool:
    match kind:
        case "direct":
            return binding == key
        case "topic":
            return _topic(binding.split("."), key.split("."))
        case _:
            return True


def _topic(pattern: list[str], words: list[str]) -> bool:
    """Match as RabbitMQ does: `*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    head, *rest = pattern
    if head == "#":
        return any(_topic(rest, words[start:]) for start in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and _topic(rest, words[1:])
