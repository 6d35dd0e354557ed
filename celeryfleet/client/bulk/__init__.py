"""Publishes a task for each item of an iterable, as many at a time as the broker takes.

Celery builds the first messages of each shape; the rest are copies that differ in id, arguments and time alone. Where
messages may differ in more (see `copyable`), Celery builds them all, and they still go in batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from celeryfleet.app import installs
from celeryfleet.client.bulk import copyable, seam
from celeryfleet.client.bulk.items import Item
from celeryfleet.client.bulk.publishers import HINT, PATIENCE, BatchPublisher, Recording
from celeryfleet.client.bulk.rabbit_publisher import RabbitPublisher
from celeryfleet.client.bulk.redis_publisher import RedisPublisher
from celeryfleet.client.bulk.run import Bulk, BulkError, Run
from celeryfleet.client.bulk.shapes import Shapes, named
from celeryfleet.client.publish import shown_url
from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

__all__ = ["Bulk", "BulkError", "bulk", "fast"]


def bulk(
    app: Celery,
    task: Any,
    iterable: Iterable[Item],
    on_progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Bulk:
    """Publish a task for each item of an iterable, as `celeryfleet.bulk` says. Raises BulkError."""
    began = time.monotonic()
    if isinstance(iterable, repeat):
        length_hint(iterable)  # TypeError: it has no end
    with _opened(app) as publisher:
        run = Run(app, publisher, Shapes(app, publisher, task, options), on_progress or (lambda sent: None))
        run.each(iterable)
    return Bulk(run.settled, time.monotonic() - began, run.ids, run.queues, run.reason)


def fast(app: Celery, task: Any) -> str:
    """Say why Celery would have to build each message of a task, whatever the broker; empty: they can be copied."""
    return copyable.reason(app, *named(app, task))


_LINE = "To send to a fleet, after the app's own configuration add: import celeryfleet; celeryfleet.install(app)"


# --- The connection --------------------------------------------------------------------------------------


@contextmanager
def _opened(app: Celery) -> Iterator[BatchPublisher]:
    """Connect to an app's broker and publish by the fastest way that it has. Raises FleetError."""
    if app.conf.task_always_eager:
        yield BatchPublisher(app, None)
        return
    if not installs(app) and not app.conf.broker_write_url:
        raise FleetError("the app names no broker, and knows no fleet.", hint=_LINE)
    seam.subscribe_to_none(app, Recording)
    with _connected(app) as connection:
        for publisher_class in (RedisPublisher, RabbitPublisher):
            if type(connection.transport) in publisher_class.transports:
                with closing(publisher_class(app, connection)) as publisher:
                    yield publisher
                return
    with app.producer_or_acquire() as producer:
        yield BatchPublisher(app, producer)


@contextmanager
def _connected(app: Any) -> Iterator[Connection]:
    """Connect: with no heartbeats, since nobody would send them between two items that are long in coming."""
    with app.connection_for_write(heartbeat=0) as connection:
        waits = {"redis": "socket_timeout", "amqp": "write_timeout"}.get(connection.transport.driver_type)
        if waits:
            connection.transport_options = {waits: PATIENCE, **connection.transport_options}
        retries, timeout = max(1, len(connection.alt)), app.conf.broker_connection_timeout
        try:
            connection.ensure_connection(max_retries=retries, interval_start=0, interval_step=0, timeout=timeout)
        except (OperationalError, *connection.connection_errors, *connection.channel_errors, OSError) as error:
            what = f"The broker {shown_url(app.conf.broker_write_url)} cannot be reached: {error}"
            hint = HINT if installs(app) else f"{HINT} {_LINE}"
            raise FleetError(what, hint=hint, code=Exit.BROKER) from error
        yield connection
