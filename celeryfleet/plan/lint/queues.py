"""Rules about queues: who reads them, and what their broker makes of their exchange and arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celeryfleet.plan.lint.values import Case, Found, Level, rule

if TYPE_CHECKING:
    from celeryfleet.plan.values import QueuePlan

#: arguments that mean something on Redis, or whose lack changes nothing there (kombu/transport/redis.py)
_ON_REDIS = frozenset({"x-expires", "x-max-priority", "x-queue-type"})


@rule("CF010", "queue-unread", "A queue that no pool reads", Level.WARNING)
def unread(case: Case) -> Iterator[Found]:
    """Find queues whose tasks wait for ever."""
    read = {queue for pool in case.fleet.pools.values() for queue in pool.queues}
    for queue in case.plan.queues:
        if case.fleet.pools and queue.name not in read:
            yield Found(
                case.fleet.where("queues", queue.name),
                f'no pool reads the queue "{queue.name}": its tasks wait for ever.',
                "Add it to the `queues` of a pool, or remove it.",
            )


@rule("CF011", "headers-on-redis", "A headers exchange on Redis", Level.WARNING)
def headers(case: Case) -> Iterator[Found]:
    """Find what makes a worker on Redis lose its connection for ever."""
    for queue in case.plan.queues:
        if case.on_redis and queue.exchange_type == "headers":
            yield Found(
                case.fleet.where("queues", queue.name, "exchange"),
                f'the queue "{queue.name}" has a headers exchange, which makes workers on Redis reconnect for ever.',
                "Use a topic exchange, or RabbitMQ.",
            )


@rule("CF012", "fanout-on-redis", "A fanout exchange on Redis", Level.WARNING)
def fanout(case: Case) -> Iterator[Found]:
    """Find queues that are Redis channels: nothing is stored, and everyone hears everything."""
    for queue in case.plan.queues:
        if case.on_redis and queue.exchange_type == "fanout":
            yield Found(
                case.fleet.where("queues", queue.name, "exchange"),
                f'the queue "{queue.name}" has a fanout exchange, which on Redis loses what no live worker hears '
                "and runs it in each worker that does.",
                "Use a topic exchange with the key #, or RabbitMQ.",
            )


@rule("CF013", "quorum-priority", "A quorum queue with max_priority", Level.WARNING)
def quorum_priority(case: Case) -> Iterator[Found]:
    """Find queues that RabbitMQ refuses to declare."""
    for queue in case.plan.queues:
        given = arguments(case, queue)
        if case.on_rabbitmq and given.get("x-queue-type") == "quorum" and "x-max-priority" in given:
            yield Found(
                case.where(("queues", queue.name, "max_priority"), ("queues", queue.name, "arguments")),
                f'RabbitMQ refuses the queue "{queue.name}": a quorum queue has no max_priority '
                "(406 PRECONDITION_FAILED).",
                "Make it `type: classic`, or drop max_priority.",
            )


def arguments(case: Case, queue: QueuePlan) -> dict[str, Any]:
    """Return a queue's arguments as Celery declares them: one setting gives every queue a highest priority."""
    most = case.plan.settings.get("task_queue_max_priority")
    return ({} if most is None else {"x-max-priority": most}) | queue.arguments


@rule("CF014", "argument-ignored", "A queue argument that Redis does not know", Level.WARNING)
def ignored_arguments(case: Case) -> Iterator[Found]:
    """Find limits and dead letters that exist on RabbitMQ alone."""
    for name, queue in case.fleet.queues.items():
        ignored = ["max_length"] if queue.max_length is not None else []
        ignored += ["type: quorum"] if queue.type == "quorum" else []
        ignored += [argument for argument in queue.arguments if argument not in _ON_REDIS]
        if case.on_redis and ignored:
            yield Found(
                case.fleet.where("queues", name, "arguments" if ignored[0].startswith("x-") else ignored[0][:10]),
                f'Redis ignores {" and ".join(ignored)} of the queue "{name}".',
                "RabbitMQ alone knows these: remove them, or use it as the broker.",
            )


@rule("CF015", "queue-collision", "A queue name that collides with Redis's priority lists", Level.WARNING)
def collisions(case: Case) -> Iterator[Found]:
    """Find names that kombu takes for a priority list of another queue; with its own separator there are none."""
    sep = case.plan.broker.sep
    for queue in case.plan.queues if case.on_redis else ():
        if sep in queue.name:
            yield Found(
                case.fleet.where("queues", queue.name),
                f'the name "{queue.name}" holds the separator of priority lists, "{sep}": its messages are taken for '
                f'those of "{queue.name.rpartition(sep)[0]}", and a worker takes them and puts them back for ever.',
                "Rename the queue, or remove `sep` from broker_transport_options.",
            )


@rule("CF016", "delay-in-worker", "Delayed tasks that hold a worker's slots", Level.WARNING)
def held_delays(case: Case) -> Iterator[Found]:
    """Find direct exchanges beside a quorum queue: delays go through the broker then, but not to those."""
    quorum = any(queue.arguments.get("x-queue-type") == "quorum" for queue in case.plan.queues)
    for queue in case.plan.queues if case.on_rabbitmq and quorum else ():
        if queue.exchange_type == "direct":
            yield Found(
                case.fleet.where("queues", queue.name, "exchange"),
                f'countdown, eta and retries of tasks in "{queue.name}" hold a slot of a worker until they are due: '
                "beside a quorum queue Celery delays on the broker, but not through a direct exchange.",
                "Remove `exchange:`, for celeryfleet to choose one, or make it `type: topic`.",
            )


RULES = (unread, headers, fanout, quorum_priority, ignored_arguments, collisions, held_delays)
