"""What is said of queues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plan.lint.cases import PLAIN, names, pool, said

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


def test_all_that_redis_ignores_of_a_queue_is_said_at_once() -> None:
    (what,) = said(queues=queue(max_length=5, type="quorum"), pools=pool())
    assert what == 'Redis ignores max_length and type: quorum of the queue "video".'
