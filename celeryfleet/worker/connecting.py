"""What a worker does around its connections to the broker: it goes on beating, and brings back what it had taken."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import consumer as consumer_module

from celeryfleet.worker.restore import bring_back

if TYPE_CHECKING:
    from celeryfleet.worker.heartbeat import Heartbeat

logger = get_logger(__name__)


def watch(heart: Heartbeat, restore: Sequence[str]) -> None:
    """Keep beating while Celery tries to reach the broker, when its event loop does not run."""
    #: channels of lost connections, by which tasks that go on will acknowledge their messages
    lost: WeakSet[Any] = WeakSet()
    #: what tasks that ended meanwhile would have acknowledged: (channel, delivery tag)
    owed: list[tuple[Any, str]] = []
    check_shutdown = consumer_module.maybe_shutdown
    connect_by_celery, close_by_celery = consumer_module.Consumer.connect, consumer_module.Consumer.on_close
    lose_by_celery = consumer_module.Consumer.on_connection_error_after_connected

    def maybe_shutdown() -> None:
        heart.tick()
        check_shutdown()

    def connect(self: Any) -> Any:
        heart.connecting = True
        heart.beat_if_changed()
        if not self.first_connection_attempt:
            _try_quickly(heart)
        connection = connect_by_celery(self)
        heart.connecting = False
        heart.beat_if_changed()
        running = _tags(heart.handed_over | set(state.active_requests.data))
        _lend(connection, lost, owed)
        bring_back(heart.app, restore, running, own=connection)
        heart.app.amqp.queues.deselect(heart.paused)
        return connection

    def on_close(self: Any) -> None:
        if heart.app.conf.worker_pool != "prefork":
            # Only prefork takes back what it was given and has not started; elsewhere it will run.
            heart.handed_over = {known for known in heart.handed_over if known() is not None}
            heart.handed_over |= set(state.reserved_requests.data)
        close_by_celery(self)

    def on_connection_error(self: Any, exc: BaseException) -> None:
        # kombu, as it drops the lost connection, would requeue all that was taken, what goes on running included.
        for channel in tuple(getattr(self.connection.transport, "channels", ())) if restore else ():
            channel.do_restore = False
            channel.basic_ack = partial(_owe, owed, channel)
            lost.add(channel)
        if not restore:
            _give_up_acknowledging(set(state.reserved_requests.data))
        # Celery explains a setting at length, at each loss. Its filter for that is newer than an earlier one of ours.
        warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced an optional breaking change", Warning)
        lose_by_celery(self, exc)

    consumer_module.maybe_shutdown = maybe_shutdown
    consumer_module.Consumer.on_connection_error_after_connected = on_connection_error
    consumer_module.Consumer.connect = connect
    consumer_module.Consumer.on_close = on_close


def _give_up_acknowledging(requests: Iterable[Callable[[], Any]]) -> None:
    """Say in a line, not in a traceback, that a task of a lost connection ended too late to be acknowledged.

    A RabbitMQ hands out anew, at once, what was not acknowledged when the connection was lost.
    """
    names: dict[Any, str] = {}
    channels = set()
    for request in (found for reference in requests if (found := reference()) is not None):
        names[request.message.delivery_tag] = f"{request.name}[{request.id}]"
        channels.add(request.message.channel)

    def too_late(delivery_tag: Any, *_: Any, **__: Any) -> None:
        name = names.get(delivery_tag, "a task")
        logger.warning("%s ended after its connection was lost; the broker has handed it out again", name)

    for channel in channels:
        channel.basic_ack = channel.basic_reject = too_late


def _owe(owed: list[tuple[Any, str]], channel: Any, delivery_tag: str, multiple: bool = False) -> None:
    """Remember to acknowledge a message: its task has ended while there is no connection."""
    owed.append((channel, delivery_tag))


def _lend(connection: Any, lost: WeakSet[Any], owed: list[tuple[Any, str]]) -> None:
    """Have the channels of lost connections acknowledge by this one, first of all what is owed.

    What a closed channel of kombu's acknowledges raises an AttributeError, which ends the worker (seen in 5.7, when
    the broker was killed under tasks with acks_late).
    """
    with contextlib.suppress(*connection.connection_errors):
        for channel in tuple(lost):
            channel.conn_or_acquire = connection.default_channel.conn_or_acquire
            channel.__dict__.pop("basic_ack", None)
        while owed:
            channel, tag = owed.pop()
            channel.basic_ack(tag)


def _tags(requests: Iterable[Callable[[], Any]]) -> set[str]:
    """Return the delivery tags of requests that weak references lead to."""
    return {request.message.delivery_tag for reference in requests if (request := reference()) is not None}


def _try_quickly(heart: Heartbeat) -> None:
    """Give the broker a second to come back: the fleet's own does so in 50 ms, and Celery first waits for 2 s."""
    connection = heart.app.connection_for_read()
    with contextlib.suppress(*connection.recoverable_connection_errors):
        connection.ensure_connection(
            max_retries=8,
            interval_start=0.01,
            interval_step=0.04,
            callback=consumer_module.maybe_shutdown,
            reraise_as_library_errors=False,  # a kombu OperationalError would end the worker here
        )
    connection.release()
