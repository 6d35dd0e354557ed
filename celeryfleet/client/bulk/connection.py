"""The connection of one bulk, and the fastest way to publish on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.backends.rpc import RPCBackend
from kombu.exceptions import OperationalError

from celeryfleet.client.bulk.publishers import PATIENCE, BatchPublisher, Recording
from celeryfleet.client.bulk.rabbit_publisher import RabbitPublisher
from celeryfleet.client.bulk.redis_publisher import RedisPublisher
from celeryfleet.client.publish import shown_url
from celeryfleet.errors import Exit, FleetError
from celeryfleet.routing.table import transport_of

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection


@contextmanager
def opened(app: Celery) -> Iterator[BatchPublisher]:
    """Connect to an app's broker and publish by the fastest way that it has. Raises FleetError."""
    if app.conf.task_always_eager:
        yield BatchPublisher(app, None)
        return
    _subscribe_to_none(app)
    with _connected(app) as connection:
        for publisher_class in (RedisPublisher, RabbitPublisher):
            if publisher_class.fits(connection):
                with publisher_class.on(app, connection) as publisher:
                    yield publisher
                return
    with app.producer_or_acquire() as producer:
        yield BatchPublisher(app, producer)


def _subscribe_to_none(app: Any) -> None:
    """Have the result backend subscribe to no results of recorded messages: a million subscriptions help nobody.

    The results are there all the same. Celery's switch for it (denied_join_result) is one for all threads.
    """
    backend = app.backend
    if isinstance(backend, RPCBackend) or "on_task_call" in vars(backend):  # RPC declares where results go
        return
    own = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> None:
        if not isinstance(producer, Recording):
            own(producer, task_id)

    backend.on_task_call = on_task_call


@contextmanager
def _connected(app: Any) -> Iterator[Connection]:
    """Connect: with no heartbeats, since nobody would send them between two items that are long in coming."""
    connection = app.connection_for_write(heartbeat=0)
    waits = {"redis": "socket_timeout", "amqp": "write_timeout"}.get(transport_of(app.conf.broker_write_url))
    if waits:
        connection.transport_options = {waits: PATIENCE, **connection.transport_options}
    timeout = app.conf.broker_connection_timeout
    try:
        connection.ensure_connection(
            max_retries=max(1, len(connection.alt)), interval_start=0, interval_step=0, timeout=timeout
        )
    except (OperationalError, *connection.connection_errors, *connection.channel_errors, OSError) as error:
        connection.release()
        what = f"The broker {shown_url(app.conf.broker_write_url)} cannot be reached: {error}"
        raise FleetError(what, hint="`celeryfleet status` says how the fleet is.", code=Exit.BROKER) from error
    try:
        yield connection
    finally:
        connection.release()
