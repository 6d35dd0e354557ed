"""What a valid fleet's author should hear."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.plan.build import build
from celeryfleet.plan.lint import lint
from tests.plan.fleets import FACTS, fleet_of, fleet_text


def codes(tasks: list[str] | None = None, cpus: int | None = None, **keys: Any) -> list[str]:
    fleet = fleet_of(fleet_text(**keys))
    return [finding.code for finding in lint(fleet, build(fleet, FACTS), tasks, cpus)]


def pool(**keys: Any) -> dict[str, Any]:
    return {"web": {"queues": ["video", "default"], **keys}}


EVENTS = {"default": {}, "video": {}, "events": {"exchange": {"name": "events", "type": "topic"}, "routing_key": "a.#"}}
ALL = {"web": {"queues": ["video", "default", "events"]}}


def test_a_sound_fleet_has_no_findings() -> None:
    assert codes(["shop.a"], 4, routes=[{"task": "shop.*", "queue": "video"}]) == []


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"pools": {"web": {"queues": ["default"]}}}, "queue-unread"),
        (
            {"queues": {"default": {}, "video": {"exchange": {"name": "v", "type": "headers"}}}},
            "headers-on-redis",
        ),
        ({"queues": {"default": {}, "video": {"exchange": {"name": "v", "type": "fanout"}}}}, "fanout-on-redis"),
        (
            {"broker": "amqp://h", "queues": {"default": {}, "video": {"type": "quorum", "max_priority": 9}}},
            "quorum-priority",
        ),
        ({"broker": "amqp://h", "routes": [{"task": "a", "queue": "video", "priority": 5}]}, "priority-ignored"),
        (
            {
                "queues": EVENTS,
                "pools": ALL,
                "routes": [{"task": "a", "exchange": "events", "routing_key": "b.c"}],
            },
            "route-lost",
        ),
        ({"routes": [{"task": "a*", "queue": "video"}, {"task": "ab", "queue": "default"}]}, "route-shadowed"),
        ({"routes": [{"task": "*", "queue": "video"}, {"regex": "b", "queue": "default"}]}, "route-shadowed"),
        ({"pools": pool(pool="threads", time_limit="10s")}, "limit-ignored"),
        ({"pools": pool(pool="gevent", soft_time_limit="10s")}, "limit-ignored"),
        ({"pools": pool(pool="solo", max_tasks_per_child=5)}, "limit-ignored"),
        (
            {
                "celery": {"task_acks_late": True},
                "pools": pool(time_limit="2h", stop_grace_period="3h"),
            },
            "visibility-short",
        ),
        ({"pools": pool(time_limit="20m")}, "grace-short"),
        ({"pools": pool(prefetch_multiplier=4)}, "prefetch-greedy"),
    ],
)
def test_each_rule_finds_what_it_is_for(keys: Any, code: str) -> None:
    assert codes(**keys) == [code]


@pytest.mark.parametrize(
    "keys",
    [
        {"pools": {"web": {"queues": ["default"]}, "full": {"queues": ["video"], "profiles": ["full"]}}},
        {"queues": EVENTS, "pools": ALL, "routes": [{"task": "a", "exchange": "events", "routing_key": "a.b"}]},
        {"routes": [{"task": "ab", "queue": "video"}, {"task": "a*", "queue": "default"}]},
        {"pools": pool(pool="gevent", time_limit="10s")},
        {
            "broker": {"url": "embedded", "visibility_timeout": "3h"},
            "celery": {"task_acks_late": True},
            "pools": pool(time_limit="2h", stop_grace_period="3h"),
        },
        {"broker": "amqp://h", "pools": pool(prefetch_multiplier=4)},
    ],
)
def test_no_rule_finds_what_is_right(keys: Any) -> None:
    assert codes(**keys) == []


def test_a_route_that_matches_no_registered_task_is_found_once_they_are_known() -> None:
    routes = [{"task": "shop.a*", "queue": "video"}, {"router": "shop.routing.R"}]
    assert codes(None, routes=routes) == []
    assert codes(["shop.b"], routes=routes) == ["route-unused"]


def test_processes_are_counted_over_all_prefork_pools() -> None:
    pools = {**pool(replicas=2, concurrency=2), "threads": {"queues": ["video"], "pool": "threads", "concurrency": 99}}
    assert codes(None, 3, pools=pools) == ["processes-over-cores"]
    assert codes(None, 4, pools=pools) == []


def test_a_finding_says_where_what_and_what_to_do() -> None:
    text = "name: shop\nqueues:\n  default:\n  video:\ndefault_queue: default\npools:\n  web: {queues: [default]}\n"
    fleet = fleet_of(text)
    assert [str(finding) for finding in lint(fleet, build(fleet, FACTS), None)] == [
        (
            f'{fleet.where("queues", "video")}: warning: no pool reads the queue "video": its tasks wait for ever. '
            "Add it to the `queues` of a pool, or remove it. [queue-unread]"
        )
    ]
    assert fleet.where("queues", "video").endswith("fleet.yaml:4:3")
