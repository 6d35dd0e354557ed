"""Follows a message through the exchanges to its queues, as Celery and the brokers do; asks none of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from celeryfleet.routing.match import takes
from celeryfleet.routing.queue import Queue, unknown

#: an item of `task_routes` in JSON form
Item: TypeAlias = Mapping[str, Any]

#: the priority that runs first, on every broker
HIGHEST = 9
LOWEST = 0

_REDIS = ("redis", "rediss", "sentinel")
_AMQP = ("amqp", "amqps", "pyamqp", "librabbitmq")
_WILDCARDS = ("*", "#")


def transport_of(url: str | Sequence[str]) -> str:
    """Return the transport of a broker URL, or of the first of several: redis, amqp or other."""
    first = url if isinstance(url, str) else next(iter(url), "")
    scheme = first.partition("://")[0].partition("+")[0].lower()
    if scheme in _REDIS:
        return "redis"
    return "amqp" if scheme in _AMQP else "other"


def wire(transport: str, priority: int | None) -> int | None:
    """Return the number the broker gets for a priority, and the other way round.

    On Redis 0 runs first, so it is inverted there, within the ten steps that kombu knows.
    """
    if priority is None or transport != "redis":
        return priority
    return min(HIGHEST, max(0, HIGHEST - priority))


@dataclass(frozen=True, slots=True)
class Destination:
    """What the broker does with a message."""

    #: None where an exchange decides
    queue: str | None
    #: every queue that gets the message; empty: none does
    queues: tuple[str, ...]
    exchange: str
    exchange_type: str
    routing_key: str
    #: those that are given, and none of Celery's own
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Where RabbitMQ sends what a queue gives up: rejected, expired, or too much for it."""

    #: empty: the nameless one, to which each queue is bound by its name
    exchange: str
    #: of x-dead-letter-routing-key; empty: each letter keeps the key that it came with
    routing_key: str
    #: queues that get them, or may, where the key that they came with is not known; empty: they are lost
    queues: tuple[str, ...]
    #: whether a queue of fleet.yaml is bound to the exchange
    declared: bool


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All that decides where a message goes."""

    queues: tuple[Queue, ...]
    #: whose exchanges are meant: redis, amqp or other
    broker: str = "amqp"
    default_queue: str = ""
    default_key: str = ""
    #: `task_routes` in JSON form
    routes: Sequence[Item] = ()
    #: pools, and the queues that they read
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: whether Celery makes a queue that is not declared
    creates: bool = False
    #: whether the broker gives the sender back what no queue takes; else it drops it
    gives_back: bool = False

    @classmethod
    def of(cls, app: Any, url: str | None = None) -> RoutingTable:
        """Read the queues that a Celery app declares; `url` is that of its broker, if not the one that it writes to."""
        queues = (queue for queue in app.amqp.queues.values() if queue.exchange is not None)
        return cls(tuple(map(Queue.of, queues)), transport_of(url or app.conf.broker_write_url or ""))

    def queue(self, name: str, namer: str = "", where: str = "") -> Queue:
        """Find a queue. Raises FleetError with a guess; `namer` says who has named it, if not the caller."""
        found = self.get(name)
        if found is None:
            raise unknown(name, (queue.name for queue in self.queues), namer, where)
        return found

    def get(self, name: object) -> Queue | None:
        """Find a queue, if there is one."""
        return next((queue for queue in self.queues if queue.name == name), None)

    def wire(self, priority: int | None) -> int | None:
        """Return the number that the broker gets for a priority, and the other way round."""
        return wire(self.broker, priority)

    def readers(self, queues: Iterable[str]) -> tuple[str, ...]:
        """Name the pools that read one of these queues."""
        wanted = set(queues)
        return tuple(name for name, read in self.pools.items() if not wanted.isdisjoint(read))

    @property
    def ranks(self) -> bool:
        """Tell whether any route of it gives a priority; else that of a message on Redis means nothing."""
        return any("priority" in item.get("options", item) for item in self.routes)

    @property
    def fate(self) -> str:
        """Say what becomes of a message that no queue takes."""
        return "sending it fails (NO_ROUTE)" if self.gives_back else "it is lost"

    # --- A message ----------------------------------------------------------------------------------------

    def follow(self, options: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> Destination:
        """Follow a message with these options (queue, exchange, exchange_type, routing_key) and headers to its queues.

        This is what Celery's `send_task_message` does with them (celery/app/amqp.py). Headers are as in `reached`.
        Raises FleetError for an unknown queue.
        """
        exchange, key = options.get("exchange"), options.get("routing_key")
        name = options.get("queue") or (self.default_queue if exchange is None else None)
        queue = self.queue(name) if name is not None else None
        exchange_type = options.get("exchange_type") or (queue.exchange_type if queue else "direct")
        if exchange_type == "direct" and not (exchange and key):
            return _straight(queue)
        if exchange is None and queue is not None:
            exchange, key = queue.exchange, key or queue.routing_key
            reached = self.reached(exchange, key, headers)
            return Destination(queue.name if queue.name in reached else None, reached, exchange, exchange_type, key)
        exchange, key = exchange or "", key or ""
        return Destination(
            None, self.reached(exchange, key, headers), exchange, self.type_of(exchange) or exchange_type, key
        )

    def follow_route(self, options: Mapping[str, Any], task: str | None = None) -> Destination:
        """Follow what is sent by a `task_routes` item with these options, when the call says nothing of its own.

        Where the options have no headers the call must say some, so a headers exchange may copy to any of its queues.
        """
        given = options.get("headers")
        headers = message_headers(task, given) if given else None
        return replace(self.follow(self.laid_over(options, {}), headers), headers=dict(given or {}))

    def laid_over(self, routed: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
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
            route.setdefault("routing_key", self.default_key)
        return {**route, **asked}

    def reached(self, exchange: str, key: str, headers: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """Name the queues that an exchange copies a message with this key and these headers to, in their order.

        Without headers it is not known what a headers exchange will decide by: all that it may copy to are named.
        """
        return tuple(queue.name for queue in self.queues if _takes(queue, exchange, key, self.broker, headers))

    def type_of(self, exchange: str) -> str:
        """Return the type of an exchange; empty: no queue is bound to it."""
        return next((queue.exchange_type for queue in self.queues if queue.exchange == exchange), "")

    def addressed(self, exchange: str, key: str, headers: Mapping[str, Any]) -> str:
        """Say where a message was sent; of its headers, those that are not Celery's own."""
        if not exchange:
            return f'the queue "{key}"'
        if self.type_of(exchange) != "headers":
            return f'the exchange "{exchange}" with the routing key "{key}"'
        from celeryfleet.fleetfile.headers import OWN  # producers need none of it

        given = headers_text({name: value for name, value in headers.items() if name not in OWN})
        return f'the headers exchange "{exchange}" with {given or "no headers of its own"}'

    # --- Dead letters -------------------------------------------------------------------------------------

    def dead_letters(self, queue: Queue) -> DeadLetters | None:
        """Follow a queue's dead letters; None: it has no dead-letter exchange, and what it gives up is dropped."""
        exchange = queue.arguments.get("x-dead-letter-exchange")
        if not isinstance(exchange, str):
            return None
        key = str(queue.arguments.get("x-dead-letter-routing-key", ""))
        reached = tuple(other.name for other in self.queues if _gets(other, exchange, key, queue))
        return DeadLetters(exchange, key, reached, not exchange or bool(self.type_of(exchange)))


def _straight(queue: Queue | None) -> Destination:
    """Follow a message that Celery gives to the nameless exchange with a queue's name as its key."""
    if queue is None:
        return Destination(None, (), "", "direct", "")
    if queue.exchange_type != "direct":
        return Destination(queue.name, (queue.name,), "", "direct", queue.name)
    return Destination(queue.name, (queue.name,), queue.exchange, "direct", queue.routing_key)


def _takes(queue: Queue, exchange: str, key: str, broker: str, headers: Mapping[str, Any] | None = None) -> bool:
    if not exchange:  # the nameless one, to which each queue is bound by its name
        return queue.name == key
    if queue.exchange != exchange:
        return False
    if queue.exchange_type == "headers":
        return headers is None or _wanted(queue.headers, headers)
    return takes(queue.exchange_type, queue.routing_key, key, broker)


def keys_of(queue: Queue) -> tuple[str, ...] | None:
    """Return the routing keys that messages come to a queue with; None: any that its exchange lets through.

    Celery sends to a direct queue by its name, through the nameless exchange, whatever its routing key is.
    """
    if queue.exchange_type == "direct":
        return tuple(dict.fromkeys((queue.name, queue.routing_key)))
    if queue.exchange_type == "topic" and set(_WILDCARDS).isdisjoint(queue.routing_key.split(".")):
        return (queue.routing_key,)
    return None


def _gets(queue: Queue, exchange: str, key: str, source: Queue) -> bool:
    """Tell whether a queue gets a dead letter of another one; of what is not known, that it may."""
    if exchange and (queue.exchange != exchange or queue.exchange_type not in ("direct", "topic")):
        return queue.exchange == exchange
    keys = (key,) if key else keys_of(source)
    if keys is not None:
        return any(_takes(queue, exchange, one, "amqp") for one in keys)
    if (exchange and queue.exchange_type == "topic") or source.exchange_type != "topic":
        return True
    wanted = queue.routing_key if exchange else queue.name  # the one key that gets there: can a letter have it?
    return _takes(source, source.exchange, wanted, "amqp")


# --- Headers ----------------------------------------------------------------------------------------------

#: a header whose value is not known, but that it has one
_ANY = object()


def message_headers(task: str | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the headers by which an exchange may decide: those that are given, and what Celery says in a first try."""
    return {"task": _ANY if task is None else task, "lang": "py", "retries": 0, **(given or {})}


def _wanted(binding: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Match as RabbitMQ does: a header that is not there does not match, and nor does a 1 where a "1" is wanted."""
    matches = (name in headers and _same(value, headers[name]) for name, value in binding.items() if name != "x-match")
    return any(matches) if binding.get("x-match") == "any" else all(matches)


def _same(one: Any, other: Any) -> bool:
    return other is _ANY or (type(one) is type(other) and bool(one == other))


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
