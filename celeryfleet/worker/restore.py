"""Bringing back the messages that a dead worker had taken but not acknowledged; Redis only.

Each worker keeps what it has taken under a key of its own (`unacked:<node>`), and the supervisor knows when a worker
is dead. So its messages need not wait for the visibility timeout: its successor puts them back, in front, at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from celery.utils.log import get_logger
from kombu.utils.encoding import bytes_to_str

logger = get_logger(__name__)

KEY_OPTIONS = ("unacked_key", "unacked_index_key", "unacked_mutex_key")


def bring_back(app: Any, nodes: Sequence[str], running: Collection[str] = (), own: Any = None) -> int:
    """Requeue what these nodes had taken, but for the delivery tags still `running`; return the number of messages.

    `own` is a connection whose keys are those of the first node already, if there is one.

    A node may be the caller itself, before it takes anything: as its own successor, or after it has lost its
    connection, at which Celery drops all that it had not yet started.
    """
    if not nodes or not _on_redis(app):
        return 0
    if own is None:
        return sum(_restore_as(app, node, running) for node in nodes)
    return _restore(app, own, nodes[0], running) + sum(_restore_as(app, node, running) for node in nodes[1:])


def _on_redis(app: Any) -> bool:
    return bool(app.connection_for_write().transport.driver_type == "redis")


def _restore_as(app: Any, node: str, running: Collection[str]) -> int:
    """Requeue what another node had taken."""
    options = dict(app.conf.broker_transport_options)
    options |= {key: f"{key.removesuffix('_key')}:{node}" for key in KEY_OPTIONS}
    connection = app.connection_for_write(transport_options=options)
    try:
        return _restore(app, connection, node, running)
    finally:
        connection.release()


def _restore(app: Any, connection: Any, node: str, running: Collection[str]) -> int:
    tags: list[str] = []
    try:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            taken = [bytes_to_str(tag) for tag in client.zrange(channel.unacked_index_key, 0, -1, desc=True)]
            tags = [tag for tag in taken if tag not in running]
            for queue in app.amqp.queues.values() if tags else ():
                # The channel looks up where a message belongs by its exchange, whose type it knows once declared.
                queue.exchange.bind(channel).declare()
            for tag in tags:  # newest first, each to the front: the oldest ends up first
                channel.qos.restore_by_tag(tag, client)
    except connection.connection_errors as error:
        logger.warning("could not look for messages that %s left behind: %s", node, error)
        return 0
    if tags:
        logger.warning("%s messages that %s had taken are back in their queues", len(tags), node)
    return len(tags)
