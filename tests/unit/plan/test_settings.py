"""Fleet → Celery's settings, in JSON's types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.plan.values import BrokerPlan
from celeryfleet.render.plan import plan_text
from tests.unit.plan.fleets import fleet_text, plan_of

SOCKET = "redis+socket:///srv/shop/.celeryfleet/shop/broker.sock?virtual_host=0"


def settings_of(**keys: Any) -> dict[str, Any]:
    return plan_of(fleet_text(**keys)).settings


def broker_of(**keys: Any) -> BrokerPlan:
    return plan_of(fleet_text(**keys)).broker


def test_the_settings_of_a_small_fleet() -> None:
    routes = [{"task": "shop.video.*", "queue": "video"}]
    assert json.dumps(settings_of(routes=routes), indent=1) == json.dumps(
        {
            "broker_url": SOCKET,
            "result_backend": SOCKET,
            "task_queues": [
                {
                    "name": "default",
                    "exchange": "default",
                    "exchange_type": "direct",
                    "routing_key": "default",
                    "arguments": {},
                },
                {
                    "name": "video",
                    "exchange": "video",
                    "exchange_type": "direct",
                    "routing_key": "video",
                    "arguments": {},
                },
            ],
            "task_default_queue": "default",
            "task_default_exchange": "default",
            "task_default_exchange_type": "direct",
            "task_default_routing_key": "default",
            "task_create_missing_queues": False,
            "task_routes": [{"glob": "shop.video.*", "options": {"queue": "video"}}],
            "broker_transport_options": {"priority_steps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "sep": "\x06\x16"},
            "broker_connection_retry_on_startup": True,
            "accept_content": ["json"],
            "task_serializer": "json",
            "result_serializer": "json",
            "result_extended": True,
        },
        indent=1,
    )


class TestQueues:
    def test_every_option_of_a_queue_is_declared(self) -> None:
        queue = {
            "exchange": {"name": "events", "type": "topic"},
            "routing_key": "order.#",
            "max_priority": 10,
            "max_length": 5000,
            "type": "quorum",
            "max_age": "30s",
            "arguments": {"x-dead-letter-exchange": "dead"},
        }
        plan = plan_of(fleet_text(queues={"default": {}, "events": queue}, pools={}))
        assert plan.settings["task_queues"][1] == {
            "name": "events",
            "exchange": "events",
            "exchange_type": "topic",
            "routing_key": "order.#",
            "arguments": {
                "x-queue-type": "quorum",
                "x-max-priority": 10,
                "x-max-length": 5000,
                "x-dead-letter-exchange": "dead",
            },
        }
        assert plan.queues[1].max_age == 30.0

    def test_the_default_queue_brings_its_own_exchange_and_key(self) -> None:
        queue = {"exchange": {"name": "jobs", "type": "topic"}, "routing_key": "any"}
        settings = settings_of(queues={"default": queue}, pools={})
        assert settings["task_default_exchange"] == "jobs"
        assert settings["task_default_exchange_type"] == "topic"
        assert settings["task_default_routing_key"] == "any"


class TestRoutes:
    @pytest.mark.parametrize(
        ("route", "item"),
        [
            ({"task": "shop.add"}, {"exact": "shop.add"}),
            ({"task": "shop.*"}, {"glob": "shop.*"}),
            ({"task": "shop.?[ab]*"}, {"glob": "shop.?[ab]*"}),
            ({"task": "shop.?"}, {"regex": "(?s:shop\\..)"}),
            ({"task": "shop.[ab]"}, {"regex": "(?s:shop\\.[ab])"}),
            ({"regex": "shop\\..+"}, {"regex": "shop\\..+"}),
        ],
    )
    def test_a_pattern_is_written_so_that_celery_takes_it_as_meant(self, route: Any, item: Any) -> None:
        found = settings_of(routes=[{**route, "queue": "video"}])["task_routes"]
        assert found == [{**item, "options": {"queue": "video"}}]

    def test_routes_keep_their_written_order(self) -> None:
        tasks = ["shop.*", "shop.add", "a?", "b"]
        found = settings_of(routes=[{"task": task, "queue": "video"} for task in tasks])["task_routes"]
        assert [next(iter(item)) for item in found] == ["glob", "exact", "regex", "exact"]

    def test_a_router_is_left_to_the_app(self) -> None:
        assert settings_of(routes=[{"router": "shop.routing.R"}])["task_routes"] == [{"router": "shop.routing.R"}]

    def test_an_exchange_is_named_with_its_type(self) -> None:
        queues = {"default": {}, "orders": {"exchange": {"name": "events", "type": "topic"}, "routing_key": "#"}}
        routes = [{"task": "a", "exchange": "events", "routing_key": "order.new"}]
        assert settings_of(queues=queues, routes=routes, pools={})["task_routes"][0]["options"] == {
            "exchange": "events",
            "exchange_type": "topic",
            "routing_key": "order.new",
        }

    @pytest.mark.parametrize(
        ("broker", "priorities"), [("redis://host", [0, 9, 9, 5, 9, 9]), ("amqp://host", [9, 0, None, 4, None])]
    )
    def test_a_priority_is_inverted_on_redis_and_never_missing_beside_others(
        self, broker: str, priorities: list[int | None]
    ) -> None:
        routes = [
            {"task": "a", "queue": "video", "priority": 9},
            {"task": "b", "queue": "video", "priority": 0},
            {"task": "c", "queue": "video"},
            {"task": "d", "priority": 4},
            {"task": "e", "queue": "default"},
        ]
        found = settings_of(broker=broker, routes=routes)["task_routes"]
        assert [item["options"].get("priority") for item in found] == priorities

    def test_what_no_route_matches_has_the_lowest_too(self) -> None:
        found = settings_of(queues={"default": {}, "video": {"max_priority": 9}})["task_routes"]
        assert found == [{"glob": "*", "options": {"queue": "default", "priority": 9}}]

    def test_a_router_gets_the_priority_of_answers_that_have_none(self) -> None:
        routes = [{"router": "shop.R"}, {"task": "a", "priority": 1}]
        assert settings_of(routes=routes)["task_routes"][0] == {"router": "shop.R", "priority": 9}

    def test_the_namespace_router_becomes_a_pattern_for_each_queue(self) -> None:
        queues: dict[str, Any] = {"default": {}, "a.b": {}, "in:out": {}}
        assert settings_of(queues=queues, routes=[{"router": "celeryfleet.routers.namespace"}], pools={})[
            "task_routes"
        ] == [
            {"regex": "(?s:default:.*)", "options": {"queue": "default"}},
            {"regex": r"(?s:a\.b:.*)", "options": {"queue": "a.b"}},
        ]

    def test_a_priority_of_beat_counts_as_one_of_the_fleet(self) -> None:
        beat = {"schedule": {"a": {"task": "a", "every": "1m", "options": {"priority": 0}}}}
        assert settings_of(beat=beat)["task_routes"] == [{"glob": "*", "options": {"queue": "default", "priority": 9}}]

    def test_a_fleet_without_priorities_sends_none(self) -> None:
        found = settings_of(routes=[{"task": "a", "queue": "video"}])["task_routes"]
        assert found == [{"exact": "a", "options": {"queue": "video"}}]


class TestBroker:
    def test_the_embedded_broker_is_an_append_only_server_of_the_fleets_own(self) -> None:
        broker = broker_of(broker={"server": "/opt/valkey-server"})
        assert broker.url == broker.shown == broker.results == SOCKET
        assert broker.argv[0] == "/opt/valkey-server"
        assert " ".join(broker.argv[1:]) == (
            "--port 0 --unixsocket /srv/shop/.celeryfleet/shop/broker.sock --unixsocketperm 600 "
            "--dir /srv/shop/.celeryfleet/shop/broker --save  --appendonly yes --appendfsync everysec "
            "--aof-use-rdb-preamble no --maxmemory-policy noeviction --daemonize no"
        )
        assert (broker.data, broker.socket) == (
            "/srv/shop/.celeryfleet/shop/broker",
            "/srv/shop/.celeryfleet/shop/broker.sock",
        )

    def test_somebody_elses_broker_is_not_run(self) -> None:
        broker = broker_of(broker="redis://:pw@host:6379/0")
        assert (broker.argv, broker.data, broker.socket) == ((), "", "")
        assert (broker.url, broker.shown) == ("redis://:pw@host:6379/0", "redis://:***@host:6379/0")

    def test_a_broker_from_a_variable_is_shown_as_that_variable(self) -> None:
        plan = plan_of(fleet_text(broker="${REDIS}"), {"REDIS": "redis://:pw@host"})
        assert (plan.broker.url, plan.broker.shown) == ("redis://:pw@host", "${REDIS}")
        assert "pw" not in plan_text(plan)

    @pytest.mark.parametrize(
        ("broker", "transport"),
        [
            ("embedded", "redis"),
            ("rediss://h", "redis"),
            ("redis+socket:///a/b", "redis"),
            ("sentinel://h", "redis"),
            ("amqps://h", "amqp"),
            ("pyamqp://h", "amqp"),
            ("sqs://", "other"),
        ],
    )
    def test_its_kind_is_told_by_the_scheme(self, broker: str, transport: str) -> None:
        assert broker_of(broker=broker).transport == transport

    def test_another_broker_gets_no_transport_options(self) -> None:
        assert "broker_transport_options" not in settings_of(broker="sqs://host")

    def test_the_visibility_timeout_is_a_transport_option(self) -> None:
        settings = settings_of(broker={"url": "redis://host", "visibility_timeout": "2h"})
        assert settings["broker_transport_options"]["visibility_timeout"] == 7200

    def test_what_the_user_sets_of_the_transport_is_known_to_the_broker_plan(self) -> None:
        options = {"priority_steps": [0, 5], "sep": ":", "global_keyprefix": "shop-"}
        broker = broker_of(broker="redis://host", celery={"broker_transport_options": options})
        assert (broker.steps, broker.sep, broker.key_prefix) == ((0, 5), ":", "shop-")


class TestResults:
    @pytest.mark.parametrize(
        ("broker", "results", "backend"),
        [
            ("redis://h/0", "embedded", "redis://h/0"),
            ("amqp://h", "embedded", "rpc://"),
            ("sqs://", "embedded", "disabled://"),
            ("redis://h/0", "none", "disabled://"),
            ("amqp://h", "redis://h/1", "redis://h/1"),
            ("redis://h", "django-db", "django-db"),
        ],
    )
    def test_the_broker_keeps_them_where_it_can(self, broker: str, results: str, backend: str) -> None:
        plan = plan_of(fleet_text(broker=broker, results=results))
        assert plan.settings["result_backend"] == backend
        assert plan.broker.results == ("" if backend == "disabled://" else backend)

    def test_none_beats_the_backend_that_the_app_has(self) -> None:
        app = Celery("fresh", set_as_current=False)
        app.config_from_object({"result_backend": "redis://elsewhere"})
        apply(app, settings_of(results="none"))
        assert type(app.backend).__name__ == "DisabledBackend"

    def test_sentinels_are_told_the_masters_name_for_results_too(self) -> None:
        options = {"master_name": "mymaster"}
        settings = settings_of(broker="sentinel://h:26379", celery={"broker_transport_options": options})
        assert settings["result_backend_transport_options"] == {"master_name": "mymaster"}


class TestUserSettings:
    def test_they_win_over_ours(self) -> None:
        settings = settings_of(celery={"task_create_missing_queues": True, "task_acks_late": True})
        assert settings["task_create_missing_queues"] is True
        assert settings["task_acks_late"] is True

    def test_transport_options_are_merged(self) -> None:
        settings = settings_of(celery={"broker_transport_options": {"sep": ":", "socket_timeout": 5}})
        assert settings["broker_transport_options"] == {
            "priority_steps": list(range(10)),
            "sep": ":",
            "socket_timeout": 5,
        }

    def test_a_broker_url_among_them_replaces_the_embedded_broker(self) -> None:
        plan = plan_of(fleet_text(celery={"broker_url": "redis://:pw@host"}))
        assert (plan.broker.url, plan.broker.argv) == ("redis://:pw@host", ())
        assert plan.broker.shown == "redis://:***@host"
