"""What the worker leans on of Celery and kombu, 5.7.0: these tests fail when a newer one has it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ChannelError
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.app.task import Task
from celery.concurrency import asynpool
from celery.concurrency import prefork as celery_prefork
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest
from celery.worker.request import create_request_cls
from kombu.transport import redis
from kombu.utils.scheduling import cycle_by_name

from celeryfleet.worker import prefork, redis_channel, redis_qos, redis_transport, request, seam


class Heartbeat:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.ticks = self.failed = self.strikes = 0
        self.connecting = False
        self.suspects = self
        self.recorder = self
        self.told: list[str] = []

    def tick(self) -> None:
        self.ticks += 1

    def task_failed(self) -> None:
        self.failed += 1

    def strike(self, request: object, why: str) -> None:
        self.strikes += 1

    def ended(self, request: object, how: str, *_: object) -> None:
        self.told.append(how)


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False, broker="memory://")
    yield app
    app.close()


def consumer_of(app: Celery, base: type = CeleryConsumer) -> Any:
    """Return a consumer of ours that has not been set up by Celery."""
    made: Any = object.__new__(
        type("Made", (seam.Consumer, base), {"heartbeat": Heartbeat(), "restore": ["web-1@host"]})
    )
    made.app = app
    made.channel_errors = (ChannelError,)
    made.connection_errors = (ConnectionError,)
    made._unsettled, made._channel = {}, None
    return made


@pytest.mark.parametrize(
    ("ours", "theirs", "overridden"),
    [
        (
            seam.Consumer,
            CeleryConsumer,
            {
                *("start", "create_task_handler", "update_strategies", "connect", "call_soon_ack", "ensure_connected"),
                *("on_connection_error_after_connected", "on_close", "add_task_queue", "cancel_task_queue"),
                "on_unknown_task",
            },
        ),
        (
            request.Request,
            CeleryRequest,
            {"on_failure", "on_timeout", "_announce_revoked", "acknowledge", "reject"},
        ),
        (prefork.Child, asynpool.Worker, {"_do_exit"}),
        (prefork.Pool, asynpool.AsynPool, {"Worker", "flush", "process_flush_queues"}),
        (prefork.TaskPool, celery_prefork.TaskPool, {"Pool", "on_stop"}),
        (
            redis_channel.Channel,
            redis.Channel,
            {
                "from_transport_options",
                *("QoS", "conn_or_acquire", "_disconnect_pools", "basic_consume", "basic_ack", "basic_reject", "close"),
                *(
                    "_queue_bind",
                    "_put",
                    "_update_queue_cycle",
                    "_brpop_start",
                    "_brpop_read",
                    "_poll_error",
                    "_flush_brpop_reauth",
                ),
            },
        ),
        (redis_transport.SentinelChannel, redis.SentinelChannel, {"from_transport_options"}),
        (redis_qos.QoS, redis.QoS, {"append", "ack", "reject", "restore_visible"}),
        (redis_transport.Poller, redis.MultiChannelPoller, {"fds", "_register_BRPOP", "_pause_brpop", "on_readable"}),
        (redis_transport.Transport, redis.Transport, {"Channel", "register_with_event_loop"}),
        (redis_transport.SentinelTransport, redis.SentinelTransport, {"Channel", "default_port"}),
    ],
)
def test_our_classes_override_what_they_mean_to_and_nothing_else(
    ours: type, theirs: type, overridden: set[str]
) -> None:
    same = {name for name in vars(ours) if name in dir(theirs) and not name.startswith("__")}
    assert same == overridden


def test_what_our_consumer_remembers_has_names_that_celery_does_not_use(app: Celery) -> None:
    consumer = CeleryConsumer(lambda request: None, app=app, controller=SimpleNamespace(use_eventloop=False))
    names = set(vars(consumer))
    assert "heart" in names
    assert names.isdisjoint({"heartbeat", "restore", "_handed_over", "_unsettled", "_channel"})


def test_a_consumer_of_the_apps_own_stays_and_is_derived_from(app: Celery) -> None:
    app.conf.worker_consumer = f"{__name__}:TheirConsumer"
    heartbeat: Any = Heartbeat()
    made: list[Any] = []

    class Settled(seam.worker_class(app, heartbeat, [], lambda: None)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.app = app
            self.setup_defaults()
            made.append(self.consumer_cls)

    Settled()
    assert [kind.__name__ for kind in made[0].__mro__[1:4]] == ["Consumer", "TheirConsumer", "Consumer"]
    assert made[0].heartbeat is heartbeat


class TheirConsumer(CeleryConsumer):  # type: ignore[misc]
    """Of an app."""


def test_while_it_looks_for_the_broker_it_beats_and_says_of_a_failure_once_and_gives_up_when_celery_would(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[object] = []

    class Connection:
        def as_uri(self) -> str:
            return "redis://broker"

        def ensure_connection(
            self, errback: Callable[..., None], *how: float, callback: Callable[[], None], timeout: float
        ) -> Any:
            given.extend([*how, timeout])
            for _ in range(3):
                errback(OSError("refused"), 0.01)
                callback()
            return self

    consumer, connection = consumer_of(app), Connection()
    assert consumer.ensure_connected(connection) is connection
    assert consumer.heartbeat.ticks == 3
    assert caplog.text.count("refused") == 1
    assert given == [None, 0.01, 0.05, 1.0, sum(min(2 * number, 30) for number in range(1, 101))]
    assert "ensure_connection" not in vars(connection)


def test_a_queue_that_rabbitmq_refuses_ends_the_worker_with_a_line(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    text = "inequivalent arg 'x-max-priority' for queue 'mail' in vhost '/': received none but current is the value '9'"

    class Refused(CeleryConsumer):  # type: ignore[misc]
        def start(self) -> None:
            raise ChannelError(f"PRECONDITION_FAILED - {text}", (50, 10), "Queue.declare", 406)

    with pytest.raises(SystemExit) as ended:
        consumer_of(app, Refused).start()
    assert ended.value.code == 1
    assert "mail" in caplog.text
    assert "Traceback" not in caplog.text


def test_any_other_error_of_a_channel_is_celerys_to_handle(app: Celery) -> None:
    class Broken(CeleryConsumer):  # type: ignore[misc]
        def start(self) -> None:
            raise ChannelError("of another kind")

    with pytest.raises(ChannelError):
        consumer_of(app, Broken).start()


class Taken:
    """A channel of the new connection, which is lost as well for so many calls."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.removed: list[str] = []
        self.qos = self

    def _remove_from_indices(self, tag: str) -> Any:
        def execute() -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError
            self.removed.append(tag)

        return SimpleNamespace(execute=execute)


def test_what_ends_without_a_connection_is_acknowledged_by_the_next_that_works(app: Celery) -> None:
    consumer = consumer_of(app)
    consumer._settle("first", False)
    consumer._channel = lost = Taken(failures=99)
    consumer._settle("second", False)
    assert lost.removed == []
    consumer._channel = found = Taken(failures=0)
    consumer._settle("third", False)
    assert sorted(found.removed) == ["first", "second", "third"]
    assert consumer._unsettled == {}


def test_a_message_of_a_lost_channel_is_settled_elsewhere() -> None:
    settled: list[tuple[str, bool]] = []
    channel: Any = object.__new__(redis_channel.Channel)
    channel.lose(lambda tag, requeue: settled.append((tag, requeue)))
    channel.basic_ack("one")
    channel.basic_reject("two", requeue=True)
    assert settled == [("one", False), ("two", True)]
    assert channel.do_restore is False


@pytest.mark.parametrize(
    ("strategy", "last", "lists"),
    [
        ("priority", "mail", ["web", "web:9", "mail", "mail:9", "late", "late:9"]),
        ("round_robin", "mail", ["late", "late:9", "web", "web:9", "mail", "mail:9"]),
    ],
)
def test_all_of_a_queue_is_popped_before_anything_of_the_next(strategy: str, last: str, lists: list[str]) -> None:
    sent: list[Any] = []
    channel: Any = object.__new__(redis_channel.Channel)
    channel.pops = True
    connection = SimpleNamespace(send_command=lambda *words: sent.extend(words))
    channel.client = SimpleNamespace(connection=connection)
    channel.priority_steps, channel.sep = [0, 9], ":"
    channel._active_queues, channel.active_fanout_queues = ["mail", "late", "web"], set()
    channel._queue_cycle = cycle_by_name(strategy)()
    channel.reading_order = ["web", "mail"] if strategy == "priority" else []
    channel._update_queue_cycle()
    channel._queue_cycle.rotate(last)
    channel._brpop_start(1)
    assert sent == ["BRPOP", *lists, 1]
    assert channel._q_for_pri("mail", 9) == "mail:9"


TASK = SimpleNamespace(
    acks_late=True, reject_on_worker_lost=True, retry_on_worker_lost=False, max_retries=3, default_retry_delay=180
)


def test_an_error_is_told_in_a_line_that_is_not_too_long() -> None:
    """One of 100,000 letters filled the screens of `why` and `failed`."""
    assert request._named(ValueError("no\nmore")) == "ValueError: no"
    assert request._named(TimeLimitExceeded(2)) == "TimeLimitExceeded: 2"
    assert request._named(ValueError("y" * 100_000)) == f"ValueError: {'y' * 987}…"


@pytest.mark.parametrize(
    ("error", "of", "told", "struck"),
    [
        (ValueError(), {}, ["failed"], False),
        (Retry(), {}, ["retrying"], False),
        (Ignore(), {}, ["succeeded"], False),
        (Reject(requeue=True), {}, ["waiting"], False),
        (Reject(requeue=False), {}, ["failed"], False),
        (Terminated(), {}, [], False),
        (TimeLimitExceeded(1), {}, [], False),
        (WorkerLostError(), {}, ["waiting"], True),
        (SystemExit(), {}, ["waiting"], True),
        (SystemExit(), {"_already_cancelled": True}, ["waiting"], False),
        (WorkerLostError(), {"acks_late": False}, ["failed"], False),
        (WorkerLostError(), {"stored": True}, ["succeeded"], False),
        (WorkerLostError(), {"retry_on_worker_lost": True}, ["retrying"], False),
        (WorkerLostError(), {"retry_on_worker_lost": True, "max_retries": 0}, ["failed"], False),
    ],
)
def test_what_became_of_a_task_is_told_only_what_failed_for_good_counted_and_what_ended_its_process_suspected(
    error: BaseException, of: dict[str, Any], told: list[str], struck: bool
) -> None:
    class Theirs(CeleryRequest):  # type: ignore[misc]
        def __init__(self) -> None:
            self._task = SimpleNamespace(**{**vars(TASK), **of})
            self._already_cancelled = "_already_cancelled" in of
            self._context = SimpleNamespace(retries=0)

        def on_failure(self, *_: Any, **__: Any) -> str:
            return "handled"

        def _success_was_stored(self) -> bool:
            return "stored" in of

    made: Any = type("Made", (request.Request, Theirs), {"__slots__": (), "heartbeat": Heartbeat()})()
    assert made.on_failure(SimpleNamespace(exception=error, traceback="")) == "handled"
    assert made.heartbeat.told == told
    assert made.heartbeat.failed == told.count("failed")
    assert made.heartbeat.strikes == int(struck)


def test_a_request_of_a_tasks_own_stays_and_is_derived_from(app: Celery) -> None:
    class Theirs(CeleryRequest):  # type: ignore[misc]
        """Of a task."""

    class Strategies(CeleryConsumer):  # type: ignore[misc]
        def update_strategies(self) -> None:
            """Do what Celery does with them elsewhere."""

    def nothing() -> None:
        """Do nothing."""

    task = app.task(name="shop.add", Request=Theirs, shared=False)(nothing)
    plain = app.task(name="shop.plain", shared=False)(nothing)
    consumer = consumer_of(app, Strategies)
    consumer.update_strategies()
    assert [kind.__name__ for kind in app.tasks[task.name].Request.__mro__[1:3]] == ["Request", "Theirs"]
    first = app.tasks[plain.name].Request
    assert issubclass(first, request.Request)
    consumer.update_strategies()
    assert app.tasks[plain.name].Request is first
    assert Task.Request == "celery.worker.request:Request"


def test_the_class_that_celery_derives_for_a_task_tells_of_success_by_ours(app: Celery) -> None:
    """Celery's own subclass has an `on_success` that calls none above it."""
    told: list[str] = []

    class Telling(request.Request):
        def tell(self, how: str, *_: Any) -> None:
            told.append(how)

    derived = create_request_cls(Telling, app.tasks["celery.chain"], SimpleNamespace(apply_async=None), "h", None)
    made = object.__new__(derived)
    made.id, made.heartbeat = "a", Heartbeat()
    made.on_success((False, None, 0.25))
    assert (told, made.runtime) == (["succeeded"], 0.25)
