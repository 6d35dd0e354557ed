"""Queues in hand on a real Redis and a real RabbitMQ: what waits is looked at and moved, and nothing gets lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.client import in_hand, redis_queue
from celeryfleet.client.broker import measure_by_declaring, opened
from celeryfleet.client.conflicts import found_on
from celeryfleet.client.messages import Message
from celeryfleet.depths import measure
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import Plan
from celeryfleet.redis_client import connect
from celeryfleet.supervise.decide.state import FleetState
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.status import backlog
from tests.fakes import eventually, forget_pools
from tests.machine_services import rabbit as rabbit_server
from tests.servers import redis_server
from tests.unit.plan.fleets import fleet_text, plan_of

NAMES = {"mail": "mail", "low": "low", "dead": "dead"}


@pytest.fixture(scope="module")
def redis() -> Iterator[Path]:
    with redis_server() as path:
        yield path


@dataclass
class Fleet:
    """A fleet without workers, and an app that sends to it."""

    plan: Plan
    app: Celery
    #: the names of its queues: mail, low, dead
    mail: str
    low: str
    dead: str

    def send(self, task: str, *args: Any, **options: Any) -> str:
        return str(self.app.send_task(task, args, queue=options.pop("queue", self.mail), **options).id)

    def seen(self, queue: str) -> list[tuple[str, Any, int | None]]:
        return [(one.task, one.args, one.priority) for one in in_hand.peek(self.plan, queue)]

    def to_low(self, message: Message) -> str:
        return self.low

    def ready(self, queue: str) -> int:
        asked = backlog(Target.of(self.plan), FleetState())
        if self.plan.broker.transport == "redis":
            return int(measure(asked, 0.0)[queue]["ready"])
        depths, trouble = measure_by_declaring(asked)
        assert depths is not None, trouble
        return int(depths[queue]["ready"])

    def tasks(self, queue: str, count: int) -> list[str]:
        """Return the tasks of a queue once they are all there: a RabbitMQ takes a moment to put back."""
        eventually(lambda: self.ready(queue) == count)
        return [task for task, _, _ in self.seen(queue)]


@pytest.fixture(params=["redis", "rabbit"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    if request.param == "redis":
        path = request.getfixturevalue("redis")
        yield from _fleet(f"redis+socket://{path}?virtual_host=0", NAMES)
        with connect(f"redis+socket://{path}?virtual_host=0") as connection:
            connection.call("FLUSHDB")  # a server of our own
        return
    yield from _on_rabbit()


@pytest.fixture
def rabbit_fleet() -> Iterator[Fleet]:
    yield from _on_rabbit()


def _on_rabbit() -> Iterator[Fleet]:
    with rabbit_server() as rabbit:
        yield from _fleet(rabbit.url, {word: rabbit.name(word) for word in ("mail", "low", "dead")}, rabbit.fleet)


def _fleet(url: str, names: dict[str, str], fleet: str = "shop") -> Iterator[Fleet]:
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": names["dead"]}
    queues = {
        names["mail"]: {"max_priority": 9, **({"arguments": letters} if url.startswith("amqp") else {})},
        names["low"]: {"max_priority": 9},
        names["dead"]: {},
    }
    whole = {"queues": queues, "default_queue": names["low"], "pools": {"web": {"queues": [names["mail"]]}}}
    plan = plan_of(fleet_text(name=fleet, broker=url, results="none", **whole))
    if plan.broker.transport == "amqp":
        with opened(url) as connection:
            assert found_on(connection, plan.queues, declare=True) == []
    app = Celery("shop", set_as_current=False)
    apply(app, plan.settings)
    try:
        yield Fleet(plan, app, **names)
    finally:
        forget_pools(app)
        app.close()


def test_the_first_messages_are_seen_in_the_order_in_which_workers_take_them_and_stay(fleet: Fleet) -> None:
    wire = fleet.plan.routing.wire
    for number, priority in enumerate((3, 3, 9, 3)):
        fleet.send("shop.a", number, priority=wire(priority))
    eventually(lambda: fleet.ready(fleet.mail) == 4)
    found = in_hand.peek(fleet.plan, fleet.mail, 3)
    assert [(one.task, one.args, one.kwargs, one.priority) for one in found] == [
        ("shop.a", [2], {}, 9),
        ("shop.a", [0], {}, 3),
        ("shop.a", [1], {}, 3),
    ]
    assert len({one.id for one in found}) == 3
    eventually(lambda: fleet.ready(fleet.mail) == 4)
    assert [args for _, args, _ in fleet.seen(fleet.mail)] == [[2], [0], [1], [3]]


def test_messages_are_moved_in_their_order_and_with_their_priority_and_others_stay(fleet: Fleet) -> None:
    wire = fleet.plan.routing.wire
    for number, (task, priority) in enumerate([("shop.a", 3), ("shop.b", 9), ("shop.a", 3), ("shop.a", 9)]):
        fleet.send(task, number, priority=wire(priority))
    eventually(lambda: fleet.ready(fleet.mail) == 4)
    moved = in_hand.move(fleet.plan, fleet.mail, lambda one: fleet.low if one.task == "shop.a" else None)
    assert [one.args for one in moved] == [[3], [0], [2]]
    eventually(lambda: (fleet.ready(fleet.mail), fleet.ready(fleet.low)) == (1, 3))
    assert fleet.seen(fleet.mail) == [("shop.b", [1], 9)]
    assert fleet.seen(fleet.low) == [("shop.a", [3], 9), ("shop.a", [0], 3), ("shop.a", [2], 3)]


def test_so_many_are_moved_as_were_asked_for(fleet: Fleet) -> None:
    for name in ("shop.a", "shop.b", "shop.c"):
        fleet.send(name)
    eventually(lambda: fleet.ready(fleet.mail) == 3)
    assert [one.task for one in in_hand.move(fleet.plan, fleet.mail, fleet.to_low, 2, picky=False)] == [
        "shop.a",
        "shop.b",
    ]
    assert fleet.tasks(fleet.mail, 1) == ["shop.c"]
    assert fleet.tasks(fleet.low, 2) == ["shop.a", "shop.b"]


def test_what_is_compressed_is_still_read_after_a_move(fleet: Fleet) -> None:
    fleet.send("shop.a", "x" * 500, compression="zlib")
    eventually(lambda: fleet.ready(fleet.mail) == 1)
    assert len(in_hand.move(fleet.plan, fleet.mail, fleet.to_low)) == 1
    eventually(lambda: fleet.ready(fleet.low) == 1)
    with fleet.app.connection_for_read() as connection:
        message = fleet.app.amqp.queues[fleet.low](connection.default_channel).get(accept=["json"])
        assert message.payload[0] == ["x" * 500]
        message.ack()


def test_what_is_no_task_is_left_alone_and_does_not_keep_others(fleet: Fleet) -> None:
    with opened(fleet.plan.broker.url) as connection, connection.Producer() as producer:
        producer.publish({"hello": "world"}, exchange="", routing_key=fleet.mail)
    fleet.send("shop.a")
    if fleet.plan.broker.transport == "redis":
        with connect(fleet.plan.broker.url) as client:
            client.call("LPUSH", fleet.mail, "garbage", json.dumps({"body": 1}), json.dumps([1]))
    assert sorted(task for task, _, _ in fleet.seen(fleet.mail)) == ["", "shop.a"]
    moved = in_hand.move(fleet.plan, fleet.mail, lambda one: fleet.low if one.task == "shop.a" else None)
    assert [one.task for one in moved] == ["shop.a"]


def test_a_lost_broker_is_an_error_with_its_exit_code() -> None:
    plan = plan_of(fleet_text(broker="redis://:secret@127.0.0.1:1/0"))
    with pytest.raises(FleetError) as caught:
        in_hand.peek(plan, "video")
    assert caught.value.code == Exit.BROKER
    assert "secret" not in str(caught.value)


# --- Redis ------------------------------------------------------------------------------------------------


def test_what_a_worker_takes_meanwhile_is_its_own_and_is_not_there_twice(redis: Path) -> None:
    url = f"redis+socket://{redis}?virtual_host=3"
    with contextmanager(_fleet)(url, NAMES) as found:
        for name in ("shop.a", "shop.b"):
            found.send(name, priority=0)

        def choose(message: Message) -> str:
            if message.task == "shop.a":
                with connect(url) as worker:
                    assert worker.call("RPOP", found.mail) is not None
            return found.low

        assert [one.task for one in in_hand.move(found.plan, found.mail, choose)] == ["shop.b"]
        assert [task for task, _, _ in found.seen(found.low)] == ["shop.b"]
        with connect(url) as connection:
            raw = connection.call("LRANGE", "low", 0, -1)
            assert isinstance(raw, list)
            assert isinstance(raw[0], bytes)
            told = json.loads(raw[0])["properties"]["delivery_info"]
            assert told == {"exchange": "", "routing_key": "low"}, "else it would be put back where it was"
            connection.call("FLUSHDB")


@pytest.mark.parametrize("glob", ["all of them", "every third"])
def test_in_a_busy_queue_each_message_is_taken_or_moved_or_stays_and_is_there_once(redis: Path, glob: str) -> None:
    url = f"redis+socket://{redis}?virtual_host=4"
    with contextmanager(_fleet)(url, NAMES) as fleet:
        fleet.send("shop.a", priority=0)
        with connect(url) as connection, connect(url) as other:
            (text,) = map(json.loads, connection.call("LRANGE", "mail", 0, -1))  # type: ignore[arg-type]

            def add(numbers: range) -> None:
                headers = ({**text["headers"], "id": str(number)} for number in numbers)
                connection.call("LPUSH", "mail", *(json.dumps({**text, "headers": told}) for told in headers))

            connection.call("DEL", "mail")
            add(range(3000))
            taken: list[Message] = []

            def choose(message: Message) -> str | None:
                number = int(message.id)
                if number % 100 == 0:  # meanwhile a worker takes some, and somebody sends some
                    for reply in other.pipeline([("RPOP", fleet.mail)] * 7):
                        assert isinstance(reply, bytes)
                        taken.append(Message.of_redis(reply))
                    add(range(3000 + number // 10, 3003 + number // 10))
                return fleet.low if glob == "all of them" or number % 3 == 0 else None

            moved = in_hand.move(fleet.plan, fleet.mail, choose)
            low, mail = (in_hand.peek(fleet.plan, name) for name in (fleet.low, fleet.mail))
            connection.call("FLUSHDB")
        assert [one.id for one in moved] == [one.id for one in low]
        assert len(moved) > 900
        everywhere = [one.id for one in (*taken, *low, *mail)]
        assert len(everywhere) == len(set(everywhere)) == 3000 + 30 * 3
        assert [int(one.id) for one in low] == sorted(int(one.id) for one in low)


def test_a_message_is_found_by_its_id_and_its_place_among_thousands(redis: Path) -> None:
    url = f"redis+socket://{redis}?virtual_host=5"
    with contextmanager(_fleet)(url, NAMES) as fleet:
        urgent = fleet.send("shop.a", priority=0)
        first = fleet.send("shop.a", priority=3)
        with connect(url) as connection:
            (text,) = connection.call("LRANGE", "mail\x06\x163", 0, -1)  # type: ignore[misc]
            assert isinstance(text, bytes)
            copies = [text.replace(first.encode(), b"%036d" % number) for number in range(2500)]
            connection.call("LPUSH", "mail\x06\x163", *copies)

            def found(task_id: str) -> Any:
                place = redis_queue.find(connection, fleet.plan.broker, fleet.mail, task_id)
                return place and place[:2]

            assert found(urgent) == (1, 2502)
            assert found(first) == (2, 2502)
            assert found(f"{0:036d}") == (3, 2502)
            assert found(f"{2499:036d}") == (2502, 2502)
            assert found("nobody") is None
            odd = 'größe "1"\n'  # JSON writes it otherwise
            fleet.app.send_task("shop.a", task_id=odd, queue=fleet.mail)
            assert found(odd) is not None
            assert redis_queue.ids(connection, fleet.plan.broker, fleet.mail, odd[:4]) == {odd}
            assert redis_queue.ids(connection, fleet.plan.broker, fleet.mail, "shop") == set()
            connection.call("FLUSHDB")


# --- RabbitMQ ---------------------------------------------------------------------------------------------


def test_dead_letters_are_told_with_their_reasons_and_go_back_without_their_past(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    fleet.send("shop.a", 1)
    fleet.send("shop.b", 2, queue=fleet.dead)
    with opened(fleet.plan.broker.url) as connection:
        channel = connection.channel()
        message = eventually(lambda: channel.basic_get(fleet.mail))
        channel.basic_reject(message.delivery_tag, requeue=False)
    eventually(lambda: fleet.ready(fleet.dead) == 2)
    found = {one.queue: one for one in in_hand.dead(fleet.plan, {fleet.dead: 2})}
    assert set(found) == {fleet.dead, fleet.plan.parked}
    assert found[fleet.dead].sources == (fleet.mail,)
    assert found[fleet.dead].reasons == {"unknown": 1, "rejected": 1}
    eventually(lambda: fleet.ready(fleet.dead) == 2)
    moved = in_hand.move(fleet.plan, fleet.dead, lambda one: fleet.mail if one.task == "shop.a" else None)
    assert [one.args for one in moved] == [[1]]
    eventually(lambda: fleet.ready(fleet.mail) == 1)
    (back,) = in_hand.peek(fleet.plan, fleet.mail)
    assert not [name for name in back.headers if name.startswith(("x-death", "x-first", "x-last"))]


def test_a_queue_that_is_full_keeps_what_it_does_not_take_where_it_was(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    with opened(fleet.plan.broker.url) as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_delete(fleet.low)
        connection.channel().queue_declare(fleet.low, arguments=full, durable=True, auto_delete=False)
    for number in range(3):
        fleet.send("shop.a", number)
    eventually(lambda: fleet.ready(fleet.mail) == 3)
    with pytest.raises(FleetError, match=r"full, and takes no more"):
        in_hand.move(fleet.plan, fleet.mail, fleet.to_low)
    assert fleet.tasks(fleet.mail, 2) == ["shop.a", "shop.a"]
    assert fleet.tasks(fleet.low, 1) == ["shop.a"]


def test_a_queue_that_the_broker_does_not_have_takes_nothing(rabbit_fleet: Fleet) -> None:
    fleet = rabbit_fleet
    with opened(fleet.plan.broker.url) as connection:
        connection.channel().queue_delete(fleet.low)
    fleet.send("shop.a")
    eventually(lambda: fleet.ready(fleet.mail) == 1)
    with pytest.raises(FleetError, match=r"the broker has no queue .* `celeryfleet up` declares it"):
        in_hand.move(fleet.plan, fleet.mail, fleet.to_low)
    assert fleet.tasks(fleet.mail, 1) == ["shop.a"]
    assert in_hand.peek(fleet.plan, fleet.low) == []


def test_a_look_into_a_quorum_queue_is_refused_since_it_counts_as_a_delivery() -> None:
    plan = plan_of(fleet_text(broker="amqp://127.0.0.1:1//", queues={"default": {}, "video": {"type": "quorum"}}))
    with pytest.raises(FleetError, match=r"^not supported: to look into \"video\""):
        in_hand.peek(plan, "video")
    with pytest.raises(FleetError, match=r"^not supported"):
        in_hand.move(plan, "video", lambda one: None)
