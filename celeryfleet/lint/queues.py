"""Rules about queues: who reads them, and what their broker makes of their exchange and arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.routing.table import DeadLetters, keys_of
from celeryfleet.text import listed

if TYPE_CHECKING:
    from celeryfleet.routing.queue import Queue

#: arguments that mean something on Redis, or whose lack changes nothing there (kombu/transport/redis.py)
_ON_REDIS = frozenset({"x-expires", "x-max-priority", "x-queue-type"})


@rule("CF010", "queue-unread", "A queue that no pool reads", Level.WARNING)
def unread(case: Case) -> Iterator[Found]:
    """Find queues whose tasks wait for ever."""
    read = {queue for pool in case.fleet.pools.values() for queue in pool.queues}
    read |= _dead_letter_queues(case)
    for queue in case.plan.queues:
        if case.fleet.pools and queue.name not in read:
            yield Found(
                case.fleet.where("queues", queue.name),
                f'no pool reads the queue "{queue.name}": its tasks wait for ever.',
                "Add it to the `queues` of a pool, or remove it.",
            )


def _dead_letter_queues(case: Case) -> set[str]:
    """Name the queues that get dead letters and nothing else that is known: people look into them."""
    if not case.on_rabbitmq:
        return set()
    table = case.plan.routing
    queues = table.queues
    sources = {queue.name: letters for queue in queues if (letters := table.dead_letters(queue))}
    found = {
        queue.name
        for queue in queues
        for source, letters in sources.items()
        if source != queue.name and (queue.name in letters.queues or queue.exchange == letters.exchange)
    }
    options = [item["options"] for item in table.routes if "options" in item]
    sent = {name for given in [{}, *options] for name in table.follow_route(given).queues}
    return found - sent


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


def arguments(case: Case, queue: Queue) -> dict[str, Any]:
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


@rule("CF017", "dead-letters-lost", "Dead letters that reach no queue", Level.WARNING)
def lost_letters(case: Case) -> Iterator[Found]:
    """Find dead-letter exchanges that no queue of the fleet gets anything from."""
    for queue in case.plan.queues if case.on_rabbitmq else ():
        letters = case.plan.routing.dead_letters(queue)
        if letters is None or letters.queues:
            continue
        what, hint = _unbound(case, queue, letters) if letters.declared else _undeclared(case, queue, letters)
        yield Found(_said_dead(case, queue), f"{what}: RabbitMQ drops them.", hint)


def _undeclared(case: Case, queue: Queue, letters: DeadLetters) -> tuple[str, str]:
    exchange = letters.exchange
    what = (
        f'the dead letters of "{queue.name}" go to the exchange "{exchange}", which no queue of this file is bound to'
    )
    same = case.plan.routing.get(exchange)
    if same is not None:
        own = f'The queue "{same.name}" is bound to the exchange "{same.exchange}".'
        return what, f"{own} Give it exchange: {{name: {exchange}, type: fanout}}"
    guess = did_you_mean(exchange, [other.exchange for other in case.plan.queues])
    return what, guess or f"Declare a queue for them, such as dead: {{exchange: {{name: {exchange}, type: fanout}}}}"


def _unbound(case: Case, queue: Queue, letters: DeadLetters) -> tuple[str, str]:
    exchange, key = letters.exchange, letters.routing_key
    if not exchange:
        guess = did_you_mean(key, [other.name for other in case.plan.queues]) or "Name a queue of this file."
        return f'the dead letters of "{queue.name}" go to the queue "{key}", which this file does not declare', guess
    keys = [key] if key else list(keys_of(queue) or ())
    theirs = f", whose routing key is {listed(keys, 'or')}" if keys else ""
    what = f'no queue of the exchange "{exchange}" takes the dead letters of "{queue.name}"{theirs}'
    bound = next(other for other in case.plan.queues if other.exchange == exchange)
    if bound.exchange_type == "topic":
        return what, 'Give a queue of it the routing_key "#", which takes all.'
    fanout = f"have its exchange take all: exchange: {{name: {exchange}, type: fanout}}"
    return what, f"Add x-dead-letter-routing-key: {bound.routing_key}, or {fanout}"


@rule("CF018", "dead-letters-return", "Dead letters that come back", Level.WARNING)
def returning_letters(case: Case) -> Iterator[Found]:
    """Find queues that get their own dead letters."""
    for queue in case.plan.queues if case.on_rabbitmq else ():
        letters = case.plan.routing.dead_letters(queue)
        if letters is not None and queue.name in letters.queues:
            yield Found(
                _said_dead(case, queue),
                f'the dead letters of "{queue.name}" come back to it: a task that is rejected runs again, for ever.',
                "Name another queue with x-dead-letter-routing-key, or another exchange.",
            )


@rule("CF089", "age-unknown", "An alert about the age of messages on a broker that does not tell it", Level.WARNING)
def unknown_ages(case: Case) -> Iterator[Found]:
    """Find alerts that never begin."""
    for index, alert in enumerate(case.fleet.alerts):
        if alert.when == "oldest_age" and not case.on_redis:
            yield Found(
                case.fleet.where("alerts", index, "when"),
                "nobody knows how old the messages of this broker are: the alert never begins.",
                "Use when: backlog_growing.",
            )


def _said_dead(case: Case, queue: Queue) -> str:
    return case.fleet.where("queues", queue.name, "arguments", "x-dead-letter-exchange")


RULES = (
    unread,
    headers,
    fanout,
    quorum_priority,
    ignored_arguments,
    collisions,
    held_delays,
    lost_letters,
    returning_letters,
    unknown_ages,
)
