"""`celeryfleet.bulk`: the messages of `apply_async`, and an exact account of what was sent when something fails."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import datetime
import json
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, signals
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kombu import Connection, Exchange, Queue
from redis import Redis

import celeryfleet
from celeryfleet.client.bulk import BulkError, fast
from celeryfleet.client.bulk.ids import BLOCK, Ids
from celeryfleet.client.bulk.run import BATCH
from celeryfleet.errors import Exit, FleetError
from tests.fakes import eventually, forget_pools
from tests.machine_services import Rabbit, rabbit
from tests.servers import redis_server

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: moments: as long as they are written alike, they may differ by the time that the test takes
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?")
EXPIRATION = re.compile(r"""(["']expiration["']: ["'])\d+""")


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """Run a Redis of one's own."""
    with redis_server() as path:
        yield path


@pytest.fixture
def redis(server: Path) -> Iterator[Redis]:
    """Give an empty Redis."""
    with Redis(unix_socket_path=str(server)) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)


@contextmanager
def shop(url: str | list[str], results: str = "disabled://", **conf: Any) -> Iterator[Any]:
    """Give an app with a task `shop.add` that takes anything."""
    app = Celery("bulk", broker=url, backend=results, set_as_current=False)
    app.conf.update({"task_default_queue": "default", **conf})

    @app.task(name="shop.any", shared=False)
    def take_any(*args: Any, **kwargs: Any) -> None:
        """Take anything."""

    @app.task(name="shop.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    try:
        yield app
    finally:
        forget_pools(app)
        app.close()


def at(server: Path) -> str:
    return f"redis+socket://{server}?virtual_host=0"


def lists(client: Redis) -> dict[str, list[str]]:
    """Return all messages, the oldest first, by list."""
    found = {name: client.lrange(name, 0, -1) for name in sorted(client.scan_iter()) if client.type(name) == b"list"}
    return {_text(name): [_text(message) for message in reversed(messages)] for name, messages in found.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def lengths(client: Redis) -> dict[str, int]:
    return {name: len(texts) for name, texts in lists(client).items()}


def without_ids(text: str) -> str:
    """Put names in the place of ids and moments; what else there is stays to the letter."""
    message = json.loads(text)
    properties = message["properties"]
    for value, name in ((properties["correlation_id"], "<id>"), (properties["delivery_tag"], "<tag>")):
        assert UUID.fullmatch(value), value
        text = text.replace(value, name)
    text = re.sub(r'"fleet_sent_at": [\d.]+', '"fleet_sent_at": <sent>', text)
    return without_moments(text)


def without_moments(text: str) -> str:
    return EXPIRATION.sub(r"\1<moment>", MOMENT.sub("<moment>", text))


def stripped(client: Redis) -> dict[str, list[str]]:
    return {name: [without_ids(text) for text in texts] for name, texts in lists(client).items()}


def one_by_one(app: Any, task: str, items: Iterable[Any], **options: Any) -> None:
    for item in items:
        args, kwargs = (item, {}) if isinstance(item, tuple | list) else (item.get("args"), item.get("kwargs"))
        app.tasks[task].apply_async(args, kwargs, **options)


def same_as_one_by_one(redis: Redis, app: Any, items: list[Any], task: str = "shop.any", **options: Any) -> Any:
    """Send items in both ways, hold the messages against each other, and return what `bulk` did."""
    redis.flushall()
    one_by_one(app, task, items, **options)
    expected = stripped(redis)
    redis.flushall()
    done = celeryfleet.bulk(app, task, iter(items), **options)
    assert stripped(redis) == expected
    assert done.sent == len(items) == len(done.ids)
    return done


# --- The same messages ------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("%(id)s % '\"\\")
VALUES = st.recursive(
    SCALARS | st.dates() | st.decimals(allow_nan=False) | st.uuids() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)
ITEMS = st.lists(
    st.lists(VALUES, max_size=4)
    | st.lists(VALUES, max_size=4).map(tuple)
    | st.fixed_dictionaries({"args": st.lists(VALUES, max_size=3), "kwargs": st.dictionaries(st.text(), VALUES)}),
    min_size=3,
    max_size=6,
)
#: numbers of 64 bits, and none that is infinite: RabbitMQ ends the connection over others in a header
FINITE = st.floats(allow_nan=False, allow_infinity=False)
FIT = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FINITE | st.text()


def options_with(headers: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make options of `apply_async`, with headers of these values."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "countdown": st.floats(1, 1e6),
        "expires": st.integers(1, 10**6),
        "headers": st.dictionaries(st.sampled_from(["tenant", "x-y", "%"]), headers),
        "queue": st.sampled_from(["default", "other"]),
        "serializer": st.sampled_from(["json", "pickle"]),
        "compression": st.just("zlib"),
        "time_limit": st.integers(1, 9),
        "ignore_result": st.booleans(),
        "shadow": st.text(),
    }
    return st.fixed_dictionaries({}, optional=optional)


OPTIONS = options_with(SCALARS)
MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(items=ITEMS, options=OPTIONS)
def test_on_redis_every_message_is_that_of_apply_async_to_the_letter(
    server: Path, redis: Redis, items: list[Any], options: dict[str, Any]
) -> None:
    with shop(at(server)) as app:
        done = same_as_one_by_one(redis, app, items, **options)
    assert done.reason == "", "nothing here keeps messages from being copied"


@MANY
@given(args=st.lists(VALUES, max_size=4), options=OPTIONS)
def test_on_redis_repeated_messages_are_those_of_apply_async_to_the_letter(
    server: Path, redis: Redis, args: list[Any], options: dict[str, Any]
) -> None:
    with shop(at(server)) as app:
        redis.flushall()
        one_by_one(app, "shop.any", repeat(args, 5), **options)
        expected = stripped(redis)
        redis.flushall()
        done = celeryfleet.bulk(app, "shop.any", repeat(args, 5), **options)
        assert stripped(redis) == expected
    assert (done.sent, done.reason) == (5, "")


@pytest.mark.parametrize(
    ("conf", "options"),
    [
        pytest.param({"task_routes": {"shop.*": {"queue": "other", "priority": 3}}}, {}, id="a route with a priority"),
        pytest.param({"broker_transport_options": {"priority_steps": list(range(10))}}, {"queue": "a"}, id="ten steps"),
        pytest.param({"broker_transport_options": {"global_keyprefix": "p:"}}, {}, id="a prefix of all keys"),
        pytest.param({"broker_transport_options": {"sep": ":"}, "task_default_priority": 6}, {}, id="a separator"),
        pytest.param({"task_queues": [Queue("default", expires=60)]}, {}, id="a queue that expires"),
        pytest.param({"task_annotations": {"*": {"time_limit": 7}}}, {}, id="annotations"),
        pytest.param({"task_ignore_result": True, "task_compression": "gzip"}, {}, id="settings of all tasks"),
        pytest.param({"timezone": "Europe/Oslo"}, {"countdown": 60}, id="a time zone"),
        pytest.param({"enable_utc": False, "timezone": "Asia/Tokyo"}, {"countdown": 60}, id="no UTC"),
        pytest.param({"task_repr_maxlevels": 1}, {}, id="short representations"),
        pytest.param({}, {"eta": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)}, id="an eta"),
        pytest.param({}, {"expires": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)}, id="a last moment"),
        pytest.param({}, {"delivery_mode": 1, "soft_time_limit": 3, "argsrepr": "(secret)"}, id="more options"),
    ],
)
def test_settings_and_options_make_no_difference_to_apply_async(
    server: Path, redis: Redis, conf: dict[str, Any], options: dict[str, Any]
) -> None:
    with shop(at(server), **conf) as app:
        same_as_one_by_one(redis, app, [(n, [[["deep"]]], "x" * n * 99) for n in range(20)], **options)


def test_a_topic_exchange_copies_each_message_to_all_its_queues(server: Path, redis: Redis) -> None:
    exchange = Exchange("orders", type="topic")
    queues = [Queue("all", exchange, "order.#"), Queue("new", exchange, "order.new"), Queue("default")]
    route = {"queue": "new", "routing_key": "order.new"}
    with shop(at(server), task_queues=queues, task_routes={"shop.any": route}) as app:
        with app.connection_for_write() as connection:
            for queue in queues:
                queue(connection.default_channel).declare()
        items = [(n,) for n in range(BATCH + 7)]
        one_by_one(app, "shop.any", items)
        expected = stripped(redis)
        for name in ("all", "new"):
            redis.delete(name)
        assert celeryfleet.bulk(app, "shop.any", items).reason == ""
        assert stripped(redis) == expected
        assert {name: len(texts) for name, texts in expected.items()} == {"all": len(items), "new": len(items)}


def test_queues_that_are_bound_on_the_way_get_what_is_theirs(server: Path, redis: Redis) -> None:
    exchange = Exchange("orders", type="topic")
    queues = [Queue(name, exchange, key) for name, key in (("new", "order.new"), ("old", "order.old"), ("all", "#"))]
    items = [*[{"args": [1], "queue": "new"}] * 5, {"args": [2], "queue": "old"}, {"args": [3], "queue": "all"}]
    items += [{"args": [4], "queue": "new"}] * 5
    with shop(at(server), task_queues=queues) as app:
        for item in items:
            app.tasks["shop.any"].apply_async(item["args"], queue=item["queue"])
        expected = lengths(redis)
        redis.flushall()
        forget_pools(app)
        assert celeryfleet.bulk(app, "shop.any", items).sent == 12
        assert lengths(redis) == expected == {"new": 10, "old": 1, "all": 6}


@pytest.mark.parametrize("both", [False, True])
def test_the_first_of_several_brokers_says_how_to_publish(server: Path, redis: Redis, both: bool) -> None:
    with shop([at(server), at(server)] if both else at(server)) as app:
        assert celeryfleet.bulk(app, "shop.any", [(1,)] * 3, priority=9).reason == ""
    assert lengths(redis) == {"default": 3}


@pytest.mark.parametrize("how", ["each", "repeat"])
def test_each_batch_gives_a_queue_that_expires_its_time_anew(server: Path, redis: Redis, how: str) -> None:
    items: Any = repeat((1,), 4 * BATCH) if how == "repeat" else ((n,) for n in range(4 * BATCH))
    left: list[Any] = []

    def on_progress(sent: int) -> None:
        left.append(redis.pttl("default"))
        redis.persist("default")

    with shop(at(server), task_queues=[Queue("default", expires=60)]) as app:
        celeryfleet.bulk(app, "shop.any", items, on_progress=on_progress)
    assert [0 < one <= 60_000 for one in left] == [True] * 4


def test_a_countdown_counts_from_when_its_batch_is_made(server: Path, redis: Redis) -> None:
    def items() -> Iterator[tuple[int]]:
        yield from ((n,) for n in range(BATCH + 1))
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + 0.3)
        yield from ((n,) for n in range(BATCH))

    with shop(at(server)) as app:
        assert celeryfleet.bulk(app, "shop.any", items(), countdown=60, expires=90).reason == ""
    headers = [json.loads(text)["headers"] for text in lists(redis)["default"]]
    for name in ("eta", "expires"):
        first, last = (datetime.datetime.fromisoformat(headers[place][name]) for place in (0, -1))
        assert (last - first).total_seconds() > 0.3


def test_callbacks_travel_with_each_message(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        link = app.tasks["shop.add"].s(1)
        done = same_as_one_by_one(redis, app, [(n,) for n in range(9)], link=link, link_error=app.tasks["shop.any"].s())
    assert done.reason == ""


def test_a_bulk_from_within_a_task_has_its_parent_and_root(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        sent: list[Any] = []

        @app.task(name="shop.parent", shared=False)
        def parent() -> None:
            sent.append(same_as_one_by_one(redis, app, [(n,) for n in range(5)]))

        parent.apply(task_id="the-parent")
        headers = [json.loads(text)["headers"] for text in lists(redis)["default"]]
        assert {(one["parent_id"], one["root_id"]) for one in headers} == {("the-parent", "the-parent")}


def test_priority_9_runs_first_whatever_the_broker_counts(server: Path, redis: Redis) -> None:
    with shop(at(server), broker_transport_options={"priority_steps": list(range(10)), "sep": ":"}) as app:
        celeryfleet.bulk(app, "shop.any", [(1,)], priority=9)
        celeryfleet.bulk(app, "shop.any", [{"args": (1,), "priority": 0}, {"args": (2,)}], priority=4)
        assert {name: len(texts) for name, texts in lists(redis).items()} == {
            "default": 1,
            "default:9": 1,
            "default:5": 1,
        }


def test_items_may_differ_in_task_queue_and_options(server: Path, redis: Redis) -> None:
    eta = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    kinds: list[dict[str, Any]] = [
        {"args": [1]},
        {"args": (1,), "kwargs": {"a": 2}, "queue": "other", "headers": {"tenant": "acme"}},
        {"task": "shop.add", "args": [1, 2], "countdown": 60},
        {"task": "else.where", "kwargs": {"z": None}, "eta": eta, "expires": 99},
    ]
    with shop(at(server)) as app:
        for item in kinds * 5:
            options = {key: value for key, value in item.items() if key not in ("task", "args", "kwargs")}
            options = {"headers": {"all": 1}, **options}
            name = item.get("task", "shop.any")
            if name in app.tasks:
                app.tasks[name].apply_async(item.get("args"), item.get("kwargs"), **options)
            else:
                app.send_task(name, item.get("args"), item.get("kwargs"), **options)
        expected = stripped(redis)
        redis.flushall()
        done = celeryfleet.bulk(app, app.tasks["shop.any"], kinds * 5, headers={"all": 1})
        assert stripped(redis) == expected
        assert dict(done.queues) == {"default": 15, "other": 5}


# --- Where Celery makes every message ---------------------------------------------------------------------


class Own(Task):  # type: ignore[misc]
    """A base class that marks its messages."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **{**options, "headers": {"first": (args or [None])[0]}})


def by_arguments(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> dict[str, str]:
    return {"queue": "odd" if args[0] % 2 else "even"}


def hooked(app: Any, how: str) -> None:
    match how:
        case "router":
            app.conf.task_routes = (by_arguments,)
            app.amqp.flush_routes()
        case "protocol":
            app.conf.task_protocol = 1
        case "events":
            app.conf.task_send_sent_event = True
        case "base":

            @app.task(name="shop.any", shared=False, base=Own)
            def take_any(*args: Any) -> None:
                """Take anything."""

        case "shadow":
            app.tasks["shop.any"].shadow_name = lambda args, kwargs, options: f"any {args[0]}"
        case "task_id":
            own = app.tasks["shop.any"].apply_async
            app.tasks["shop.any"].apply_async = lambda args, kwargs, **options: own(
                args, kwargs, **{**options, "task_id": str(uuid.uuid4())}
            )


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("router", "a router of the app's own decides message by message"),
        ("events", "each task tells an event when it is sent (task_send_sent_event)"),
        ("base", "shop.any.apply_async is not Celery's own, but tests.services.client.test_bulk.Own.apply_async"),
        ("shadow", "shop.any.shadow_name is not Celery's own"),
        ("task_id", "shop.any.apply_async is not Celery's own"),
    ],
)
def test_what_may_make_messages_differ_is_noticed_and_they_are_the_same(
    server: Path, redis: Redis, how: str, reason: str
) -> None:
    with shop(at(server)) as app:
        if how == "base":
            del app.tasks["shop.any"]
        hooked(app, how)
        assert fast(app, "shop.any").startswith(reason)
        done = same_as_one_by_one(redis, app, [(n,) for n in range(BATCH + 9)])
        assert done.reason.startswith(reason)
        ids = [json.loads(text)["headers"]["id"] for texts in lists(redis).values() for text in texts]
        assert sorted(ids) == sorted(done.ids)


def test_messages_of_the_old_protocol_are_made_by_celery(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        hooked(app, "protocol")
        done = celeryfleet.bulk(app, "shop.any", [(n,) for n in range(9)])
        assert done.reason == "the messages are of Celery's old protocol 1"
        assert redis.llen("default") == 9


def test_another_s_receiver_sees_each_message_and_may_write_into_it(server: Path, redis: Redis) -> None:
    seen: list[Any] = []

    def trace(body: Any = None, headers: Any = None, **_: Any) -> None:
        headers["trace"] = f"{body[0][0]} of {headers['task']}"
        seen.append(headers["id"])

    with shop(at(server)) as app:
        signals.before_task_publish.connect(trace)
        try:
            assert fast(app, "shop.any").endswith("trace listens to before_task_publish")
            done = same_as_one_by_one(redis, app, [(n,) for n in range(9)])
            assert seen[9:] == list(done.ids)
        finally:
            signals.before_task_publish.disconnect(trace)
        signals.before_task_publish.connect(trace, sender="another.task")
        try:
            assert fast(app, "shop.any") == ""
        finally:
            signals.before_task_publish.disconnect(trace, sender="another.task")


def test_a_library_that_patches_celery_is_noticed(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Task.apply_async

    def traced(self: Any, *args: Any, **options: Any) -> Any:
        return own(self, *args, **options)

    with shop(at(server)) as app:
        monkeypatch.setattr(Task, "apply_async", traced)
        assert "traced" in fast(app, "shop.any")


def test_messages_that_differ_for_no_known_reason_are_not_copied(server: Path, redis: Redis) -> None:
    class Counted(str):
        """A header that is another with each message."""

        told = 0

        def __repr__(self) -> str:
            Counted.told += 1
            return str(Counted.told)

    with shop(at(server)) as app:
        done = celeryfleet.bulk(app, "shop.any", [(n,) for n in range(5)], shadow=Counted("x"))
        assert done.reason == "two messages differ in more than id, arguments and time"
        assert redis.llen("default") == 5


def test_the_fleet_s_own_stamp_is_known(server: Path, redis: Redis) -> None:
    from celeryfleet.app import apply

    with shop(at(server)) as app:
        apply(app, {})
        try:
            done = same_as_one_by_one(redis, app, [(n,) for n in range(5)])
            assert done.reason == ""
            stamps = [json.loads(text)["headers"]["fleet_sent_at"] for text in lists(redis)["default"]]
            assert stamps == sorted(stamps)
        finally:
            signals.before_task_publish.disconnect(dispatch_uid="celeryfleet.sent_at")


def test_eager_tasks_run_at_once_and_other_brokers_get_message_by_message() -> None:
    with shop("memory://", task_always_eager=True) as app:
        ran: list[int] = []

        @app.task(name="shop.note", shared=False)
        def note(number: int) -> None:
            ran.append(number)

        done = celeryfleet.bulk(app, "shop.note", [(1,), (2,)])
        assert (ran, done.sent, done.reason) == ([1, 2], 2, fast(app, "shop.note"))
    with shop("memory://") as app, app.connection_for_write() as connection:
        connection.default_channel.queue_declare("default")
        connection.default_channel.queue_purge("default")  # all tests of a process share this broker
        done = celeryfleet.bulk(app, "shop.any", [(1,), (2,)])
        assert (done.sent, done.reason) == (2, "only Redis and RabbitMQ (py-amqp) take many messages at once")
        assert connection.default_channel._size("default") == 2


# --- Ids, memory, progress --------------------------------------------------------------------------------


def test_ids_are_unique_uuids_told_again_in_the_order_of_the_items(server: Path, redis: Redis) -> None:
    count = 2 * BLOCK + 3
    with shop(at(server)) as app:
        done = celeryfleet.bulk(app, "shop.any", ((n,) for n in range(count)))
        messages = [json.loads(text) for text in lists(redis)["default"]]
    assert list(done.ids) == [one["headers"]["id"] for one in messages]
    assert len(set(done.ids)) == len({one["properties"]["delivery_tag"] for one in messages}) == count
    assert [done.ids[-1], done.ids[BLOCK]] == [list(done.ids)[-1], list(done.ids)[BLOCK]]
    assert done.ids[5:8] == list(done.ids)[5:8]
    assert all(uuid.UUID(one).version == 4 for one in done.ids)
    with pytest.raises(IndexError):
        done.ids[count]


def test_ids_of_two_runs_have_nothing_in_common() -> None:
    assert not set(Ids().block(0)) & set(Ids().block(0))


def test_no_more_than_two_batches_are_ahead_of_what_is_sent(server: Path, redis: Redis) -> None:
    ahead: list[int] = []
    told: list[int] = []

    def items() -> Iterator[tuple[int]]:
        for number in range(5 * BATCH):
            if number % 50 == 0:  # asked more often, a batch would take so long that it is sent before it is full
                ahead.append(number - redis.llen("default"))
            yield (number,)

    with shop(at(server)) as app:
        celeryfleet.bulk(app, "shop.any", items(), on_progress=told.append)
    assert max(ahead) <= 2 * BATCH
    assert told == [BATCH, 2 * BATCH, 3 * BATCH, 4 * BATCH, 5 * BATCH]


def test_large_arguments_make_small_batches(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        told: list[int] = []
        celeryfleet.bulk(app, "shop.any", (("x" * 400_000,) for _ in range(9)), on_progress=told.append)
        assert told == [2, 4, 6, 8, 9]
        told.clear()
        celeryfleet.bulk(app, "shop.any", repeat(("x" * 400_000,), 9), on_progress=told.append)
        assert told[-1] == 9
        assert len(told) > 2
        assert redis.llen("default") == 18


def test_a_list_that_is_changed_between_items_is_sent_as_it_was(server: Path, redis: Redis) -> None:
    def items() -> Iterator[list[int]]:
        row = [0]
        for number in range(5):
            row[0] = number
            yield row

    with shop(at(server)) as app:
        celeryfleet.bulk(app, "shop.any", items())
    assert [json.loads(text)["headers"]["argsrepr"] for text in lists(redis)["default"]] == [f"[{n}]" for n in range(5)]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_nobody_subscribes_to_the_results(server: Path, redis: Redis) -> None:
    with shop(at(server), results=at(server)) as app:
        kept = app.tasks["shop.any"].delay(0)
        subscriptions = redis.info("commandstats")["cmdstat_subscribe"]["calls"]
        done = celeryfleet.bulk(app, "shop.any", ((n,) for n in range(9)))
        assert redis.info("commandstats")["cmdstat_subscribe"]["calls"] == subscriptions >= 1
        app.backend.store_result(done.ids[3], "three", "SUCCESS")
        assert app.AsyncResult(done.ids[3]).get(timeout=5) == "three"
        kept.forget()
        app.backend.result_consumer.stop()
        app.backend.client.close()


def test_bulks_in_several_threads_do_not_disturb_each_other(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        done: list[Any] = []

        def send(number: int) -> None:
            done.append(celeryfleet.bulk(app, "shop.any", ((number, n) for n in range(900)), queue=f"q{number}"))

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {(one.sent, one.reason) for one in done} == {(900, "")}
        assert {name: len(texts) for name, texts in lists(redis).items()} == dict.fromkeys(
            ("q0", "q1", "q2", "q3"), 900
        )


def test_nothing_and_one_are_sent_as_well(server: Path, redis: Redis) -> None:
    with shop(at(server)) as app:
        assert celeryfleet.bulk(app, "shop.any", []).sent == 0
        assert celeryfleet.bulk(app, "shop.any", repeat((1,), 0)).sent == 0
        done = celeryfleet.bulk(app, "shop.any", [(1,)])
        assert (done.sent, len(done.ids), done.per_second > 0) == (1, 1, True)


# --- What goes wrong --------------------------------------------------------------------------------------


def strict(server: Path) -> Any:
    """Give an app that knows its queues."""
    return shop(at(server), task_create_missing_queues=False, task_queues=[Queue("default")])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (5, "It is a tuple or list of arguments, or a mapping, not int. A single argument is a tuple of one: (5,)."),
        ("Bob", "It is a tuple or list of arguments, or a mapping, not str. A single argument is a tuple of one"),
        ({"arg": [1]}, 'There is no "arg". Did you mean "args"?'),
        ({"args": 1}, '"args" is a list such as [4, 4], not int.'),
        ({"kwargs": []}, '"kwargs" is a mapping such as {"x": 4}, not list.'),
        ({"args": [1, 2], "priority": 10}, "A priority is a whole number from 0 to 9, and 9 runs first."),
        ({"args": [1, 2], "queue": "defualt"}, 'the queue "defualt" is unknown. Did you mean "default"?'),
        ((1,), "TypeError: add() missing 1 required positional argument: 'y'"),
        ((1, object()), "EncodeError: Object of type object is not JSON serializable"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_a_wrong_item_is_named_and_what_stands_before_it_is_sent(
    server: Path, redis: Redis, item: Any, said: str, before: int
) -> None:
    with strict(server) as app, pytest.raises(BulkError) as caught:
        celeryfleet.bulk(app, "shop.add", [*[(1, 2)] * before, item, (3, 4)])
    if "EncodeError" in said and not before:
        said = "The arguments cannot be sent: Object of type object is not JSON serializable"
    assert f"Item {before} cannot be sent: {said}" in str(caught.value)
    assert (caught.value.sent, caught.value.next, len(caught.value.ids)) == (before, before, before)
    assert caught.value.code is Exit.USAGE
    assert redis.llen("default") == before


def test_what_the_iterable_raises_is_raised_after_what_came_before_it_is_sent(server: Path, redis: Redis) -> None:
    def items() -> Iterator[tuple[int]]:
        yield from ((number,) for number in range(BATCH + 5))
        raise LookupError("of the user's")

    with shop(at(server)) as app, pytest.raises(LookupError, match="of the user's") as caught:
        celeryfleet.bulk(app, "shop.any", items())
    assert caught.value.__notes__ == [f"celeryfleet.bulk has sent the {BATCH + 5} items before this."]
    assert redis.llen("default") == BATCH + 5


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (5, {}, "5 is no task."),
        ("shop.any", {"task_id": "x"}, "bulk takes no task_id."),
        ("shop.any", {"queue": "ghost"}, 'the queue "ghost" is unknown. The fleet declares default.'),
        ("shop.any", {"priority": -1}, "A priority is a whole number from 0 to 9"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    server: Path, redis: Redis, task: Any, options: dict[str, Any], said: str
) -> None:
    with strict(server) as app, pytest.raises(FleetError, match=re.escape(said)):
        celeryfleet.bulk(app, task, [(1,)], **options)
    assert lists(redis) == {}


def test_no_broker_is_told_with_code_69_and_without_its_password() -> None:
    with shop("redis://:secret@127.0.0.1:1/0") as app, pytest.raises(FleetError) as caught:
        celeryfleet.bulk(app, "shop.any", [(1,)])
    assert caught.value.code is Exit.BROKER
    assert "redis://:***@127.0.0.1:1/0" in str(caught.value)


def test_a_connection_lost_in_the_middle_leaves_an_exact_account(server: Path, redis: Redis) -> None:
    def items() -> Iterator[tuple[int]]:
        for number in range(20 * BATCH):
            if number == 3 * BATCH + 7:
                for client in redis.client_list():
                    if client["id"] != str(redis.client_id()):
                        redis.client_kill_filter(_id=client["id"])
            yield (number,)

    with shop(at(server)) as app, pytest.raises(BulkError) as caught:
        celeryfleet.bulk(app, "shop.any", items())
    error = caught.value
    assert error.code is Exit.BROKER
    assert error.sent in (2 * BATCH, 3 * BATCH)
    assert error.sent <= redis.llen("default") <= error.sent + error.unsure
    assert error.unsure <= BATCH
    assert (error.next, len(error.ids)) == (error.sent + error.unsure, error.sent + error.unsure)
    assert f"{error.sent:,} of the items are surely sent" in str(error)


@pytest.mark.parametrize("queues", [["one"], ["one", "two"]])
def test_a_redis_without_memory_takes_whole_batches_or_nothing(server: Path, redis: Redis, queues: list[str]) -> None:
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) + 8_000_000)
    items = ({"args": ["x" * 1000], "queue": queues[n % len(queues)]} for n in range(100_000))
    with shop(at(server)) as app, pytest.raises(BulkError) as caught:
        celeryfleet.bulk(app, "shop.any", items)
    assert "it has no memory left (maxmemory, with the policy noeviction)" in str(caught.value)
    assert (caught.value.code, caught.value.unsure) == (Exit.BROKER, 0)
    assert caught.value.sent == sum(redis.llen(name) for name in queues) > 0


def test_a_batch_for_several_lists_is_taken_as_a_whole_or_not_at_all(server: Path, redis: Redis) -> None:
    redis.acl_setuser("admin", enabled=True, nopass=True, commands=["+@all"], keys=["*"])
    with shop(at(server)) as app, Redis(unix_socket_path=str(server), username="admin", password="any") as admin:
        admin.execute_command("ACL", "SETUSER", "default", "resetkeys", "~one*", "%R~two*", "~_kombu*")
        try:
            items = [{"args": [n], "queue": "two" if n == 7 else "one"} for n in range(9)]
            with pytest.raises(BulkError, match="this user may not LPUSH") as caught:
                celeryfleet.bulk(app, "shop.any", items)
        finally:
            admin.execute_command("ACL", "SETUSER", "default", "allkeys")
    assert (caught.value.sent, caught.value.unsure, lists(redis)) == (0, 0, {})


# --- RabbitMQ ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[Rabbit]:
    """Give the test machine's RabbitMQ."""
    with rabbit() as found:
        yield found


def drained(url: str, queue: str) -> list[Any]:
    """Take all messages of a queue: body, properties and headers, without ids and moments."""
    found = []
    with Connection(url) as connection, connection.channel() as channel:
        while message := channel.basic_get(queue, no_ack=True):
            headers = dict(message.headers)
            properties = {key: value for key, value in message.properties.items() if key != "application_headers"}
            own = headers["id"]
            assert UUID.fullmatch(own)
            headers.pop("fleet_sent_at", None)
            text = repr((message.body, properties, list(headers.items()), message.delivery_info["routing_key"]))
            found.append(without_moments(text.replace(own, "<id>")))
    return found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("inf"), "inf is no number there"),
        (float("nan"), "nan is no number there"),
        (2**63, "it is a number of more than 64 bits"),
        (-(2**63) - 1, "it is a number of more than 64 bits"),
        ({"deep": [1, float("-inf")]}, "-inf is no number there"),
        ("x" * 200_000, "it has more than 100,000 bytes"),
    ],
)
def test_a_header_over_which_rabbitmq_would_hang_up_is_refused_before(broker: Rabbit, value: Any, why: str) -> None:
    with shop(broker.url) as app:
        with pytest.raises(FleetError, match=f'The header "tenant" cannot be sent: {why}') as caught:
            celeryfleet.bulk(app, "shop.any", [(1,)], headers={"tenant": value})
        assert caught.value.code is Exit.USAGE
        queue = broker.name("before")
        items: list[Any] = [{"args": [1]}, {"args": [2], "headers": {"tenant": value}}]
        said = f'Item 1 cannot be sent: The header "tenant" cannot be sent: {why}'
        with pytest.raises(BulkError, match=said) as wrong:
            celeryfleet.bulk(app, "shop.any", items, queue=queue)
        assert (wrong.value.sent, wrong.value.unsure) == (1, 0)
        assert len(drained(broker.url, queue)) == 1


@settings(MANY, max_examples=25)
@given(items=ITEMS, options=options_with(FIT))
@example(items=[[1]] * 3, options={"headers": {"tenant": 2**63 - 1, "x-y": -(2**63), "%": 1e308}})
def test_on_rabbitmq_every_message_is_that_of_apply_async(
    broker: Rabbit, items: list[Any], options: dict[str, Any]
) -> None:
    queue = broker.name("same")
    options = {**options, "queue": queue}
    with shop(broker.url) as app:
        one_by_one(app, "shop.any", items, **options)
        expected = drained(broker.url, queue)
        done = celeryfleet.bulk(app, "shop.any", iter(items), **options)
        assert drained(broker.url, queue) == expected
        celeryfleet.bulk(app, "shop.any", repeat(items[0], 4), **options)
        assert drained(broker.url, queue) == expected[:1] * 4
    assert (done.sent, done.reason) == (len(items), "")


def test_thousands_are_confirmed_by_rabbitmq_with_priority_and_an_event_for_each(broker: Rabbit) -> None:
    name = broker.name("many")
    queue = Queue(name, Exchange(name), name, max_priority=9)
    with shop(broker.url, task_queues=[queue], task_default_queue=name) as app:
        assert celeryfleet.bulk(app, "shop.any", ((n,) for n in range(2100)), priority=7).queues == {name: 2100}
        assert celeryfleet.bulk(app, "shop.any", repeat((1,), 2100)).sent == 2100
        hooked(app, "events")
        assert celeryfleet.bulk(app, "shop.any", repeat((1,), 30)).sent == 30
        with app.connection_for_read() as connection, connection.channel() as channel:
            assert channel.queue_declare(name, passive=True).message_count == 4230
            assert channel.basic_get(name, no_ack=True).properties["priority"] == 7


@pytest.mark.parametrize("confirm", [True, False])
def test_what_a_full_queue_refuses_is_named(broker: Rabbit, confirm: bool) -> None:
    name = broker.name(f"full{confirm}")
    queue = Queue(name, Exchange(name), name, queue_arguments={"x-max-length": 10, "x-overflow": "reject-publish"})
    with shop(
        broker.url,
        task_queues=[queue],
        task_default_queue=name,
        broker_transport_options={"confirm_publish": confirm},
    ) as app:
        with pytest.raises(BulkError) as caught:
            celeryfleet.bulk(app, "shop.any", ((n,) for n in range(2 * BATCH)))
        error = caught.value
        assert error.code is Exit.FAILURE
        with app.connection_for_read() as connection, connection.channel() as channel:
            assert channel.queue_declare(name, passive=True).message_count == error.sent >= 10
    assert (error.sent + len(error.refused), error.next, error.unsure) == (BATCH, BATCH, 0)
    assert "a queue is full, and refuses messages" in str(error)
    assert f"refused {len(error.refused)} messages, that of item {error.refused[0]} first" in str(error)


def test_an_event_that_is_refused_is_no_task_that_is(broker: Rabbit) -> None:
    events = Exchange(broker.name("events"), type="topic")
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    watcher = Queue(broker.name("watcher"), events, "#", queue_arguments=full)
    name = broker.name("watched")
    with (
        shop(broker.url, task_default_queue=name, event_exchange=events.name, task_send_sent_event=True) as app,
        Connection(broker.url) as connection,
        connection.channel() as channel,
    ):
        watcher(channel).declare()
        assert celeryfleet.bulk(app, "shop.any", [(n,) for n in range(20)]).sent == 20
        assert channel.queue_declare(name, passive=True).message_count == 20


def test_what_no_queue_takes_is_an_error_with_a_name(broker: Rabbit) -> None:
    exchange = Exchange(broker.name("orders"), type="topic")
    queue = Queue(broker.name("new"), exchange, "order.new")
    with shop(broker.url, task_queues=[queue], task_default_queue=queue.name) as app:
        celeryfleet.bulk(app, "shop.any", [(1,)])
        items = [{"args": [1]}, {"args": [2]}]
        with pytest.raises(
            BulkError, match=r'no queue takes what goes to the exchange ".*" with the routing key "order.old"'
        ):
            celeryfleet.bulk(app, "shop.any", items, routing_key="order.old")


def test_headers_that_no_queue_wants_are_named_instead_of_a_key_that_decides_nothing(broker: Rabbit) -> None:
    docs = Exchange(broker.name("docs"), type="headers")
    queue = Queue(broker.name("pdf"), docs, "", binding_arguments={"x-match": "all", "kind": "pdf"})
    told = f'goes to the headers exchange "{docs.name}" with kind=doc'
    with (
        shop(broker.url, task_queues=[queue], task_default_queue=queue.name) as app,
        pytest.raises(BulkError, match=told),
    ):
        celeryfleet.bulk(app, "shop.any", [(1,), (2,)], headers={"kind": "doc"})


def test_a_missing_exchange_closes_the_channel_and_is_told(broker: Rabbit) -> None:
    name = broker.name("there")
    with shop(broker.url, task_default_queue=name) as app, pytest.raises(BulkError, match="no exchange 'nowhere'"):
        celeryfleet.bulk(app, "shop.any", [(1,)] * 5, exchange="nowhere", routing_key="x", declare=[])
