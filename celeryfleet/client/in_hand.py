"""Queues in hand: what waits in one is looked at and moved, on whichever broker it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from celeryfleet.client.messages import reason
from celeryfleet.errors import Exit, FleetError
from celeryfleet.redis_client import BrokerError, connect

if TYPE_CHECKING:
    from celeryfleet.client.messages import Message
    from celeryfleet.plan.values import Plan

#: dead letters that are looked at for their reasons
_LOOKED_AT = 100


def peek(plan: Plan, queue: str, count: int | None = None) -> list[Message]:
    """Return the first messages of a queue in the order in which workers take them; None: all. Raises FleetError."""
    _refuse_quorum(plan, queue)
    with _asked(plan):
        if plan.broker.transport == "redis":
            from celeryfleet.client import redis_queue

            with connect(plan.broker.url, settings=plan.settings) as connection:
                found = redis_queue.waiting(connection, plan.broker, queue, count)
        else:
            from celeryfleet.client import amqp_queue

            found = amqp_queue.waiting(plan, queue, count)
    return [_as_written(plan, message) for message in found]


def move(
    plan: Plan,
    queue: str,
    choose: Callable[[Message], str | None],
    count: int | None = None,
    picky: bool = True,
    on_progress: Callable[[int], object] = lambda moved: None,
) -> list[Message]:
    """Put messages, at most `count`, into the queues that are chosen for them, as if they had just been sent there.

    They keep their order and their priority. `picky` tells whether some may stay, which are then looked at like those
    of `peek`. `on_progress` is told how many were moved, where it may raise. Returns those; raises FleetError.
    """
    if picky:
        _refuse_quorum(plan, queue)
    with _asked(plan):
        if plan.broker.transport == "redis":
            from celeryfleet.client import redis_queue

            with connect(plan.broker.url, settings=plan.settings) as connection:
                return redis_queue.move(connection, plan.broker, queue, choose, count, picky, on_progress)
        from celeryfleet.client import amqp_queue

        return amqp_queue.move(plan, queue, choose, count, on_progress)


@dataclass(frozen=True, slots=True)
class Dead:
    """A queue of dead letters."""

    queue: str
    ready: int
    #: the queues whose messages end there
    sources: tuple[str, ...]
    #: how many of those that were looked at are there for which reason; None: it was not looked
    reasons: dict[str, int] | None
    parked: bool = False


def dead(plan: Plan, ready: Mapping[str, int]) -> list[Dead]:
    """Return the queues of dead letters, those of parked tasks last; `ready` are messages. Raises FleetError."""
    table, sources = plan.routing, dict[str, list[str]]()
    for queue in plan.queues if plan.broker.transport == "amqp" else ():
        letters = table.dead_letters(queue)
        for target in letters.queues if letters else ():
            sources.setdefault(target, []).append(queue.name)
    sources[plan.parked] = [queue.name for queue in plan.queues]
    return [
        Dead(name, ready.get(name, 0), tuple(origins), _reasons(plan, name, ready.get(name, 0)), name == plan.parked)
        for name, origins in sources.items()
    ]


def _reasons(plan: Plan, queue: str, ready: int) -> dict[str, int] | None:
    if not ready or is_quorum(plan, queue):
        return None
    return dict(Counter(reason(message.headers) or "unknown" for message in peek(plan, queue, _LOOKED_AT)))


@contextmanager
def _asked(plan: Plan) -> Iterator[None]:
    try:
        yield
    except BrokerError as error:
        raise FleetError(f"the broker {plan.broker.shown} cannot be asked: {error.reason}.", code=Exit.BROKER) from None


def is_quorum(plan: Plan, queue: str) -> bool:
    """Tell whether a look into this queue counts as a delivery of all that is seen."""
    found = plan.routing.get(queue)
    return plan.broker.transport == "amqp" and found is not None and found.arguments.get("x-queue-type") == "quorum"


def _refuse_quorum(plan: Plan, queue: str) -> None:
    if is_quorum(plan, queue):
        raise FleetError(
            f'not supported: to look into "{queue}", which is a quorum queue.',
            hint="RabbitMQ counts each look as a delivery, and gives a message up after some (x-delivery-limit).\n"
            f"`celeryfleet why {queue}` tells what is known without looking, and `queues move` moves all of it.",
        )


def _as_written(plan: Plan, message: Message) -> Message:
    """Return a message with its priority as fleet.yaml has it: 9 runs first; none where the fleet has no priorities."""
    table = plan.routing
    on_redis = table.broker == "redis" and not message.priority and not table.ranks
    return replace(message, priority=None if on_redis else table.wire(message.priority))
