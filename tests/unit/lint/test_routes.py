"""What is said of routes."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import ALL, EVENTS, PLAIN, found, names, pool, said, tasks

AMQP = "amqp://h"
ON_EVENTS: dict[str, Any] = {"queues": EVENTS, "pools": ALL}


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({**ON_EVENTS, "routes": [{"task": "a", "exchange": "events", "routing_key": "b.c"}]}, "route-lost"),
        ({"routes": [{"task": "a*", "queue": "video"}, {"task": "ab", "queue": "default"}]}, "route-shadowed"),
        ({"routes": [{"task": "*", "queue": "video"}, {"regex": "b", "queue": "default"}]}, "route-shadowed"),
        ({"routes": [{"task": "a.*", "queue": "video"}, {"task": "a.b.*", "queue": "default"}]}, "route-shadowed"),
        ({"routes": [{"regex": "a+", "queue": "video"}, {"regex": "a+", "queue": "default"}]}, "route-shadowed"),
        ({**ON_EVENTS, "routes": [{"task": "a", "exchange": "events"}]}, "topic-without-key"),
        ({**ON_EVENTS, "routes": [{"task": "a", "queue": "events"}]}, "topic-without-key"),
        ({**ON_EVENTS, "default_queue": "events"}, "topic-without-key"),
        ({"broker": AMQP, "routes": [{"task": "a", "queue": "video", "priority": 5}]}, "priority-ignored"),
        ({"broker": AMQP, "routes": [{"task": "a", "priority": 5}]}, "priority-ignored"),
    ],
)
def test_a_route_that_does_not_do_what_it_says_is_found(keys: Any, name: str) -> None:
    assert names(**keys) == [name]


@pytest.mark.parametrize(
    ("headers", "wanted", "lost"),
    [
        ({"kind": "doc"}, {"kind": "pdf"}, "with the headers kind=doc: sending it fails (NO_ROUTE)."),
        ({"pages": "3"}, {"pages": 3}, 'with the headers pages="3": sending it fails (NO_ROUTE).'),
        ({"kind": "doc"}, {"x-match": "any", "kind": "pdf", "task": "a"}, ""),
        ({"kind": "pdf"}, {"kind": "pdf", "lang": "py"}, ""),
        (None, {"kind": "pdf"}, ""),  # a call says them
    ],
)
def test_a_route_whose_headers_no_queue_wants_is_found(headers: Any, wanted: Any, lost: str) -> None:
    queues = {"default": {}, "video": {"exchange": {"name": "docs", "type": "headers"}, "headers": wanted}}
    route = {"task": "a", "exchange": "docs", **({"headers": headers} if headers else {})}
    found = said(PLAIN, broker=AMQP, queues=queues, routes=[route, {"task": "shop.*", "queue": "default"}])
    assert [what for what in found if "no queue gets" in what] == (
        [f'no queue gets what this route sends to the exchange "docs" {lost}'] if lost else []
    )


@pytest.mark.parametrize(
    ("broker", "celery", "fate"),
    [
        ("redis://h", {}, "it is lost."),
        (AMQP, {}, "sending it fails (NO_ROUTE)."),
        (AMQP, {"broker_transport_options": {"confirm_publish": False}}, "it is lost."),
    ],
)
def test_what_becomes_of_a_message_that_no_queue_takes_depends_on_the_broker(
    broker: str, celery: Any, fate: str
) -> None:
    routes = [{"task": "a", "exchange": "events", "routing_key": "b.c"}]
    (what,) = said(broker=broker, celery=celery, routes=routes, **ON_EVENTS)
    assert what.endswith(fate)


@pytest.mark.parametrize(
    "keys",
    [
        {**ON_EVENTS, "routes": [{"task": "a", "exchange": "events", "routing_key": "a.b"}]},
        {"routes": [{"task": "ab", "queue": "video"}, {"task": "a*", "queue": "default"}]},
        {"routes": [{"task": "a.b.*", "queue": "video"}, {"task": "a.*", "queue": "default"}]},
        {"routes": [{"task": "*.a", "queue": "video"}, {"task": "a.*", "queue": "default"}]},
        {"routes": [{"task": "[ab]*", "queue": "video"}, {"task": "a*", "queue": "default"}]},
        {"routes": [{"router": "shop.R"}, {"task": "a", "queue": "default"}]},
        {
            "queues": {"default": {}, "video": {"exchange": {"name": "all", "type": "topic"}, "routing_key": "#"}},
            "routes": [{"task": "a", "queue": "video"}],
        },
        {"broker": AMQP, "queues": {"default": {}, "video": {"arguments": {"x-max-priority": 5}}}, "pools": pool(),
         "routes": [{"task": "a", "queue": "video", "priority": 5}]},
        {"broker": AMQP, "celery": {"task_queue_max_priority": 5}, "pools": pool(),
         "routes": [{"task": "a", "queue": "video", "priority": 5}]},
        {"routes": [{"task": "a", "queue": "video", "priority": 5}]},
        {"broker": AMQP, **ON_EVENTS,
         "routes": [{"task": "a", "exchange": "events", "routing_key": "a.b", "priority": 5}]},
    ],
)  # fmt: skip
def test_a_route_that_does_what_it_says_is_not(keys: Any) -> None:
    assert names(**keys) == []


def test_a_route_that_matches_no_registered_task_is_found_once_they_are_known() -> None:
    routes = [{"task": "shop.a*", "queue": "video"}, {"router": "shop.routing.R"}]
    assert names(None, routes=routes) == []
    assert names(tasks(b={}), routes=routes) == ["route-unused"]
    assert names(tasks(ab={}), routes=routes) == []


def test_tasks_that_no_route_names_are_listed_briefly() -> None:
    app = tasks(named={}, **{f"t{number}": {} for number in range(9)})
    (what,) = said(app, routes=[{"task": "shop.named", "queue": "video"}])
    assert what == (
        'no route names "shop.t0", "shop.t1", "shop.t2", "shop.t3", "shop.t4", "shop.t5" and 3 more: '
        '9 tasks for the default queue, "default".'
    )


@pytest.mark.parametrize(
    "routes",
    [
        [],
        [{"task": "shop.*", "queue": "video"}],
        [{"task": "shop.a", "queue": "video"}, {"router": "shop.routing.R"}],
    ],
)
def test_tasks_are_not_said_to_be_without_a_route_where_that_is_not_so_or_not_known(routes: Any) -> None:
    assert names(tasks(a={}, b={}), routes=routes) == []


def test_a_task_with_a_queue_of_its_own_needs_no_route() -> None:
    routes = [{"task": "shop.a", "queue": "video"}]
    assert names(tasks(a={}, b={"queue": "video"}), routes=routes) == []


def test_a_queue_in_code_that_goes_before_the_route_is_found() -> None:
    routes = [{"task": "shop.*", "queue": "video"}]
    assert names(tasks(a={"queue": "default"}), routes=routes) == ["route-overridden"]
    assert names(tasks(a={"queue": "video"}), routes=routes) == []
    assert names(tasks(a={"queue": "default"}), routes=[{"router": "shop.R"}]) == []


def test_a_queue_in_code_that_is_not_declared_is_found() -> None:
    app = tasks(a={"queue": "ghost"})
    assert names(app) == ["own-queue-unknown"]
    assert names(app, routes=[{"task": "shop.a", "queue": "video"}]) == ["own-queue-unknown"], "and that is enough"
    assert names(app, celery={"task_create_missing_queues": True}) == ["missing-queues-made"]


def test_the_namespace_router_is_known_and_not_asked() -> None:
    routes = [{"router": "celeryfleet.routers.namespace"}]
    app = AppFacts(tasks={"video:encode": {}}, installs=True)
    assert names(app, routes=routes) == []
    assert names(tasks(a={}), routes=routes) == ["route-unused", "default-only"]


@pytest.mark.parametrize(
    ("queue", "keys", "said_of_it"),
    [
        ({"max_priority": 5}, {}, True),
        ({"arguments": {"x-max-priority": 5}}, {}, True),
        ({"max_priority": 9}, {}, False),
        ({}, {"celery": {"task_queue_max_priority": 5}}, True),
        ({"max_priority": 5}, {"broker": "redis://h"}, False),
    ],
)
def test_a_priority_above_the_queue_s_highest_is_a_note_on_rabbitmq(queue: Any, keys: Any, said_of_it: bool) -> None:
    whole = {"broker": "amqp://h", "queues": {"default": {}, "video": queue}, **keys}
    findings = found(**whole, routes=[{"task": "shop.a", "queue": "video", "priority": 9}])
    told = [(f.name, f.level, f.what) for f in findings if f.name == "priority-ignored"]
    what = 'RabbitMQ takes the priority 9 for 5, the highest of the queue "video".'
    assert told == ([("priority-ignored", "info", what)] if said_of_it else [])
