"""What a plan has for RabbitMQ alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeryfleet.app import celery_objects
from celeryfleet.plan.config import as_python
from celeryfleet.plan.values import Plan
from celeryfleet.render.plan import plan_text
from celeryfleet.routing.queue import Queue
from tests.unit.plan.fleets import fleet_text, plan_of

AMQP = "amqp://guest:guest@broker//"


def _plan(**keys: Any) -> Plan:
    names = list(keys.get("queues", {"default": None}))
    return plan_of(fleet_text(**{"queues": {"default": None}, "pools": {"web": {"queues": names}}, **keys}))


def _queue(name: str, **fleet: Any) -> Queue:
    return next(queue for queue in _plan(broker=AMQP, **fleet).queues if queue.name == name)


def test_publishes_are_confirmed_unless_the_user_says_otherwise() -> None:
    assert _plan(broker=AMQP).settings["broker_transport_options"] == {"confirm_publish": True}
    own = {"broker_transport_options": {"confirm_publish": False}}
    assert _plan(broker=AMQP, celery=own).settings["broker_transport_options"] == {"confirm_publish": False}
    assert "confirm_publish" not in _plan(broker="redis://h").settings["broker_transport_options"]


@pytest.mark.parametrize(
    ("broker", "celery", "mandatory"),
    [
        (AMQP, {}, True),
        # Unconfirmed, the answer comes too late, and would be raised by the next publish.
        (AMQP, {"broker_transport_options": {"confirm_publish": False}}, False),
        ("redis://h", {}, False),
    ],
)
def test_what_a_route_sends_to_an_exchange_must_reach_a_queue(
    broker: str, celery: dict[str, Any], mandatory: bool
) -> None:
    queues = {"default": None, "events": {"exchange": {"name": "events", "type": "topic"}, "routing_key": "order.#"}}
    routes = [{"task": "a", "exchange": "events", "routing_key": "order.x"}, {"task": "b", "queue": "default"}]
    settings = _plan(broker=broker, celery=celery, queues=queues, routes=routes).settings
    given = [item["options"].get("mandatory", False) for item in settings["task_routes"]]
    assert given[:2] == [mandatory, False]


def test_the_arguments_of_a_queue_are_those_of_rabbitmq() -> None:
    queues = {"default": {"max_priority": 10, "max_length": 5, "type": "quorum", "arguments": {"x-expires": 60000}}}
    assert _queue("default", queues=queues).arguments == {
        "x-queue-type": "quorum",
        "x-max-priority": 10,
        "x-max-length": 5,
        "x-expires": 60000,
    }


@pytest.mark.parametrize("quorum", [{"type": "quorum"}, {"arguments": {"x-queue-type": "quorum"}}])
def test_a_quorum_queue_gives_all_queues_exchanges_by_which_the_broker_can_delay(quorum: dict[str, Any]) -> None:
    queues = {"default": quorum, "bulk.mail": None, "own": {"exchange": {"name": "own", "type": "fanout"}}}
    plan = _plan(broker=AMQP, queues=queues)
    shown = [(queue.exchange, queue.exchange_type, queue.routing_key) for queue in plan.queues]
    # Not "bulk.mail": Celery finds delayed messages by the end of their key, where "mail" would match, too.
    assert shown == [
        ("default.topic", "topic", "default"),
        ("bulk.mail.topic", "topic", "bulk:mail"),
        ("own", "fanout", "own"),
    ]
    assert plan.settings["task_default_exchange"] == "default.topic"
    assert plan.settings["task_default_exchange_type"] == "topic"


@pytest.mark.parametrize(("broker", "kind"), [(AMQP, None), ("redis://h", "quorum")])
def test_without_a_quorum_queue_on_rabbitmq_exchanges_are_direct(broker: str, kind: str | None) -> None:
    queues = {"default": {"type": kind} if kind else None}
    queue = _plan(broker=broker, queues=queues).queues[0]
    assert (queue.exchange, queue.exchange_type, queue.routing_key) == ("default", "direct", "default")


@pytest.mark.parametrize(
    ("queue", "pool", "prefetch"),
    [
        ({"max_priority": 10}, {}, 1),
        ({"arguments": {"x-max-priority": 10}}, {}, 1),
        ({"max_priority": 10}, {"prefetch_multiplier": 8}, 8),
        (None, {}, None),
    ],
)
def test_nothing_is_taken_ahead_of_a_queue_with_priorities(
    queue: dict[str, Any] | None, pool: dict[str, Any], prefetch: int | None
) -> None:
    plan = _plan(broker=AMQP, queues={"default": queue}, pools={"web": {"queues": ["default"], **pool}})
    assert plan.pools[0].settled({}).conf.get("worker_prefetch_multiplier") == prefetch


# --- Headers ----------------------------------------------------------------------------------------------

_DOCS = {"exchange": {"name": "docs", "type": "headers"}}
_PDF = {"kind": "pdf", "pages": 3, "big": True}


def _docs(headers: dict[str, Any], routes: list[dict[str, Any]] | None = None) -> Plan:
    return _plan(broker=AMQP, queues={"default": None, "pdf": {**_DOCS, "headers": headers}}, routes=routes or [])


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        (_PDF, {"x-match": "all", **_PDF}),
        ({"kind": "pdf", "x-match": "any"}, {"x-match": "any", "kind": "pdf"}),
        ({}, {}),
    ],
)
def test_what_a_queue_wants_of_headers_is_a_binding_of_celery_s(
    written: dict[str, Any], planned: dict[str, Any]
) -> None:
    plan = _docs(written)
    assert plan.queues[1].headers == planned
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    queue = celery_objects(plan.settings)["task_queues"][1]
    assert queue.binding_arguments == (planned or None)
    module: dict[str, Any] = {}
    exec(as_python(plan), module)
    assert module["task_queues"][1].binding_arguments == (planned or None)


def test_a_plan_says_what_a_queue_wants() -> None:
    assert '  pdf      headers exchange docs, key pdf, headers {"x-match": "all", "kind": "pdf"}\n' in plan_text(
        _docs({"kind": "pdf"})
    )


def test_a_worker_is_replaced_when_its_queue_wants_other_headers() -> None:
    def digest(headers: dict[str, Any]) -> str:
        plan = _docs(headers)
        return plan.worker(plan.pools[0], 1).digest

    assert digest({"kind": "pdf"}) == digest({"kind": "pdf", "x-match": "all"})
    assert digest({"kind": "pdf"}) != digest({"kind": "doc"})


def test_a_route_s_headers_are_options_of_celery_s() -> None:
    plan = _docs({"kind": "pdf"}, [{"task": "a", "exchange": "docs", "headers": _PDF}])
    assert plan.settings["task_routes"][0]["options"]["headers"] == _PDF
