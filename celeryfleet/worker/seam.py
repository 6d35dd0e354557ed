"""What is changed of Celery's own worker, by subclasses of its Worker and Consumer; request.py and beat.py have more.

But for these three no module of this room leans on private names of Celery's. What is so leaned on was seen in 5.7.0;
tests/unit/worker/test_seam.py fails when it changes. kombu's part of it begins with redis_transport.py.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.bootsteps import RUN
from celery.exceptions import WorkerTerminate
from celery.utils.functional import noop
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown
from kombu.asynchronous import get_event_loop
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES

from celeryfleet.routing.conflicts import explained
from celeryfleet.worker.request import Request

if TYPE_CHECKING:
    from celeryfleet.worker.heartbeat import Heartbeat
    from celeryfleet.worker.ownership import Ownership

logger = get_logger(__name__)

#: seconds before the second try to reach the broker, by which each wait is longer, and of the longest:
#: the fleet's own broker is back in 50 ms, and whoever waits longer needs no more than a try a second
_RETRY = (0.01, 0.05, 1.0)
#: seconds between two tries to own a node of which another is the owner
_LOOK = 0.5
_NAMESAKE = (
    "another worker of the name %s is alive on this broker, so this one waits. Two machines or containers with one host"
    " name? Give one of them another by CELERYFLEET_HOST. One that was killed counts as alive for %g s"
)


def use_redis_channel() -> None:
    """Have kombu open our Redis channels; to be called before anything asks kombu for its own."""
    for scheme, transport in (("redis", "Transport"), ("rediss", "Transport"), ("sentinel", "SentinelTransport")):
        TRANSPORT_ALIASES[scheme] = f"celeryfleet.worker.redis_transport:{transport}"


def worker_class(app: Any, heartbeat: Heartbeat, restore: Sequence[str], set_title: Callable[[], None]) -> Any:
    """Derive from the app's worker and consumer those of a fleet.

    Whenever it connects to the broker, it first brings back what the dead nodes of `restore` had taken.
    """
    theirs = symbol_by_name(app.conf.worker_consumer)
    mailbox = app.control.mailbox
    mailbox.get_queue = functools.partial(_mailbox_queue, app, mailbox.get_queue)
    consumer = type("FleetConsumer", (Consumer, theirs), {"heartbeat": heartbeat, "restore": restore})

    class FleetWorker(app.Worker):  # type: ignore[misc]
        pool_cls: Any

        def setup_defaults(self, **options: Any) -> None:
            super().setup_defaults(**options, consumer_cls=consumer)
            if self.pool_cls == "prefork":
                self.pool_cls = "celeryfleet.worker.prefork:TaskPool"

        def set_process_status(self, info: str) -> None:
            set_title()

        def install_platform_tweaks(self, worker: Any) -> None:
            super().install_platform_tweaks(worker)
            signals.worker_shutting_down.connect(_end_the_wait, weak=False)
            if heartbeat.pool_blocks:
                signal.signal(signal.SIGQUIT, _end_the_task)
            # Celery would exec sys.argv again on SIGHUP, which is not a worker's command line here.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    return FleetWorker


def _mailbox_queue(app: Any, get_queue: Callable[[str], Any], node: str) -> Any:
    """Give a node's mailbox a queue of a new name with each connection to a RabbitMQ.

    Its name is not part of how a node is asked. By Celery's, made of the node's name, the queue is exclusive to a
    connection: where the network was cut, the broker believes in the last one for up to three heartbeats more, and
    refuses the queue to the next one (405), at which the worker would die, taking its running tasks along.
    """
    if app.connection_for_read().transport.driver_type == "amqp":
        node = f"{node}.{uuid.uuid4().hex}"
    return get_queue(node)


def _end_the_task(*_: Any) -> None:
    """Stop cold where the task runs in this very thread: its message goes back.

    Celery's handler asks the pool to kill it, which a solo one cannot, and says so by an error in the midst of the
    task: as its failure, which is acknowledged.
    """
    raise WorkerTerminate(1)


def _end_the_wait(**_: Any) -> None:
    """Have the event loop look at once whether it is to end: Python goes on with a wait that a signal interrupts."""
    hub = get_event_loop()
    if hub is not None:
        threading.Thread(target=hub.call_soon, args=(noop,)).start()  # what another thread asks for wakes it


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Goes on beating while it looks for the broker, and brings back what it had taken."""

    heartbeat: Heartbeat
    #: the nodes whose messages are brought back, this one first; none on RabbitMQ, which does so by itself
    restore: Sequence[str]
    #: kombu's, while there is a connection
    task_consumer: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        #: weak references to the tasks that go on though their connection was lost
        self._handed_over: set[Any] = set()
        #: delivery tags of tasks that ended after their connection was lost, and whether they are to be requeued
        self._unsettled: dict[str, bool] = {}
        #: by which channel that is done; none while there is no connection
        self._channel: Any = None
        super().__init__(*args, **options)
        handle: Callable[[Any], object] = args[0] if args else options["on_task_request"]
        suspects = self.heartbeat.suspects

        def admit(request: Any) -> None:
            self.heartbeat.recorder.soon()
            if request.id not in suspects.strikes or suspects.admit(request):
                handle(request)

        self.on_task_request = admit
        suspects.run = functools.partial(self.call_soon, admit)

    def start(self) -> None:
        """End the worker with one line, not a traceback, if RabbitMQ refuses a queue since it has become another."""
        try:
            super().start()
        except self.channel_errors as error:
            told = explained(str(error))
            if told is None:
                raise
            logger.critical("%s", told)
            raise SystemExit(1) from error

    def update_strategies(self) -> None:
        """Have the failures of all tasks counted."""

        @functools.cache
        def ours(theirs: type) -> type:
            return type("FleetRequest", (Request, theirs), {"__slots__": (), "heartbeat": self.heartbeat})

        for task in self.app.tasks.values():
            theirs = symbol_by_name(task.Request)
            if not issubclass(theirs, Request):
                task.Request = ours(theirs)
        super().update_strategies()

    def connect(self) -> Any:
        """Connect, settle what tasks of a lost connection owe, and put back what does not run."""
        self.heartbeat.connecting = True
        self.task_consumer = None  # that of a lost connection goes on naming its queues
        self.heartbeat.beat_if_changed()
        connection = super().connect()
        self.heartbeat.connecting = False
        self.heartbeat.beat_if_changed()
        if self.restore:
            self._bring_back(connection)
        return connection

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Reject what is no task wherever Celery stumbles over it, not only where it looks.

        Else it ends the worker and, since it comes back, its successors; or it reconnects for ever, since a KeyError
        counts as the loss of a Redis.
        """
        handle = super().create_task_handler(*args, **options)

        recorder = self.heartbeat.recorder

        def handle_if_task(message: Any) -> None:
            recorder.soon()
            try:
                handle(message)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                if _is_task(message):
                    raise
                logger.error("a message from %s is no task: %r", message.delivery_info, error)
                self.on_unknown_message(None, message)

        return handle_if_task

    def on_unknown_task(self, body: Any, message: Any, exc: Any) -> None:
        """Have it known what became of a task that is not registered here."""
        super().on_unknown_task(body, message, exc)
        self.heartbeat.recorder.unknown(message, f"NotRegistered: {exc}")

    def read(self, queues: Sequence[str]) -> None:
        """Read these queues and no others, from now on and over lost connections."""
        if self.blueprint.state != RUN:
            return  # it has lost its connection, or stops; once there is another one it is told again
        reads = {queue.name for queue in self.task_consumer.queues}
        for queue in reads.difference(queues):
            super().cancel_task_queue(queue)
        for queue in queues:
            super().add_task_queue(queue)
        self.heartbeat.beat_if_changed()

    def add_task_queue(self, *args: Any, **options: Any) -> None:
        """Say at once what somebody else has us read."""
        super().add_task_queue(*args, **options)
        self.heartbeat.beat_if_changed()

    def cancel_task_queue(self, queue: str) -> None:
        """Say at once what somebody else has us not read."""
        super().cancel_task_queue(queue)
        self.heartbeat.beat_if_changed()

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge at once where the event loop runs: kombu's may fall asleep on what it was to do soon.

        So it does when it has read a message out of turn, as it reads all but the first from a RabbitMQ, and the task
        is over by then: in a solo pool, or revoked, or expired. With one message taken ahead, which the broker waits
        for, the next one came 5 s later, when a timer woke the loop.
        """
        if self.hub is not None and threading.current_thread() is threading.main_thread():
            return p(*args, **kwargs)
        return super().call_soon_ack(p, *args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Try at once, then each second, and beat meanwhile; Celery would let half a minute pass between two tries.

        It is told of a failure, which it logs, and gives up, when it would have tried itself.
        """
        ensure = conn.ensure_connection

        def ensure_soon(errback: Callable[..., None], retries: int | None, callback: Callable[[], None]) -> Any:
            tell = _seldom(errback)

            def beat() -> None:
                self.heartbeat.tick()
                callback()

            return ensure(tell, None, *_RETRY, callback=beat, timeout=_celerys_patience(retries or 0))

        conn.ensure_connection = ensure_soon
        try:
            return super().ensure_connected(conn)
        finally:
            del conn.ensure_connection

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Keep what goes on running from being requeued as the lost connection is closed."""
        self._channel = None
        if self.restore:
            for channel in tuple(self.connection.transport.channels or ()):
                channel.lose(self._settle)
        else:
            _give_up_acknowledging(set(state.reserved_requests.data))
        # Celery explains a setting at length, at each loss. Its filter for that is newer than an earlier one of ours.
        warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced an optional breaking change", Warning)
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Remember which tasks go on."""
        if self.app.conf.worker_pool != "prefork":
            # Only prefork takes back what it was given and has not started; elsewhere it will run.
            self._handed_over = {known for known in self._handed_over if known() is not None}
            self._handed_over |= set(state.reserved_requests.data)
        self.heartbeat.suspects.disconnected()
        super().on_close()

    def _bring_back(self, connection: Any) -> None:
        """Put back what was taken by a lost connection, or by who was killed, and does not run any more."""
        from celeryfleet.worker.redis_restore import bring_back

        own = self.heartbeat.ownership
        with contextlib.suppress(*connection.connection_errors):
            channel = connection.default_channel
            channel.room = self._room
            connection.transport.held = self._held
            if own is not None and not self._may_own(own, channel):
                own = self.heartbeat.ownership = None
            self._channel = channel
            self._settle_all()
        bring_back(self.app, self.restore, self._held(), own=connection, ownership=own)

    def _may_own(self, own: Ownership, channel: Any) -> bool:
        """Own this worker's node, unless Redis does not let us run a script."""
        from celeryfleet.worker.redis_channel import refused

        try:
            self._own(own, channel)
        except Exception as error:
            if not refused(error):
                raise
            logger.warning("if this machine dies, nobody else brings back what its workers have taken: %s", error)
            return False
        return True

    def _own(self, own: Ownership, channel: Any) -> None:
        """Wait until this worker's node is its own: another machine may have one of this name, or brings it back."""
        told = False
        while not own.take(channel, own.node):
            if not told:
                logger.warning(_NAMESAKE, own.node, own.life)
            told = True
            self.heartbeat.tick()
            maybe_shutdown()
            time.sleep(_LOOK)
        channel.ownership = own
        channel.sweep = functools.partial(self._sweep, own)
        own.connected(channel.give_sign_of_life)

    def _sweep(self, own: Ownership, nodes: Sequence[str]) -> None:
        """Bring back what dead nodes had taken, which nobody else does."""
        from celeryfleet.worker.redis_restore import bring_back

        bring_back(self.app, nodes, ownership=own, dead=True)

    def _held(self) -> set[str]:
        """Return the delivery tags of tasks that run or are owed to the broker, of whatever connection."""
        return _tags(self._handed_over | set(state.active_requests.data)) | set(self._unsettled)

    def _room(self) -> int:
        """Count the tasks that could begin at once."""
        return int(self.pool.num_processes) - len(state.reserved_requests)

    def _settle(self, delivery_tag: str, requeue: bool) -> None:
        """Acknowledge or requeue a message of a lost connection, now or once there is another connection."""
        self._unsettled[delivery_tag] = requeue
        if self._channel is not None:
            self._settle_all()

    def _settle_all(self) -> None:
        from celeryfleet.worker.redis_restore import settle

        mine = set(self.app.amqp.queues.consume_from)
        for tag, requeue in tuple(self._unsettled.items()):
            with contextlib.suppress(*self.connection_errors):  # the next connection tries again
                settle(self._channel, tag, requeue, mine)
                self._unsettled.pop(tag, None)


def _is_task(message: Any) -> bool:
    """Tell whether a message has what Celery's first or second protocol asks of a task."""
    try:
        payload = message.payload
        args, kwargs, _ = (payload["args"], payload["kwargs"], None) if isinstance(payload, dict) else payload
        about = payload if isinstance(payload, dict) else message.headers
        _, _ = about.get("timelimit") or (None, None)
        shapes = ((args, list | tuple), (kwargs, dict), (about["task"], str), (about["id"], str))
    except (KombuError, ValueError, TypeError, LookupError, AttributeError):
        return False
    return all(isinstance(value, kind) for value, kind in shapes)


def _celerys_patience(tries: int) -> int:
    """Return the seconds that Celery's waits between so many tries add up to: 2, 4, 6 and so on, of 30 at most."""
    growing = min(tries, 15)
    return growing * (growing + 1) + 30 * (tries - growing)


def _seldom(errback: Callable[[BaseException, float], None]) -> Callable[[BaseException, float], None]:
    """Pass on an error when Celery would have met it."""
    started, told = time.monotonic(), 0

    def tell(error: BaseException, interval: float) -> None:
        nonlocal told
        if time.monotonic() >= started + _celerys_patience(told):
            told += 1
            errback(error, interval)

    return tell


def _tags(requests: Iterable[Callable[[], Any]]) -> set[str]:
    """Return the delivery tags of requests that weak references lead to."""
    return {request.message.delivery_tag for reference in requests if (request := reference()) is not None}


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
