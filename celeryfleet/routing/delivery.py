"""Follows a message through the exchanges to its queues, as Celery and the brokers do; asks none of them."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.text import listed

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, QueuePlan


#: the priority that runs first, on every broker
HIGHEST = 9
LOWEST = 0


@dataclass(frozen=True, slots=True)
class Destination:
    """What the broker does with a message."""

    #: None where an exchange decides
    queue: str | None
    queues: tuple[str, ...]
    exchange: str
    exchange_type: str
    routing_key: str
    #: those that are given, and none of Celery's own
    headers: dict[str, Any] = field(default_factory=dict)


def laid_over(routed: Mapping[str, Any], asked: Mapping[str, Any], default: str) -> dict[str, Any]:
    """Lay what a call asks for over a route's options, as Celery does with what `celeryfleet.app` makes of them.

    A route to an exchange that is not direct travels as a queue of that exchange, so a queue that is asked for
    replaces all of it; one to a direct exchange travels as its name, and Celery lets that go before a queue.
    """
    if routed.get("exchange_type", "direct") == "direct":
        return {**routed, **asked}
    route = dict(routed)
    if asked.get("queue"):
        for key in ("exchange", "exchange_type", "routing_key"):
            route.pop(key, None)
    elif asked.get("exchange") is not None:
        route.pop("routing_key", None)
    else:
        route.setdefault("routing_key", default)
    return {**route, **asked}


def target_of(plan: Plan, options: Mapping[str, Any], task: str | None = None) -> Destination:
    """Follow what is sent by a `task_routes` item with these options, when the call says nothing of its own.

    Where the options have no headers the call must say some, so a headers exchange may copy to any of its queues.
    """
    settings, given = plan.settings, options.get("headers")
    whole = laid_over(options, {}, settings["task_default_routing_key"])
    headers = message_headers(task, given) if given else None
    found = destination(plan.queues, settings["task_default_queue"], whole, plan.broker.kind, headers)
    return replace(found, headers=dict(given or {}))


def destination(
    queues: Sequence[QueuePlan],
    default: str,
    options: Mapping[str, Any],
    broker: str = "amqp",
    headers: Mapping[str, Any] | None = None,
) -> Destination:
    """Follow a message with these options (queue, exchange, exchange_type, routing_key) and headers to its queues.

    This is what Celery's `send_task_message` does with them (celery/app/amqp.py). `broker` is the kind whose
    exchanges are meant: redis, amqp or other. Headers are as in `bound`. Raises FleetError for an unknown queue.
    """
    exchange, key = options.get("exchange"), options.get("routing_key")
    name = options.get("queue") or (default if exchange is None else None)
    queue = known(queues, name) if name is not None else None
    kind = options.get("exchange_type") or (queue.exchange_type if queue else "direct")
    if kind == "direct" and not (exchange and key):
        return _straight(queue)
    if exchange is None and queue is not None:
        key = key or queue.routing_key
        reached = bound(queues, queue.exchange, kind, key, broker, headers)
        return Destination(queue.name if queue.name in reached else None, reached, queue.exchange, kind, key)
    exchange, key = exchange or "", key or ""
    kind = next((q.exchange_type for q in queues if q.exchange == exchange), kind)
    return Destination(None, bound(queues, exchange, kind, key, broker, headers), exchange, kind, key)


def _straight(queue: QueuePlan | None) -> Destination:
    """Follow a message that Celery gives to the nameless exchange with a queue's name as its key."""
    if queue is None:
        return Destination(None, (), "", "direct", "")
    if queue.exchange_type != "direct":
        return Destination(queue.name, (queue.name,), "", "direct", queue.name)
    return Destination(queue.name, (queue.name,), queue.exchange, "direct", queue.routing_key)


def known(queues: Sequence[QueuePlan], name: str, namer: str = "", where: str = "") -> QueuePlan:
    """Find a queue. Raises FleetError with a guess; `namer` says who has named it, if not the caller."""
    for queue in queues:
        if queue.name == name:
            return queue
    from celeryfleet.fleetfile.suggest import did_you_mean  # producers need none of `fleetfile`

    names = [queue.name for queue in queues]
    hint = did_you_mean(str(name), names) or f"The fleet declares {listed(names)}."
    raise FleetError(f'the queue "{name}"{namer} is unknown.', where, hint)


def gives_back(plan: Plan) -> bool:
    """Tell whether the broker gives the sender back what no queue takes; else it drops it."""
    confirmed = plan.settings.get("broker_transport_options", {}).get("confirm_publish")
    return plan.broker.kind == "amqp" and bool(confirmed)


# --- Exchanges --------------------------------------------------------------------------------------------


def bound(
    queues: Sequence[QueuePlan],
    exchange: str,
    kind: str,
    key: str,
    broker: str = "amqp",
    headers: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Name the queues that an exchange copies a message with this routing key and these headers to, in their order.

    Without headers it is not known what a headers exchange will decide by: all queues that it may copy to are named.
    """
    if not exchange:  # the nameless one, to which each queue is bound by its name
        return tuple(q.name for q in queues if q.name == key)
    mine = [q for q in queues if q.exchange == exchange]
    if kind == "headers":
        return tuple(q.name for q in mine if headers is None or _wanted(q.headers, headers))
    return tuple(q.name for q in mine if _binds(kind, q.routing_key, key, broker))


def message_headers(task: str | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the headers by which an exchange may decide: those that are given, and what Celery says in a first try."""
    return {"task": _ANY if task is None else task, "lang": "py", "retries": 0, **(given or {})}


def _wanted(binding: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Match as RabbitMQ does: a header that is not there does not match, and nor does a 1 where a "1" is wanted."""
    matches = (name in headers and _same(value, headers[name]) for name, value in binding.items() if name != "x-match")
    return any(matches) if binding.get("x-match") == "any" else all(matches)


def _same(one: Any, other: Any) -> bool:
    return other is _ANY or (type(one) is type(other) and bool(one == other))


#: a header whose value is not known, but that it has one
_ANY = object()


def addressed(exchange: str, kind: str, routing_key: str, headers: Mapping[str, Any]) -> str:
    """Say where a message was sent; of its headers, those that are not Celery's own."""
    if not exchange:
        return f'the queue "{routing_key}"'
    if kind != "headers":
        return f'the exchange "{exchange}" with the routing key "{routing_key}"'
    from celeryfleet.fleetfile.header_names import OWN  # producers need none of `spec`

    given = headers_text({name: value for name, value in headers.items() if name not in OWN})
    return f'the headers exchange "{exchange}" with {given or "no headers of its own"}'


def headers_text(headers: Mapping[str, Any]) -> str:
    """Write headers, or what a queue wants of them: `kind=pdf, pages=3`, or `kind=pdf or pages=3` for any of them."""
    between = " or " if headers.get("x-match") == "any" else ", "
    return between.join(f"{name}={_value_text(value)}" for name, value in headers.items() if name != "x-match")


def _value_text(value: Any) -> str:
    """Write a text as it is, unless it looks like a number, which is no text to an exchange."""
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)


def _binds(kind: str, binding: str, key: str, broker: str) -> bool:
    match kind:
        case "direct":
            return binding == key
        case "topic" if broker == "redis":
            return _topic_of_kombu(binding, key)
        case "topic":
            return _topic(binding.split("."), key.split("."))
        case "fanout" if broker == "redis":  # published under the key, and heard by patterns (fanout_patterns)
            return bool(key) and fnmatch.fnmatchcase(key, binding.replace("#", "*"))
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


#: of a binding key, for kombu: all other characters stand for themselves
_WILDCARDS = {"*": r"[^\.]+", "#": r".*?"}


def _topic_of_kombu(binding: str, key: str) -> bool:
    r"""Match as kombu does on Redis (kombu/transport/virtual/exchange.py): `#` is at least the dots around it.

    So `order.#` does not get `order`, as it does on RabbitMQ, and `*` is no empty word.
    """
    escaped = "".join(c if c.isalnum() or c in ".#*" else f"\\{c}" for c in binding)
    pattern = r"\.".join(_WILDCARDS.get(word, word) for word in escaped.split("."))
    try:
        return re.match(f"^{pattern}$", key) is not None
    except re.error:  # such as a**
        return False


# --- Priorities -------------------------------------------------------------------------------------------


def wire(kind: str, priority: int | None) -> int | None:
    """Return the number a broker of this kind gets for a priority, and the other way round.

    On Redis 0 runs first, so it is inverted there, within the ten steps that kombu knows.
    """
    if priority is None or kind != "redis":
        return priority
    return min(HIGHEST, max(0, HIGHEST - priority))
