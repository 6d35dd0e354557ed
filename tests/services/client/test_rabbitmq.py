"""Definitions, depths and publishing on a real RabbitMQ."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from amqp.exceptions import ChannelError
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.client.broker import Counting, measure_by_declaring, opened, purge, reach
from celeryfleet.client.conflicts import conflicts_of, found_on
from celeryfleet.client.options import Options
from celeryfleet.client.send import send
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Backlog, Depths
from celeryfleet.routing.conflicts import error
from celeryfleet.routing.queue import Queue
from celeryfleet.routing.resolve import resolve
from celeryfleet.routing.table import RoutingTable
from tests.fakes import eventually, forget_pools
from tests.machine_services import Rabbit
from tests.machine_services import rabbit as rabbit_server
from tests.unit.plan.fleets import fleet_of, fleet_text, plan_of


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    with rabbit_server() as found:
        yield found


@pytest.fixture
def connection(rabbit: Rabbit) -> Iterator[Any]:
    with opened(rabbit.url) as found:
        yield found


def _queue(name: str, arguments: dict[str, Any] | None = None, kind: str = "direct") -> Queue:
    return Queue(name, name, kind, name, arguments or {})


def _declare(connection: Any, *queues: Queue) -> None:
    assert found_on(connection, queues, declare=True) == []


def _put(connection: Any, exchange: str, key: str) -> None:
    with connection.Producer() as producer:
        producer.publish("a message", exchange=exchange, routing_key=key)


def _depth(connection: Any, name: str) -> int:
    with connection.channel() as channel:
        return int(channel.queue_declare(name, passive=True).message_count)


# --- Definitions ------------------------------------------------------------------------------------------


def test_every_difference_of_every_queue_is_found_at_once(rabbit: Rabbit, connection: Any) -> None:
    video, mail, plain = rabbit.name("video"), rabbit.name("mail"), rabbit.name("plain")
    _declare(connection, _queue(video, {"x-max-priority": 5, "x-expires": 60000}), _queue(mail), _queue(plain))
    _put(connection, "", video)
    wanted = [
        _queue(video, {"x-max-priority": 10, "x-max-length": 7}),
        _queue(plain),
        _queue(mail, {"x-overflow": "reject-publish"}),
    ]
    told = str(error(found_on(connection, wanted))).splitlines()
    assert len(told) == 2
    for part in (
        f'the queue "{video}" is on the broker with',
        "max_priority 5 (fleet.yaml: 10)",
        "without max_length (fleet.yaml: 7)",
        "with x-expires 60000 (fleet.yaml: none)",
        "it holds 1 message, which would be lost.",
    ):
        assert part in told[0]
    assert f'the queue "{mail}" is on the broker without x-overflow (fleet.yaml: reject-publish).' in told[1]


def test_looking_creates_nothing(rabbit: Rabbit, connection: Any) -> None:
    name = rabbit.name("new")
    assert found_on(connection, [_queue(name)]) == []
    for ask in ("queue_declare", "exchange_declare"):
        kind = ("direct",) if ask == "exchange_declare" else ()
        with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
            getattr(connection.channel(), ask)(name, *kind, passive=True)


def test_declaring_binds_a_queue_that_nobody_reads(rabbit: Rabbit, connection: Any) -> None:
    queue = Queue(rabbit.name("dead"), rabbit.name("x"), "topic", "order.#")
    _declare(connection, queue)
    _put(connection, queue.exchange, "order.created.now")
    assert _depth(connection, queue.name) == 1


def test_an_exchange_of_another_type_is_found_once(rabbit: Rabbit, connection: Any) -> None:
    shared = rabbit.name("events")
    one, two = rabbit.name("one"), rabbit.name("two")
    _declare(connection, Queue(one, shared, "direct", one))
    wanted = [Queue(name, shared, "topic", name) for name in (one, two)]
    found = found_on(connection, wanted, declare=True)
    assert [(conflict.entity, conflict.name) for conflict in found] == [("exchange", shared)]
    assert f'the exchange "{shared}" is on the broker with type direct (fleet.yaml: topic).' in str(error(found))


def test_priorities_of_a_quorum_queue_are_refused_before_a_worker_meets_them(rabbit: Rabbit, connection: Any) -> None:
    wanted = [_queue(rabbit.name("q"), {"x-queue-type": "quorum", "x-max-priority": 3})]
    assert found_on(connection, wanted) == []  # it is not there, and is not to be made
    told = str(error(found_on(connection, wanted, declare=True)))
    assert "RabbitMQ takes no max_priority for the queue" in told
    assert "make it `type: classic`" in told


def test_a_queue_that_another_connection_has_for_itself_is_refused_with_the_brokers_words(
    rabbit: Rabbit, connection: Any
) -> None:
    name = rabbit.name("mine")
    with opened(rabbit.url) as other, other.channel() as channel:
        channel.queue_declare(name, exclusive=True)
        told = str(error(found_on(connection, [_queue(name)])))
    assert told.startswith(f'RabbitMQ refuses the queue "{name}": RESOURCE_LOCKED')


def test_a_conflict_is_placed_where_fleet_yaml_says_it(rabbit: Rabbit, connection: Any) -> None:
    name = rabbit.name("video")
    _declare(connection, _queue(name, {"x-max-priority": 5}))
    text = f"name: shop\nbroker: {rabbit.url}\nqueues:\n  {name}:\n    max_priority: 10\ndefault_queue: {name}\n"
    found = conflicts_of(plan_of(text))
    assert str(error(found, fleet_of(text).where)).startswith(f'/srv/shop/fleet.yaml:5:5: the queue "{name}" is on')


def test_a_broker_that_is_away_or_no_rabbitmq_has_no_conflicts() -> None:
    away = plan_of("name: shop\nbroker: amqp://127.0.0.1:1//\nqueues: {default: }")
    assert conflicts_of(away) == []
    assert conflicts_of(plan_of("name: shop\nqueues: {default: }")) == []


# --- Publishing -------------------------------------------------------------------------------------------


def _nothing() -> None: ...


@contextmanager
def _app_of(plan: Plan) -> Iterator[Celery]:
    """Give an app with a plan's settings and a task of its own."""
    app = Celery("shop", set_as_current=False)
    apply(app, plan.settings)
    app.task(name="shop.a", shared=False, ignore_result=True)(_nothing)
    try:
        yield app
    finally:
        forget_pools(app)
        app.close()


def _plan(rabbit: Rabbit, queues: dict[str, Any], routes: Sequence[Any] = (), **keys: Any) -> Plan:
    whole = {"queues": queues, "default_queue": next(iter(queues)), "routes": list(routes), "pools": {}}
    return plan_of(fleet_text(broker=rabbit.url, results="none", **whole, **keys))


def _events(rabbit: Rabbit, **more: Any) -> dict[str, Any]:
    events = rabbit.name("events")
    topic = {"exchange": {"name": events, "type": "topic"}, "routing_key": "order.#"}
    return {rabbit.name("default"): None, events: topic, **more}


def test_a_message_that_no_queue_takes_is_an_error_of_its_own_publish(rabbit: Rabbit, connection: Any) -> None:
    queues = _events(rabbit)
    default, events = queues
    with _app_of(_plan(rabbit, queues, [{"task": "shop.a", "exchange": events, "routing_key": "invoice.x"}])) as app:
        with pytest.raises(FleetError) as caught:
            send(app, "shop.a", keep=False)
        assert str(caught.value).startswith(
            f'shop.a is not sent: no queue takes what goes to the exchange "{events}" with the routing key "invoice.x".'
        )
        assert caught.value.code == Exit.USAGE
        app.send_task("shop.innocent", queue=default)
        assert _depth(connection, default) == 1
        assert _depth(connection, events) == 0


def test_code_of_the_users_own_that_names_exchange_and_key_gets_the_error_too(rabbit: Rabbit) -> None:
    queues = _events(rabbit)
    events = rabbit.name("events")
    with _app_of(_plan(rabbit, queues)) as app:
        given = {"exchange": events, "exchange_type": "topic", "declare": [app.amqp.queues[events]]}
        app.send_task("shop.b", routing_key="order.created", **given)
        with pytest.raises(ChannelError, match=r"\(312\) NO_ROUTE: no queue takes shop.b, which goes to the exchange"):
            app.send_task("shop.b", routing_key="invoice.created", **given)


PRODUCER = """
import sys
from celery import Celery
import celeryfleet

app = Celery("shop", set_as_current=False)
celeryfleet.install(app, sys.argv[1])
for key in ("a.key", "a.nother", "order.created"):
    try:
        app.send_task("shop.b", queue=sys.argv[2], routing_key=key)
        print("sent")
    except Exception as error:
        print(type(error).__name__, str(error).partition(", which")[0])
"""


@pytest.mark.parametrize("results", ["rpc", "none"])
def test_from_the_first_one_on_it_is_named_and_nothing_else_is_said(
    rabbit: Rabbit, connection: Any, tmp_path: Path, results: str
) -> None:
    queues = _events(rabbit)
    events = rabbit.name("events")
    whole = {"queues": queues, "default_queue": next(iter(queues)), "pools": {}}
    (tmp_path / "fleet.yaml").write_text(fleet_text(broker=rabbit.url, results=results, **whole))
    argv = [sys.executable, "-c", PRODUCER, str(tmp_path / "fleet.yaml"), events]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    lost = "ChannelError Basic.return: (312) NO_ROUTE: no queue takes shop.b\n"
    assert (done.stdout, done.stderr) == (f"{lost}{lost}sent\n", "")
    assert _depth(connection, events) == 1


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_app_without_a_fleet_in_the_same_process_is_left_alone(rabbit: Rabbit, confirmed: bool) -> None:
    queues = _events(rabbit)
    events = rabbit.name("events")
    other = Celery("other", broker=rabbit.url, set_as_current=False)
    other.conf.broker_transport_options = {"confirm_publish": confirmed}
    with _app_of(_plan(rabbit, queues)) as app:
        app.send_task("shop.b", queue=events)
        try:
            given = {"exchange": events, "exchange_type": "topic", "ignore_result": True}
            for _ in range(2):
                other.send_task("other.b", routing_key="invoice.created", **given)
        finally:
            forget_pools(other)
            other.close()


def test_without_confirms_nothing_is_blamed_on_the_next_message(rabbit: Rabbit, connection: Any) -> None:
    queues = _events(rabbit)
    default, events = queues
    unconfirmed = {"broker_transport_options": {"confirm_publish": False}}
    with _app_of(_plan(rabbit, queues, celery=unconfirmed)) as app:
        given = {"exchange": events, "exchange_type": "topic", "declare": [app.amqp.queues[events]]}
        app.send_task("shop.b", routing_key="invoice.created", **given)
        app.send_task("shop.b", queue=default)
        app.send_task("shop.b", queue=default)
        assert _depth(connection, default) == 2


def test_an_exchange_that_is_not_there_is_named(rabbit: Rabbit) -> None:
    queues = _events(rabbit)
    absent = rabbit.name("absent")
    with _app_of(_plan(rabbit, queues)) as app:
        task: Any = app.tasks["shop.a"]
        task.exchange, task.routing_key = absent, "x"
        with pytest.raises(FleetError, match=f'shop.a is not sent: the broker has no exchange "{absent}"'):
            send(app, "shop.a", keep=False)


def test_a_queue_that_has_changed_is_explained_to_the_sender(rabbit: Rabbit, connection: Any) -> None:
    name = rabbit.name("video")
    _declare(connection, _queue(name, {"x-max-priority": 5}))
    plan = _plan(rabbit, {name: {"max_priority": 10, "max_length": 3}})
    with _app_of(plan) as app, pytest.raises(FleetError) as caught:
        send(app, "shop.a", keep=False)
    assert "max_priority 5 (fleet.yaml: 10)" in str(caught.value)
    assert "without max_length (fleet.yaml: 3)" in str(caught.value)
    assert f"rabbitmqctl delete_queue {name} --if-empty" in str(caught.value)


def test_a_full_queue_that_refuses_is_no_lost_broker(rabbit: Rabbit, connection: Any) -> None:
    name = rabbit.name("full")
    queue = {"max_length": 1, "arguments": {"x-overflow": "reject-publish"}}
    with _app_of(_plan(rabbit, {name: queue})) as app:
        send(app, "shop.a", keep=False)
        with pytest.raises(FleetError, match=f'shop.a is not sent: the queue "{name}" is full') as caught:
            send(app, "shop.a", keep=False)
    assert caught.value.code == Exit.FAILURE
    assert _depth(connection, name) == 1


# --- Headers exchanges ------------------------------------------------------------------------------------


class Docs:
    """A fleet whose headers exchange has a queue for each way to choose."""

    def __init__(self, rabbit: Rabbit) -> None:
        self.exchange = rabbit.name("docs")
        wanted: dict[str, dict[str, Any]] = {
            "every": {},
            "pdf": {"kind": "pdf"},
            "big": {"kind": "pdf", "pages": 900},
            "some": {"x-match": "any", "kind": "pdf", "pages": 900},
            "render": {"task": "shop.render"},
        }
        on = {"exchange": {"name": self.exchange, "type": "headers"}}
        self.names = {rabbit.name(word): word for word in wanted}
        queues = {rabbit.name(word): {**on, **({"headers": given} if given else {})} for word, given in wanted.items()}
        routes = [
            {"task": "shop.route", "exchange": self.exchange, "headers": {"kind": "pdf"}},
            {"task": "shop.*", "exchange": self.exchange},
        ]
        text = fleet_text(
            broker=rabbit.url,
            results="none",
            queues={rabbit.name("default"): None, **queues},
            default_queue=rabbit.name("default"),
            routes=routes,
            pools={},
        )
        self.fleet, self.plan = fleet_of(text), plan_of(text)

    def said(self, task: str, headers: dict[str, Any]) -> set[str]:
        """Return where `route` says that a message goes."""
        decision = resolve(self.fleet, self.plan.routing, task, options={"headers": headers} if headers else {})
        return {self.names[name] for name in decision.queues}

    def held(self, connection: Any) -> set[str]:
        """Return the queues that have a message."""
        return {word for name, word in self.names.items() if _depth(connection, name)}


@pytest.mark.parametrize(
    ("task", "headers", "expected"),
    [
        ("shop.x", {"kind": "pdf"}, {"every", "pdf", "some"}),
        ("shop.x", {"kind": "pdf", "pages": 900}, {"every", "pdf", "some", "big"}),
        ("shop.x", {"kind": "doc", "pages": 900}, {"every", "some"}),
        ("shop.x", {"pages": "900"}, {"every"}),  # a text is no number
        ("shop.x", {}, {"every"}),
        ("shop.render", {}, {"every", "render"}),
        ("shop.route", {}, {"every", "pdf", "some"}),  # by the headers of its route
        ("shop.route", {"pages": 900}, {"every", "some"}),  # those of a call stand in their place
    ],
)
def test_a_headers_exchange_gives_a_message_to_the_queues_that_want_its_headers(
    rabbit: Rabbit, connection: Any, task: str, headers: dict[str, Any], expected: set[str]
) -> None:
    docs = Docs(rabbit)
    _declare(connection, *docs.plan.queues)
    with _app_of(docs.plan) as app:
        app.send_task(task, headers=headers or None, ignore_result=True)
        assert docs.held(connection) == docs.said(task, headers) == expected


def test_a_worker_s_own_declaration_binds_by_headers_too(rabbit: Rabbit, connection: Any) -> None:
    docs = Docs(rabbit)
    with _app_of(docs.plan) as app:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        assert found_on(connection, RoutingTable.of(app).queues) == []
        app.send_task("shop.render", ignore_result=True)
        assert docs.held(connection) == {"every", "render"}


def test_headers_that_no_queue_wants_are_an_error_of_the_sender(rabbit: Rabbit) -> None:
    docs = rabbit.name("docs")
    on = {"exchange": {"name": docs, "type": "headers"}, "headers": {"pages": 3}}
    four = {**on, "headers": {"pages": 4}}
    queues = {rabbit.name("default"): None, rabbit.name("four"): four, rabbit.name("three"): on}
    with _app_of(_plan(rabbit, queues, [{"task": "shop.*", "exchange": docs}])) as app:
        assert send(app, "shop.a", options=Options(headers={"pages": 3}), keep=False).queue == rabbit.name("three")
        with pytest.raises(FleetError) as caught:
            send(app, "shop.a", options=Options(headers={"pages": "3"}), keep=False)
        told = f'no queue takes what goes to the headers exchange "{docs}" with pages="3".'
        assert str(caught.value).startswith(f"shop.a is not sent: {told}")
        with pytest.raises(ChannelError, match=f'shop.b, which goes to the headers exchange "{docs}" with no headers'):
            app.send_task("shop.b", ignore_result=True)


# --- Dead letters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "arguments", "grave", "expected"),
    [
        ({}, {"exchange": "dead"}, {}, set()),
        ({}, {"exchange": "dead", "routing-key": "dead"}, {}, {"dead"}),
        ({}, {"exchange": "dead"}, {"type": "fanout"}, {"dead"}),
        ({}, {"exchange": "dead"}, {"type": "headers"}, {"dead"}),
        ({}, {"exchange": "dead"}, {"type": "topic", "routing_key": "#"}, {"dead"}),
        ({}, {"exchange": "dead"}, {"type": "topic", "routing_key": "order.#"}, set()),
        ({}, {"exchange": "nowhere"}, {}, set()),
        ({}, {"exchange": "default", "routing-key": "dead"}, {}, set()),
        ({"type": "topic", "routing_key": "a.b"}, {"exchange": "dead"}, {"routing_key": "a.b"}, {"dead"}),
        ({"type": "topic", "routing_key": "a.b"}, {"exchange": "dead"}, {"routing_key": "a.c"}, set()),
    ],
)
def test_what_is_rejected_goes_where_check_and_graph_say(
    rabbit: Rabbit,
    connection: Any,
    source: dict[str, str],
    arguments: dict[str, str],
    grave: dict[str, str],
    expected: set[str],
) -> None:
    names = {word: rabbit.name(word) for word in ("default", "dead", "nowhere")}
    letters = {f"x-dead-letter-{key}": names.get(value, value) for key, value in arguments.items()}
    queues = {
        names["default"]: {**_bound(names["default"], source), "arguments": letters},
        names["dead"]: _bound(names["dead"], grave),
    }
    plan = _plan(rabbit, queues)
    _declare(connection, *plan.queues)
    with _app_of(plan) as app:
        app.send_task("shop.a", ignore_result=True)
    with connection.channel() as channel:
        channel.basic_reject(channel.basic_get(names["default"]).delivery_tag, requeue=False)
        eventually(lambda: bool(_depth(connection, names["dead"])) or not expected)
        found = {word for word in ("default", "dead") if _depth(connection, names[word])}
    letters_of = plan.routing.dead_letters(plan.queues[0])
    assert letters_of is not None
    assert {rabbit.prefix + word for word in found} == set(letters_of.queues) == {names[word] for word in expected}


def _bound(name: str, given: dict[str, str]) -> dict[str, Any]:
    exchange = {"exchange": {"name": name, "type": given["type"]}} if "type" in given else {}
    return {**exchange, **{key: value for key, value in given.items() if key != "type"}}


@pytest.mark.parametrize("exchange", ["", "default"])
def test_dead_letters_that_come_back_do_so_for_ever(rabbit: Rabbit, connection: Any, exchange: str) -> None:
    name = rabbit.name("default")
    plan = _plan(rabbit, {name: {"arguments": {"x-dead-letter-exchange": exchange and name}}})
    _declare(connection, *plan.queues)
    with _app_of(plan) as app:
        app.send_task("shop.a", ignore_result=True)
    with connection.channel() as channel:
        for _ in range(3):
            message: Any = eventually(lambda: channel.basic_get(name))
            channel.basic_reject(message.delivery_tag, requeue=False)
        eventually(lambda: _depth(connection, name) == 1)
    letters = plan.routing.dead_letters(plan.queues[0])
    assert letters is not None
    assert letters.queues == (name,)


# --- Depths -----------------------------------------------------------------------------------------------


def _backlog(url: str, *names: str) -> Backlog:
    return Backlog(url, "amqp", queues=tuple({"name": name} for name in names))


def test_depths_are_asked_for_without_declaring(rabbit: Rabbit, connection: Any) -> None:
    full, absent, empty = rabbit.name("full"), rabbit.name("absent"), rabbit.name("empty")
    _declare(connection, _queue(full), _queue(empty))
    for _ in range(3):
        _put(connection, "", full)
    depths, trouble = measure_by_declaring(_backlog(rabbit.url, full, absent, empty))
    assert trouble == ""
    assert depths is not None
    assert {name: depth["ready"] for name, depth in depths.items()} == {full: 3, absent: 0, empty: 0}
    assert found_on(connection, [_queue(absent)]) == []


def test_what_waits_is_counted_again_and_again_by_one_connection_and_by_another_one_when_that_is_lost(
    rabbit: Rabbit, connection: Any
) -> None:
    full, absent = rabbit.name("full"), rabbit.name("absent")
    _declare(connection, _queue(full))
    counting, asked = Counting(), _backlog(rabbit.url, full, absent)
    assert counting.count(asked) == Depths({full: 0, absent: 0})
    ours = counting._connection
    channels = len(ours.connection.channels)
    _put(connection, "", full)
    eventually(lambda: counting.count(asked) == Depths({full: 1, absent: 0}))
    assert (counting._connection, len(ours.connection.channels)) == (ours, channels)
    ours.connection.sock.close()
    assert counting.count(asked).trouble
    assert counting.count(asked) == Depths({full: 1, absent: 0})
    wrong = _backlog(rabbit.url.replace(":5672", ":1"), full)
    assert "Connection refused" in counting.count(wrong).trouble
    counting.close()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("guest:guest@", "guest:wrong-password@", "it refuses the user or the password"),
        ("5672//", "5672/nowhere", 'it has no virtual host "nowhere"'),
        (":5672", ":1", "Connection refused"),
        ("amqp:", "amqps:", "it does not speak TLS on this port"),
    ],
)
def test_why_a_broker_cannot_be_reached_is_told_without_its_password(
    rabbit: Rabbit, old: str, new: str, reason: str
) -> None:
    url = rabbit.url.replace(old, new)
    if url == rabbit.url:
        pytest.skip(f"the test's RabbitMQ is not at {old}")
    parts = urlsplit(url)
    told = f"{parts.hostname}:{parts.port or {'amqps': 5671}.get(parts.scheme, 5672)}: {reason}"
    assert reach(url) == told
    assert measure_by_declaring(_backlog(url, "q")) == (None, told)


def test_a_purge_drops_what_waits_and_passes_over_what_is_not_there(rabbit: Rabbit, connection: Any) -> None:
    names = [rabbit.name(word) for word in ("a", "absent", "b")]
    plan = _plan(rabbit, dict.fromkeys(names))
    _declare(connection, *(queue for queue in plan.queues if "absent" not in queue.name))
    for name in (names[0], names[0], names[2]):
        _put(connection, "", name)
    assert purge(plan, names) == 3
    assert _depth(connection, names[0]) == 0
