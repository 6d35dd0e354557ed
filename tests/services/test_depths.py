from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from celeryfleet.depths import depths, lists, measure
from celeryfleet.protocol import Backlog
from celeryfleet.redis_client import BrokerError, Connection, ReplyError
from tests.servers import redis_server

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply, Word

BROKER = {"steps": [0, 1, 9], "sep": "\x06\x16", "key_prefix": "shop:"}


class FakeConnection(Connection):
    """Answers LLEN, LINDEX and HVALS from a dictionary, and counts the round trips."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.where = "fake"
        self.trips = 0
        self._data = data

    def pipeline(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        self.trips += 1
        return [self._reply(*command) for command in commands]

    def _reply(self, name: Word, key: Word, *_: Word) -> Reply:
        found = self._data.get(str(key), [])
        if isinstance(found, ReplyError):
            return found
        match name:
            case "LLEN":
                return len(found)
            case "LINDEX":
                return found[-1] if found else None
        return list(found)


def message(sent_at: object = None) -> bytes:
    headers = {} if sent_at is None else {"fleet_sent_at": sent_at}
    return json.dumps({"body": "e30=", "headers": headers, "properties": {}}).encode()


def taken(exchange: str, key: str) -> bytes:
    return json.dumps([{"body": "e30="}, exchange, key]).encode()


def queue(name: str, exchange: str = "", kind: str = "direct", key: str | None = None) -> dict[str, str]:
    return {
        "name": name,
        "exchange": exchange or name,
        "exchange_type": kind,
        "routing_key": name if key is None else key,
    }


def test_all_priority_lists_count_and_the_oldest_of_any_decides_the_age() -> None:
    connection = FakeConnection(
        {
            "shop:mail": [message(95.0), message(90.0)],
            "shop:mail\x06\x169": [message(99.0), message(70.5)],
            "shop:mail\x06\x165": [message(1.0)],
        }
    )
    found = depths(connection, BROKER, [queue("mail"), queue("low")], {}, 100.0)
    assert found == {
        "mail": {"ready": 4, "unacked": 0, "oldest_age_s": 29.5},
        "low": {"ready": 0, "unacked": 0, "oldest_age_s": None},
    }
    assert connection.trips == 1


@pytest.mark.parametrize("odd", [message(), message("yesterday"), b"[" * 100_000, b"not json", b"[]", b'"text"'])
def test_a_message_that_does_not_tell_its_time_has_no_age(odd: bytes) -> None:
    found = depths(FakeConnection({"shop:mail": [odd]}), BROKER, [queue("mail")], {}, 100.0)
    assert found["mail"]["oldest_age_s"] is None


def test_a_clock_that_is_behind_the_producers_makes_no_negative_age() -> None:
    found = depths(FakeConnection({"shop:mail": [message(105.0)]}), BROKER, [queue("mail")], {}, 100.0)
    assert found["mail"]["oldest_age_s"] == 0.0


def test_unacknowledged_messages_count_for_the_queue_they_came_from() -> None:
    queues = [
        queue("mail"),
        queue("video", "media", "direct", "film"),
        queue("audit", "events", "topic", "order.#"),
        queue("orders", "events", "topic", "order.*"),
        queue("all", "news", "fanout", ""),
    ]
    connection = FakeConnection(
        {
            "shop:unacked:a": [taken("", "mail"), taken("mail", "mail"), taken("media", "film"), b"junk", b"[1]"],
            "shop:unacked:b": [taken("events", "order.created"), taken("events", "order.created")],
            "shop:unacked:c": [taken("events", "order.created"), taken("news", "x"), taken("", "elsewhere")],
        }
    )
    reading = {"unacked:a": ["mail", "video"], "unacked:b": ["orders"], "unacked:c": []}
    found = depths(connection, BROKER, queues, reading, 100.0)
    assert {name: depth["unacked"] for name, depth in found.items()} == {
        "mail": 2,
        "video": 1,
        "audit": 1,
        "orders": 2,
        "all": 1,
    }


@pytest.mark.parametrize(
    ("binding", "key", "owner"),
    [
        ("order.#", "order", "other"),  # which RabbitMQ would copy to both
        ("order.#", "order.created.eu", "q"),
        ("order.*", "order", "other"),
        ("order.*", "order.created.eu", "other"),
        ("#", "anything.at.all", "q"),
        ("*.created", "order.created", "q"),
        ("order.created", "order.createdx", "other"),
    ],
)
def test_an_unacknowledged_message_is_of_the_queue_that_kombu_has_put_it_in(binding: str, key: str, owner: str) -> None:
    queues = [queue("q", "events", "topic", binding), queue("other", "events", "topic", key)]
    found = depths(FakeConnection({"shop:k": [taken("events", key)]}), BROKER, queues, {"k": []}, 0.0)
    assert {name for name, depth in found.items() if depth["unacked"]} == {owner}


def test_a_key_of_another_type_is_an_error_and_not_an_empty_queue() -> None:
    connection = FakeConnection({"shop:mail": ReplyError("WRONGTYPE Operation against a key")})
    with pytest.raises(BrokerError, match="it says: WRONGTYPE"):
        depths(connection, BROKER, [queue("mail")], {}, 0.0)


def test_the_first_step_is_the_plain_name() -> None:
    assert lists(BROKER, "mail") == ["mail", "mail\x06\x161", "mail\x06\x169"]


def test_what_kombu_has_really_written_is_counted() -> None:
    kombu: Any = importlib.import_module("kombu")
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=1"
        options = {"priority_steps": list(range(10)), "sep": "\x06\x16", "global_keyprefix": "shop:"}
        options |= {"queue_order_strategy": "priority", "unacked_key": "unacked:web-1"}
        mail = kombu.Queue("mail", kombu.Exchange("events", "topic"), routing_key="mail.*")
        with kombu.Connection(url, transport_options=options) as broker:
            producer = broker.Producer(serializer="json")
            for number in range(6):
                headers = {"fleet_sent_at": 100.0 + number}
                producer.publish(
                    {}, exchange=mail.exchange, routing_key="mail.in", declare=[mail], priority=number, headers=headers
                )
            taken = mail(broker.default_channel).get()
            assert taken.headers == {"fleet_sent_at": 100.0}
            backlog = Backlog(
                url,
                steps=tuple(range(10)),
                sep="\x06\x16",
                key_prefix="shop:",
                unacked={"unacked:web-1": ("mail",)},
                queues=(queue("mail", "events", "topic", "mail.*"),),
            )
            assert measure(backlog, 110.0) == {"mail": {"ready": 5, "unacked": 1, "oldest_age_s": 9.0}}
            taken.ack()
            assert measure(backlog, 110.0)["mail"]["unacked"] == 0


def test_what_a_topic_exchange_gave_to_one_of_two_queues_is_unacknowledged_there() -> None:
    """Guards against RabbitMQ's rule, by which `order.#` takes `order`, too; on Redis kombu gives it to `b` alone."""
    kombu: Any = importlib.import_module("kombu")
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=1"
        events = kombu.Exchange("events", "topic")
        queues = [kombu.Queue("a", events, routing_key="order.#"), kombu.Queue("b", events, routing_key="order")]
        with kombu.Connection(url, transport_options={"unacked_key": "unacked:web-1"}) as broker:
            broker.Producer().publish({}, exchange=events, routing_key="order", declare=queues)
            taken = queues[1](broker.default_channel).get()
            backlog = Backlog(
                url,
                steps=(0,),
                sep="\x06\x16",
                unacked={"unacked:web-1": ("a", "b")},
                queues=(queue("a", "events", "topic", "order.#"), queue("b", "events", "topic", "order")),
            )
            assert {name: depth["unacked"] for name, depth in measure(backlog, 0.0).items()} == {"a": 0, "b": 1}
            taken.ack()  # else kombu puts it back while it closes, over a connection that it leaves open
