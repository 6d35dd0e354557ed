"""The ways to a broker by which many messages go at once: what they share, and the plain one for all brokers.

A lane opens a connection of its own, lets Celery make messages on it, takes copies of them besides, and hands them
over in batches: one is on its way while the next is being made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from celery.backends.rpc import RPCBackend
from kombu import Producer
from kombu.exceptions import OperationalError

from celeryfleet.client.bulk.template import Made, Payload, Template
from celeryfleet.client.publish import shown_url
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.broker import kind

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

#: has Celery publish a message by a producer; returns the task's id
Publish: TypeAlias = Callable[[Any], str]
#: adds a message to the batch: its arguments, id, delivery tag, and when it is sent
Copy: TypeAlias = Callable[[Payload, str, str, float], None]
#: adds messages to the batch: their ids, their delivery tags, and when they are sent
Stamp: TypeAlias = Callable[[Sequence[str], Sequence[str], float], None]
#: seconds for the broker to answer
PATIENCE = 60.0


class LaneError(Exception):
    """A batch could not be handed over."""

    def __init__(self, what: str, hint: str, code: Exit, unsure: bool = True, refused: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code
        #: whether the broker may have some of the batch all the same
        self.unsure = unsure
        #: ids of those that it has not; it has all others
        self.refused = tuple(refused)


class Lane:
    """A way to the broker. This one publishes each message as Celery does, when it is made."""

    #: why messages cannot be copied; empty: they can
    reason = "only Redis and RabbitMQ (py-amqp) take many messages at once"

    def __init__(self, app: Celery, producer: Any) -> None:
        self._app = app
        self._producer = producer
        #: bytes in the batch, about
        self.size = 0

    def make(self, publish: Publish) -> tuple[str, list[Made]]:
        """Have Celery make a message; return the task's id, and what can be copied."""
        return publish(self._producer), []

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message made of a template to the batch, if that can be done."""
        raise NotImplementedError

    def stamper(self, template: Template, payload: Payload) -> Stamp:
        """Return what adds messages with the same arguments to the batch."""
        raise NotImplementedError

    def send(self) -> None:
        """Hand the batch over, without waiting. Raises LaneError."""

    def settle(self) -> None:
        """Wait until the broker has what was sent. Raises LaneError."""


class Recording(Producer):  # type: ignore[misc]
    """Celery's producer, but that it notes what a message was before it was encoded."""

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as kombu does."""
        self.content = body
        self.serializer, self.compression = options.get("serializer"), options.get("compression")
        declared, exchange = options.get("declare"), options.get("exchange")
        self.queue = str(declared[0].name if declared else getattr(exchange, "name", exchange) or "")
        return super().publish(body, **options)

    def made(self, headers: Any, properties: Any, body: Any, target: tuple[Any, ...], raw: Any) -> Made:
        """Say what was published last."""
        return Made(
            str(properties.get("correlation_id")),
            headers,
            properties,
            self.content,
            body,
            self.serializer,
            self.compression,
            target,
            self.queue,
            raw,
        )


@contextmanager
def opened(app: Celery) -> Iterator[Lane]:
    """Open the fastest lane to an app's broker. Raises FleetError."""
    from celeryfleet.client.bulk.amqp_lane import AmqpLane
    from celeryfleet.client.bulk.redis_lane import RedisLane

    if app.conf.task_always_eager:
        yield Lane(app, None)
        return
    _subscribe_to_none(app)
    with _connected(app) as connection:
        for lane_of in (RedisLane, AmqpLane):
            if lane_of.fits(connection):
                with lane_of.on(app, connection) as lane:
                    yield lane
                return
    with app.producer_or_acquire() as producer:
        yield Lane(app, producer)


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
    waits = {"redis": "socket_timeout", "amqp": "write_timeout"}.get(kind(app.conf.broker_write_url))
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
