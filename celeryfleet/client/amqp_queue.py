"""The messages that wait in a queue of RabbitMQ, or of another broker of kombu's: taken, read, and given back or moved.

AMQP has no other way to look: what was taken goes back to its place when the channel closes, marked as redelivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celeryfleet.client.broker import opened, ready
from celeryfleet.client.messages import Message, fresh
from celeryfleet.errors import Exit, FleetError
from celeryfleet.redis_client import BrokerError

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan

#: of a message, as AMQP has them; the others are given by themselves
_APART = ("application_headers", "content_type", "content_encoding", "priority")
_NO_ROUTE = 312


def waiting(plan: Plan, queue: str, count: int | None) -> list[Message]:
    """Return the first messages in the order in which they would be delivered; None: all. Raises BrokerError."""
    with _taken(plan, queue, count) as taken:
        return [message for _, message in taken]


def move(
    plan: Plan,
    queue: str,
    choose: Callable[[Message], str | None],
    count: int | None,
    on_progress: Callable[[int], object],
) -> list[Message]:
    """Send messages on to the queues that are chosen for them, in their order, as if they had just been sent there.

    Each is acknowledged once the broker has it there: it may be there twice if we are killed in between, but never
    nowhere. Returns those that were moved; raises BrokerError, and FleetError where a queue does not take one.
    """
    moved: list[Message] = []
    with _taken(plan, queue, None) as taken:
        while len(moved) != count and (each := next(taken, None)) is not None:
            raw, message = each
            target = choose(message)
            if target is not None:
                _send(raw, target, message.priority)
                moved.append(message)
                on_progress(len(moved))
    return moved


@contextmanager
def _taken(plan: Plan, queue: str, count: int | None) -> Iterator[Iterator[tuple[Any, Message]]]:
    """Give the messages that are in a queue now; those that are not acknowledged go back."""
    options = {**(plan.settings.get("broker_transport_options") or {}), "confirm_publish": True}
    with opened(plan.broker.url, {**plan.settings, "broker_transport_options": options}) as connection:
        try:
            there = ready(connection, [queue])[queue]
            channel = connection.channel()
            yield _messages(channel, queue, there if count is None else min(there, count))
            channel.close()
        except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
            raise BrokerError(plan.broker.shown, str(error)) from error


def _messages(channel: Any, queue: str, count: int) -> Iterator[tuple[Any, Message]]:
    for _ in range(count):
        raw = channel.basic_get(queue)
        if raw is None:
            return  # a worker has taken it
        raw = channel.message_to_python(raw)
        yield raw, Message.of(raw.headers, raw.body, raw.content_type, raw.properties.get("priority"))


def _send(raw: Any, queue: str, priority: int | None) -> None:
    """Publish a message once more, and acknowledge it."""
    headers = fresh(raw.headers)
    if not raw.errors:
        headers.pop("compression", None)  # kombu has undone that
    message = raw.channel.prepare_message(
        raw.body,
        priority=priority,
        content_type=raw.content_type,
        content_encoding=raw.content_encoding,
        headers=headers,
        properties={name: value for name, value in raw.properties.items() if name not in _APART},
    )
    publish(raw.channel, message, queue)
    raw.ack()


def publish(channel: Any, message: Any, queue: str, before: str = "") -> None:
    """Publish straight to a queue, on any broker of kombu's; `before` says what is done already.

    Raises FleetError where the queue is full or missing.
    """
    from amqp.exceptions import ChannelError, MessageNacked

    try:
        channel.basic_publish(message, exchange="", routing_key=queue, mandatory=True)
    except MessageNacked:
        raise FleetError(f'the queue "{queue}" is full, and takes no more.', hint=before, code=Exit.FAILURE) from None
    except ChannelError as error:
        if error.reply_code != _NO_ROUTE:
            raise
        what = f'the broker has no queue "{queue}".'
        raise FleetError(what, hint=f"`celeryfleet up` declares it. {before}".rstrip(), code=Exit.FAILURE) from None
