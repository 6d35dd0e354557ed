"""Pool → what its workers are started with, held against the real worker and command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from celeryfleet.plan.build import build
from celeryfleet.plan.values import AutoscalePolicy, Health, PoolPlan, RestartPolicy
from celeryfleet.supervise.decide.target import Target
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text, plan_of

EVERYTHING: dict[str, Any] = {
    "queues": ["video", "default"],
    "replicas": 2,
    "concurrency": 3,
    "prefetch_multiplier": 2,
    "max_tasks_per_child": 1000,
    "max_memory_per_child": "400MB",
    "time_limit": "20m",
    "soft_time_limit": "19.5s",
    "events": True,
}


def pool_of(broker: str = "embedded", top: dict[str, Any] | None = None, **keys: Any) -> PoolPlan:
    pools = {"web": {"queues": ["video", "default"], **keys}}
    return plan_of(fleet_text(broker=broker, pools=pools, **(top or {}))).pools[0]


def test_a_pool_with_everything() -> None:
    pool = pool_of(**EVERYTHING)
    assert pool.options == {
        "hostname": "{name}@shop.host",
        "queues": ["video", "default"],
        "loglevel": "INFO",
        "quiet": True,
        "without_mingle": True,
        "without_gossip": True,
    }
    assert pool.conf == {
        "worker_concurrency": 3,
        "worker_prefetch_multiplier": 2,
        "worker_max_tasks_per_child": 1000,
        "worker_max_memory_per_child": 390625,
        "task_time_limit": 1200,
        "task_soft_time_limit": 19.5,
        "worker_send_task_events": True,
        "broker_transport_options": {
            "priority_steps": list(range(10)),
            "sep": "\x06\x16",
            "queue_order_strategy": "priority",
            "unacked_key": "unacked:{node}",
            "unacked_index_key": "unacked_index:{node}",
            "unacked_mutex_key": "unacked_mutex:{node}",
        },
    }
    assert " ".join(pool.argv) == (
        "celery -A shop.celery:app worker -Q video,default -n {node} -l INFO -c 3 -P prefork --prefetch-multiplier 2 "
        "--max-tasks-per-child 1000 --max-memory-per-child 390625 --time-limit 1200 --soft-time-limit 19.5 -E "
        "--without-mingle --without-gossip"
    )


def test_each_worker_has_a_node_and_unacked_keys_of_its_own() -> None:
    plan = plan_of(fleet_text())
    worker = plan.worker(plan.pools[0], 2)
    assert (worker.name, worker.node) == ("web-2", "web-2@shop.host")
    assert worker.options["hostname"] == "web-2@shop.host"
    assert worker.conf["broker_transport_options"]["unacked_key"] == "unacked:web-2@shop.host"
    assert "web-2@shop.host" in worker.argv


def test_workers_start_lean_unless_events_are_wanted() -> None:
    lean, watched = pool_of(), pool_of(events=True)
    assert [key for key in lean.options if key.startswith("without_")] == [
        "without_mingle",
        "without_gossip",
        "without_heartbeat",
    ]
    assert "without_heartbeat" not in watched.options
    assert lean.argv[-3:] == ("--without-mingle", "--without-gossip", "--without-heartbeat")
    assert "-E" in watched.argv
    assert "worker_send_task_events" not in lean.conf


@pytest.mark.parametrize(("order", "strategy"), [("strict", "priority"), ("round_robin", "round_robin")])
def test_the_order_of_the_queues_is_told_to_redis(order: str, strategy: str) -> None:
    assert pool_of(order=order).conf["broker_transport_options"]["queue_order_strategy"] == strategy


def test_rabbitmq_gets_no_transport_options() -> None:
    assert "broker_transport_options" not in pool_of(broker="amqp://host").conf


@pytest.mark.parametrize(
    ("keys", "multiplier"),
    [
        ({}, 1),
        ({"queues": ["default"]}, None),
        ({"order": "round_robin"}, None),
        ({"order": "round_robin", "top": {"routes": [{"task": "a", "queue": "video", "priority": 9}]}}, 1),
        ({"prefetch_multiplier": 4}, 4),
        ({"broker": "amqp://host"}, None),
    ],
)
def test_nothing_is_taken_ahead_where_the_order_matters(keys: Any, multiplier: int | None) -> None:
    assert pool_of(**keys).settled({}).conf.get("worker_prefetch_multiplier") == multiplier


def test_what_the_app_says_goes_before_our_defaults_and_after_what_is_written() -> None:
    app = {"worker_pool": "threads", "worker_concurrency": 24, "worker_prefetch_multiplier": 8}
    silent, outspoken = pool_of().settled(app), pool_of(concurrency=2, prefetch_multiplier=3).settled(app)
    assert (silent.implementation, silent.concurrency) == ("threads", 24)
    assert silent.conf["worker_prefetch_multiplier"] == 8
    assert (outspoken.implementation, outspoken.concurrency) == ("threads", 2)
    assert outspoken.conf["worker_prefetch_multiplier"] == 3
    shared = pool_of(top={"celery": {"worker_prefetch_multiplier": 5}})
    assert (
        "worker_prefetch_multiplier" not in shared.settled({}).conf
    )  # the fleet's is read where the pool says nothing


@pytest.mark.parametrize(("top", "own", "sends"), [(True, None, True), (True, False, False), (None, None, None)])
def test_events_are_for_the_whole_fleet_or_for_a_pool(top: bool | None, own: bool | None, sends: bool | None) -> None:
    given: dict[str, Any] = {} if own is None else {"events": own}
    pool = pool_of(top={} if top is None else {"events": top}, **given)
    assert pool.conf.get("worker_send_task_events") is sends
    assert ("without_heartbeat" in pool.options) is (not sends)


def test_auto_is_the_number_of_processors() -> None:
    pool = pool_of(concurrency="auto")
    assert (pool.concurrency, pool.conf["worker_concurrency"]) == (4, 4)


def test_the_pools_own_settings_win_and_show_in_its_command() -> None:
    own = {"worker_prefetch_multiplier": 7, "broker_transport_options": {"queue_order_strategy": "sorted"}}
    pool = pool_of(celery=own)
    assert pool.conf["broker_transport_options"]["queue_order_strategy"] == "sorted"
    assert pool.conf["broker_transport_options"]["sep"] == "\x06\x16"
    assert pool.argv[pool.argv.index("--prefetch-multiplier") + 1] == "7"


def test_policies_are_carried_over() -> None:
    pool = pool_of(
        stop_grace_period="5s",
        restart={"backoff": "2s", "max_backoff": "8s", "max_restarts": 3, "window": "1m"},
        healthcheck={"heartbeat_within": "7s", "consuming_within": "9s"},
        autoscale={"min": 2, "max": 6, "target_length": 20, "target_age": "30s", "cooldown": "40s"},
    )
    assert pool.grace == 5.0
    assert pool.restart == RestartPolicy(2.0, 8.0, 3, 60.0)
    assert pool.health == Health(7.0, 9.0)
    assert pool.autoscale == AutoscalePolicy(2, 6, 20, 30.0, 40.0)
    assert pool.replicas == 2


class TestForking:
    @pytest.mark.parametrize(
        ("preload", "keys", "fork", "reason"),
        [
            ("auto", {}, True, ""),
            ("true", {}, True, ""),
            ("false", {}, False, ""),
            ("auto", {"pool": "threads"}, True, ""),
            ("auto", {"pool": "gevent"}, False, "gevent patches Python, which must come before the import"),
            ("true", {"pool": "eventlet"}, False, "eventlet patches Python, which must come before the import"),
            (
                "auto",
                {"env": {"B": "1", "A": "2"}},
                False,
                "the pool sets env (A, B), which must be there before the import",
            ),
            ("true", {"env": {"A": "1"}}, True, ""),
        ],
    )
    def test_a_pool_forks_unless_the_import_must_be_its_own(
        self, preload: str, keys: Any, fork: bool, reason: str
    ) -> None:
        pool = pool_of(top={"preload": preload}, **keys)
        assert (pool.fork, pool.exec_reason) == (fork, reason)

    def test_only_linux_forks(self) -> None:
        plan = build(fleet_of(fleet_text()), replace(FACTS, can_fork=False))
        assert plan.pools[0].fork is False
        assert plan.pools[0].exec_reason == "workers are forked from a preloaded app on Linux only"


@pytest.mark.parametrize(
    ("logs", "own", "level"),
    [({}, {}, "INFO"), ({"level": "warning"}, {}, "WARNING"), ({"level": "warning"}, {"log_level": "debug"}, "DEBUG")],
)
def test_the_level_of_a_pools_log_is_its_own_or_the_fleets(
    logs: dict[str, str], own: dict[str, str], level: str
) -> None:
    pool = pool_of(top={"logs": logs}, **own)
    assert pool.options["loglevel"] == level
    assert pool.argv[pool.argv.index("-l") + 1] == level


def test_beat_logs_at_the_fleets_level() -> None:
    schedule = {"schedule": {"often": {"task": "shop.add", "every": "10s"}}}
    plan = plan_of(fleet_text(logs={"level": "error"}, beat=schedule))
    assert plan.beat
    assert plan.beat.argv[4:6] == ("-l", "ERROR")
    assert Target.of(plan).specs["beat-1"].options["loglevel"] == "ERROR"


def test_a_beat_says_its_app_only_what_fleet_yaml_says() -> None:
    bare, named = plan_of(fleet_text(beat=True)), plan_of(fleet_text(beat={"scheduler": "a.b:C", "max_interval": "5s"}))
    assert bare.beat
    assert named.beat
    assert Target.of(bare).specs["beat-1"].conf == {"worker_pool": "beat", "worker_concurrency": 1}
    assert named.beat.conf == {"beat_scheduler": "a.b:C", "beat_max_loop_interval": 5.0}
    assert named.beat.argv[-4:] == ("-S", "a.b:C", "--max-interval", "5")
    assert plan_of(fleet_text(beat=False)).beat is None


def test_beat_stays_as_it_is_when_the_last_pool_is_stopped() -> None:
    plan = plan_of(fleet_text(beat=True))
    (spec,) = Target.of(plan.without(["web"])).specs.values()
    assert spec == Target.of(plan).specs["beat-1"]
