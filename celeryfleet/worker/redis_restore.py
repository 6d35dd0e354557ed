"""Puts back what a worker had taken from Redis and will not acknowledge any more.

Each worker keeps what it has taken under a key of its own (`unacked:<node>`), and the supervisor knows when a worker
is dead. So its messages need not wait for the visibility timeout: its successor puts them back, in front, at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

if TYPE_CHECKING:
    from celeryfleet.worker.ownership import Ownership

logger = get_logger(__name__)

KEY_OPTIONS = ("unacked_key", "unacked_index_key", "unacked_mutex_key")


def bring_back(
    app: Any,
    nodes: Sequence[str],
    running: Collection[str] = (),
    own: Any = None,
    ownership: Ownership | None = None,
    dead: bool = False,
) -> list[str]:
    """Requeue what these nodes had taken, but for the delivery tags still `running`; return the nodes done with.

    `own` is a connection whose keys are those of the first node already, if there is one. With an `ownership`, what
    has another owner who is alive is left alone; `dead` are nodes that were found so in Redis.

    A node may be the caller itself, before it takes anything: as its own successor, or after it has lost its
    connection, at which Celery drops all that it had not yet started.
    """
    if not nodes or not _on_redis(app):
        return list(nodes)
    done = []
    for node in nodes:
        try:
            if own is not None and node == nodes[0]:
                count = _restore(app, own, running, set(app.amqp.queues.consume_from))
            else:
                count = _restore_as(app, node, running, ownership, dead)
        except Exception as error:  # the broker is away again, or full: what was taken stays where it is
            logger.warning("could not bring back the messages that %s had taken: %r", node, error)
            continue
        done.append(node)
        if count:
            logger.warning("%s messages that %s had taken are back in their queues", count, node)
    return done


def leave(app: Any, ownership: Ownership) -> None:
    """Own nothing any more, so that nobody has to wait for this worker's time to be over."""
    with contextlib.suppress(Exception), app.connection_for_write() as connection:
        connection.connect()
        ownership.forget(connection.default_channel, ownership.node)


def _on_redis(app: Any) -> bool:
    return bool(app.connection_for_write().transport.driver_type == "redis")


def _restore_as(app: Any, node: str, running: Collection[str], ownership: Ownership | None, dead: bool) -> int:
    """Requeue what another node had taken."""
    options = dict(app.conf.broker_transport_options)
    options |= {key: f"{key.removesuffix('_key')}:{node}" for key in KEY_OPTIONS}
    with app.connection_for_write(transport_options=options) as connection:
        connection.connect()  # once: `default_channel` would try for ever, and the worker's loop waits for us
        channel = connection.default_channel
        if ownership is not None and not ownership.take(channel, node, dead):
            return 0
        count = _restore(app, connection, running, set())
        if ownership is not None:
            ownership.forget(channel, node, dead)
        return count


def _restore(app: Any, connection: Any, running: Collection[str], mine: set[str]) -> int:
    """Requeue what is kept under the connection's keys; `mine` are the queues it was taken from, if known."""
    channel = connection.default_channel
    with channel.conn_or_acquire() as client:
        # Not `desc=True`: redis-py then sends ZREVRANGE, to which kombu adds no `global_keyprefix`.
        taken = map(bytes_to_str, reversed(client.zrange(channel.unacked_index_key, 0, -1)))
        tags = [tag for tag in taken if tag not in running]
        for queue in app.amqp.queues.values() if tags else ():
            # The channel looks up where a message belongs by its exchange, whose type it knows once declared.
            queue.exchange.bind(channel).declare()
        # Newest first, each to the front: the oldest ends up first.
        return sum(put_back(channel, client, tag, mine) for tag in tags)


def put_back(channel: Any, client: Any, tag: str, mine: set[str]) -> bool:
    """Requeue one message; tell whether there was one.

    As kombu's QoS.restore_by_tag, but that what is no message, or has no queue any more, stays where it is, and
    that a message that was taken from one of several bound queues is not put into the others, too.
    """

    def move(pipe: Any) -> bool:
        kept = pipe.hget(channel.unacked_key, tag)
        if kept is None:
            pipe.multi()
            channel.qos._remove_from_indices(tag, pipe)
            return False
        try:
            message, exchange, key = loads(bytes_to_str(kept))
            message.get("headers", {})["redelivered"] = True
            message.get("properties", {}).get("delivery_info", {})["redelivered"] = True
        except (ValueError, TypeError, AttributeError):
            logger.critical("this is no message, and is kept in %s as %s: %.200r", channel.unacked_key, tag, kept)
            return False
        queues = channel._lookup(exchange, key)
        if not queues:
            logger.warning("no queue is bound to %r with the key %r: %s stays unacknowledged", exchange, key, tag)
            return False
        priority = channel._get_message_priority(message, reverse=False)
        pipe.multi()
        channel.qos._remove_from_indices(tag, pipe)
        for queue in mine.intersection(queues) or queues:
            pipe.rpush(channel._q_for_pri(queue, priority), dumps(message))
        return True

    return bool(client.transaction(move, channel.unacked_key, value_from_callable=True))


def settle(channel: Any, delivery_tag: str, requeue: bool, mine: set[str]) -> None:
    """Acknowledge or requeue a message that another channel with our keys, which is lost, had taken."""
    if requeue:
        with channel.conn_or_acquire() as client:
            put_back(channel, client, delivery_tag, mine)
    else:
        channel.qos._remove_from_indices(delivery_tag).execute()
