"""What is said of queues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.lint.cases import PLAIN, found, names, pool, said
from tests.unit.plan.fleets import fleet_text

AMQP = "amqp://h"


def queue(**keys: Any) -> dict[str, Any]:
    return {"default": {}, "video": keys}


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"pools": {"web": {"queues": ["default"]}}}, "queue-unread"),
        ({"queues": queue(exchange={"name": "v", "type": "headers"})}, "headers-on-redis"),
        ({"queues": queue(exchange={"name": "v", "type": "fanout"})}, "fanout-on-redis"),
        ({"broker": AMQP, "queues": queue(type="quorum", max_priority=9)}, "quorum-priority"),
        (
            {"broker": AMQP, "queues": queue(type="quorum"), "celery": {"task_queue_max_priority": 9}},
            "quorum-priority",
        ),
        ({"queues": queue(max_length=5)}, "argument-ignored"),
        ({"queues": queue(arguments={"x-message-ttl": 5})}, "argument-ignored"),
        ({"queues": queue(type="quorum")}, "argument-ignored"),
        ({"broker": AMQP, "queues": queue(type="quorum", exchange={"name": "v"})}, "delay-in-worker"),
    ],
)
def test_a_queue_that_does_not_do_what_it_says_is_found(keys: Any, name: str) -> None:
    assert name in names(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"pools": {"web": {"queues": ["default"]}, "full": {"queues": ["video"], "profiles": ["full"]}}},
        {"pools": {}},
        {"queues": queue(max_priority=9, type="classic", arguments={"x-expires": 5000})},
        {"broker": AMQP, "queues": queue(max_length=5, exchange={"name": "v", "type": "headers"})},
        {"broker": AMQP, "queues": queue(type="quorum")},
        {"broker": AMQP, "queues": queue(type="classic", exchange={"name": "v"})},
        {"broker": AMQP, "queues": queue(type="classic", max_priority=9)},
    ],
)
def test_a_queue_that_does_what_it_says_is_not(keys: Any) -> None:
    assert names(PLAIN, **keys) == []


@pytest.mark.parametrize(("queue", "sep", "collides"), [("mail:b", ":", 1), ("mail:b", None, 0), ("mail-b", ":", 0)])
def test_a_name_that_looks_like_a_priority_list_is_found_on_redis(queue: str, sep: str | None, collides: bool) -> None:
    keys: dict[str, Any] = {
        "queues": {"default": {}, queue: {}},
        "pools": {"web": {"queues": ["default"]}, "other": {"queues": [queue]}},
        "celery": {"broker_transport_options": {"sep": sep}} if sep else {},
    }
    assert names(**keys) == (["queue-collision"] if collides else [])
    assert names(broker=AMQP, **keys) == []


# --- Dead letters -----------------------------------------------------------------------------------------


def dying(exchange: str, key: str = "", /, **keys: Any) -> dict[str, Any]:
    """Write a queue whose dead letters go to an exchange."""
    given = {"x-dead-letter-exchange": exchange} | ({"x-dead-letter-routing-key": key} if key else {})
    return {"arguments": given, **keys}


def letters(source: dict[str, Any], grave: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Write a fleet of a queue, and one for its dead letters that nobody reads."""
    queues = {"default": source, "dead": grave}
    return {"broker": AMQP, "queues": queues, "pools": {"web": {"queues": ["default"]}}, **keys}


def exchange(kind: str, name: str = "dead", /, **keys: Any) -> dict[str, Any]:
    return {"exchange": {"name": name, "type": kind}, **keys}


TOPIC = exchange("topic", "events", routing_key="order.#")


@pytest.mark.parametrize(
    ("source", "grave"),
    [
        (dying("dead"), exchange("fanout")),
        (dying("dead"), exchange("headers")),
        (dying("dead", "dead"), {}),
        (dying("", "dead"), {}),
        (dying("dead"), exchange("direct", routing_key="default")),
        (dying("dead"), exchange("topic", routing_key="#")),
        (dying("dead", **TOPIC), exchange("topic", routing_key="*.late")),  # a key such as order.late gets there
        (dying("dead", **TOPIC), exchange("direct", routing_key="order.late")),
        (dying("dead.topic", "dead", type="quorum"), {}),
    ],
)
def test_a_queue_for_dead_letters_may_be_read_by_nobody(source: Any, grave: Any) -> None:
    assert set(names(PLAIN, **letters(source, grave))) <= {"topic-without-key"}


@pytest.mark.parametrize(
    "keys",
    [
        {"routes": [{"task": "shop.a", "queue": "dead"}]},
        {"default_queue": "dead"},
        {"broker": "redis://h"},
    ],
)
def test_one_that_gets_tasks_or_on_redis_nothing_is_unread_all_the_same(keys: Any) -> None:
    assert "queue-unread" in names(PLAIN, **letters(dying("dead"), exchange("fanout"), **keys))


@pytest.mark.parametrize(
    ("source", "grave"),
    [
        (dying("dead"), {}),
        (dying("dead"), exchange("direct", routing_key="late")),
        (dying("dead"), exchange("topic", routing_key="order.#")),
        (dying("dead", "late"), {}),
        (dying("daed"), exchange("fanout")),
        (dying("", "daed"), {}),
        (dying("dead", **TOPIC), exchange("direct", routing_key="late")),
        (dying("dead", "dead", type="quorum"), {}),
    ],
)
def test_dead_letters_that_no_queue_takes_are_found_on_rabbitmq(source: Any, grave: Any) -> None:
    assert "dead-letters-lost" in names(**letters(source, grave))
    assert "dead-letters-lost" not in names(**letters(source, grave, broker="redis://h"))


def test_why_dead_letters_are_lost_and_what_to_do_is_said() -> None:
    def told(source: Any, grave: Any) -> str:
        (finding,) = [one for one in found(**letters(source, grave)) if one.name == "dead-letters-lost"]
        assert finding.column == fleet_text(**letters(source, grave)).index('"x-dead-letter-exchange"') + 1
        return f"{finding.what} {finding.hint}"

    assert told(dying("dead"), {}) == (
        'no queue of the exchange "dead" takes the dead letters of "default", whose routing key is default: RabbitMQ '
        "drops them. Add x-dead-letter-routing-key: dead, or have its exchange take all: exchange: {name: dead, type: "
        "fanout}"
    )
    assert told(dying("daed"), exchange("fanout")) == (
        'the dead letters of "default" go to the exchange "daed", which no queue of this file is bound to: RabbitMQ '
        'drops them. Did you mean "dead"?'
    )
    assert told(dying("", "daed"), {}) == (
        'the dead letters of "default" go to the queue "daed", which this file does not declare: RabbitMQ drops them. '
        'Did you mean "dead"?'
    )
    assert told(dying("dead", type="quorum"), {}).endswith(
        'The queue "dead" is bound to the exchange "dead.topic". Give it exchange: {name: dead, type: fanout}'
    )


@pytest.mark.parametrize(
    ("source", "returns"),
    [
        (dying(""), True),
        (dying("default"), True),
        (dying("events", **TOPIC), True),
        (dying("", "dead"), False),
        (dying("default", "late"), False),
    ],
)
def test_dead_letters_that_come_back_to_their_queue_are_found(source: Any, returns: bool) -> None:
    assert ("dead-letters-return" in names(**letters(source, {}))) is returns


def test_all_that_redis_ignores_of_a_queue_is_said_at_once() -> None:
    (what,) = said(queues=queue(max_length=5, type="quorum"), pools=pool())
    assert what == 'Redis ignores max_length and type: quorum of the queue "video".'
