"""Where RabbitMQ sends what a queue gives up: rejected, expired, or too much for it. Asks no broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeryfleet.routing.delivery import bound

if TYPE_CHECKING:
    from celeryfleet.plan.values import QueuePlan

_WILDCARDS = ("*", "#")


@dataclass(frozen=True, slots=True)
class Letters:
    """Where a queue's dead letters go."""

    #: empty: the nameless one, to which each queue is bound by its name
    exchange: str
    #: of x-dead-letter-routing-key; empty: each letter keeps the key that it came with
    routing_key: str
    #: queues that get them, or may, where the key that they came with is not known; empty: they are lost
    queues: tuple[str, ...]
    #: whether a queue of fleet.yaml is bound to the exchange
    declared: bool


def dead_letters(queues: Sequence[QueuePlan], queue: QueuePlan) -> Letters | None:
    """Follow a queue's dead letters; None: it has no dead-letter exchange, and what it gives up is dropped."""
    exchange = queue.arguments.get("x-dead-letter-exchange")
    if not isinstance(exchange, str):
        return None
    key = str(queue.arguments.get("x-dead-letter-routing-key", ""))
    declared = not exchange or any(other.exchange == exchange for other in queues)
    reached = tuple(other.name for other in queues if _gets(other, exchange, key, queue))
    return Letters(exchange, key, reached, declared)


def keys_of(queue: QueuePlan) -> tuple[str, ...] | None:
    """Return the routing keys that messages come to a queue with; None: any that its exchange lets through.

    Celery sends to a direct queue by its name, through the nameless exchange, whatever its routing key is.
    """
    if queue.exchange_type == "direct":
        return tuple(dict.fromkeys((queue.name, queue.routing_key)))
    if queue.exchange_type == "topic" and set(_WILDCARDS).isdisjoint(queue.routing_key.split(".")):
        return (queue.routing_key,)
    return None


def _gets(queue: QueuePlan, exchange: str, key: str, source: QueuePlan) -> bool:
    """Tell whether a queue gets a dead letter of another one; of what is not known, that it may."""
    if exchange and queue.exchange != exchange:
        return False
    kind = queue.exchange_type if exchange else "direct"
    if kind not in ("direct", "topic"):
        return True
    keys = (key,) if key else keys_of(source)
    if keys is not None:
        return any(bound((queue,), exchange, kind, one) for one in keys)
    if kind == "topic" or source.exchange_type != "topic":
        return True
    wanted = queue.routing_key if exchange else queue.name  # the one key that gets there: can a letter have it?
    return bool(bound((source,), source.exchange, "topic", wanted))
