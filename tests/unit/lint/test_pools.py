"""What is said of pools, and of what a machine and a broker hold."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.lint import Machine, Server
from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import EVENTS, GB, PLAIN, found, names, pool, said, tasks

AMQP = "amqp://h"
THREADS = {"pool": "threads"}


@pytest.mark.parametrize(
    ("keys", "ignored"),
    [
        ({"pool": "threads", "time_limit": "10s"}, ["time_limit"]),
        ({"pool": "threads", "celery": {"task_time_limit": 10}}, ["task_time_limit"]),
        ({"pool": "gevent", "soft_time_limit": "10s"}, ["soft_time_limit"]),
        ({"pool": "gevent", "time_limit": "10s"}, []),
        ({"pool": "solo", "max_tasks_per_child": 5, "max_memory_per_child": "1GB"}, ["max_tasks_per_child", "max_mem"]),
        ({"pool": "prefork", "time_limit": "10s", "soft_time_limit": "9s", "max_tasks_per_child": 5}, []),
    ],
)
def test_limits_that_a_kind_of_pool_does_not_enforce_are_found(keys: Any, ignored: list[str]) -> None:
    whats = said(pools=pool(**keys))
    assert len(whats) == len(ignored)
    assert all(what.startswith(word) for what, word in zip(whats, ignored, strict=True))


def test_a_limit_for_all_is_said_to_do_nothing_at_the_pool_that_ignores_it() -> None:
    pools = {"web": {"queues": ["default"]}, "io": {"queues": ["video"], "pool": "threads"}}
    (finding,) = found(celery={"task_time_limit": 30}, pools=pools)
    assert finding.what == "task_time_limit does nothing in a threads pool."


def test_a_limit_in_code_is_found_where_the_pool_that_runs_the_task_ignores_it() -> None:
    pools = {"web": {"queues": ["default"]}, "io": {"queues": ["video"], "pool": "threads"}}
    app = tasks(a={"time_limit": 5}, b={"time_limit": 5, "queue": "video"})
    assert said(app, pools=pools) == ['the time_limit in the code of "shop.b" does nothing in a threads pool.']


def test_a_limit_in_code_is_judged_only_where_it_is_known_which_pool_runs_the_task() -> None:
    app = tasks(a={"time_limit": 5})
    pools = {"web": {"queues": ["default", "video"], "order": "round_robin"}, "io": {"queues": ["events"], **THREADS}}
    to_events = {"task": "shop.a", "exchange": "events", "routing_key": "a.b"}
    assert names(app, queues=EVENTS, pools=pools, routes=[to_events]) == ["limit-ignored"]
    assert names(app, queues=EVENTS, pools=pools, routes=[{**to_events, "routing_key": "a"}]) == ["route-lost"]
    assert names(app, queues=EVENTS, pools=pools, routes=[{"router": "shop.R"}, to_events]) == []
    assert names(app, queues=EVENTS, pools=pools) == []


def test_a_limit_that_a_task_has_from_the_app_s_settings_is_said_of_those() -> None:
    facts = {"time_limit": 60}  # Celery gives each task the limit for all
    app = AppFacts(tasks={"shop.a": facts, "shop.b": facts}, installs=True, settings={"task_time_limit": 60})
    for routes in ([], [{"router": "shop.R"}]):
        (what,) = said(app, pools=pool(pool="threads"), routes=routes)
        assert what == "task_time_limit of the app's settings does nothing in a threads pool."
    assert said(tasks(a=facts), celery={"task_time_limit": 60}, pools=pool(pool="threads")) == [
        "task_time_limit does nothing in a threads pool."
    ]


def test_a_router_does_not_hide_a_task_whose_own_code_names_its_queue() -> None:
    app = tasks(a={"time_limit": 5, "queue": "video"}, b={"time_limit": 5})
    assert said(app, pools=pool(pool="threads"), routes=[{"router": "shop.R"}]) == [
        'the time_limit in the code of "shop.a" does nothing in a threads pool.'
    ]


def test_celery_s_own_autoscaler_is_found_and_the_fleet_s_is_fine_with_threads() -> None:
    setting = {"worker_autoscaler": "celery.worker.autoscale:Autoscaler"}
    assert names(celery=setting) == ["autoscaler-ignored"]
    assert names(pools=pool(celery=setting)) == ["autoscaler-ignored"]
    assert names(pools=pool(pool="threads", autoscale={"max": 4, "target_length": 5})) == []


def test_a_stop_that_cuts_tasks_off_is_found() -> None:
    assert said(pools=pool(time_limit="20m")) == [
        "a stop waits 1m, but a task may run 20m: one that is cut off is lost."
    ]
    assert names(pools=pool(time_limit="20m", stop_grace_period="20m")) == []


@pytest.mark.parametrize(
    ("app", "fate"),
    [
        (
            AppFacts(installs=True, settings={"task_time_limit": 1200}),
            "a task may run 20m: one that is cut off is lost.",
        ),
        (
            AppFacts(installs=True, settings={"task_time_limit": 1200, "task_acks_late": True}),
            "a task may run 20m: one that is cut off starts anew.",
        ),
        (
            AppFacts({"shop.a": {}}, True, {"task_time_limit": 1200}, {"shop.a": {"acks_late": True}}),
            'a task may run 20m: one that is cut off is lost, but "shop.a", acknowledged late, starts anew.',
        ),
        (
            tasks({"a": {"acks_late": True}}, a={"time_limit": 90}, b={"time_limit": 120}, c={"time_limit": 50}),
            'by their own code tasks may run 2m: if cut off, "shop.b" is lost and "shop.a" starts anew.',
        ),
        (tasks(a={"time_limit": 50}), None),
    ],
)
def test_a_stop_that_cuts_tasks_off_is_judged_by_the_app_too(app: AppFacts, fate: str | None) -> None:
    assert said(app) == ([f"a stop waits 1m, but {fate}"] if fate else [])


def test_taking_ahead_is_found_where_it_spoils_an_order() -> None:
    assert names(pools=pool(prefetch_multiplier=4)) == ["prefetch-greedy"]
    assert names(pools={"web": {"queues": ["default"], "prefetch_multiplier": 4}, "v": {"queues": ["video"]}}) == []


# --- Order ------------------------------------------------------------------------------------------------


def two(first: list[str], second: list[str], **keys: Any) -> dict[str, Any]:
    return {"one": {"queues": first, **keys}, "two": {"queues": second, **keys}}


@pytest.mark.parametrize(
    ("pools", "starving"),
    [
        (two(["default"], ["default", "video"]), True),
        (two(["default", "video"], ["default", "video"]), True),
        (two(["default", "video"], ["video", "default"]), False),
        (two(["default", "video"], ["video"]), False),
        (two(["default"], ["default", "video"], order="round_robin"), False),
        ({"one": {"queues": ["default", "video"]}, "night": {"queues": ["video"], "profiles": ["night"]}}, False),
    ],
)
def test_a_queue_that_is_only_read_behind_others_is_found(pools: Any, starving: bool) -> None:
    assert names(pools=pools) == (["starvation"] if starving else [])
    assert "starvation" not in names(broker=AMQP, pools=pools)


def test_what_starves_behind_the_same_queues_is_said_at_once() -> None:
    queues: dict[str, Any] = {"default": {}, "a": {}, "b": {}}
    assert said(queues=queues, pools={"web": {"queues": ["default", "a", "b"]}}) == [
        'no pool reads "a" and "b" first: while "default" never runs dry, tasks do not run there at all.'
    ]


def test_an_order_that_rabbitmq_does_not_keep_is_a_warning_where_it_is_written() -> None:
    written = {"web": {"queues": ["video", "default"], "order": "strict"}}
    assert [(f.name, f.level) for f in found(broker=AMQP, pools=written)] == [("order-ignored", "warning")]
    default = {"web": {"queues": ["video", "default"]}, "b": {"queues": ["default", "video"]}}
    (finding,) = found(broker=AMQP, pools=default)
    assert (finding.name, finding.level) == ("order-ignored", "info")
    assert "(web, b)" in finding.what
    assert names(broker=AMQP, pools=pool()) == []


# --- What a machine holds ---------------------------------------------------------------------------------


def test_processes_are_counted_over_all_prefork_pools() -> None:
    pools = {**pool(replicas=2, concurrency=2), "threads": {"queues": ["video"], "pool": "threads", "concurrency": 99}}
    assert said(None, Machine(cpus=3), pools=pools) == ["4 task processes share 3 processors."]
    assert names(None, Machine(cpus=4), pools=pools) == []


@pytest.mark.parametrize(
    ("keys", "memory", "level"),
    [
        ({"replicas": 10, "concurrency": 9}, 2 * GB, "warning"),  # 60 MB and 100 processes of 20
        ({"replicas": 10, "concurrency": 9}, 3 * GB, None),
        ({"replicas": 10, "env": {"A": "1"}}, GB // 2, "warning"),  # 10 of 60 MB, which fork 10 of 20
        ({"replicas": 10, "pool": "threads", "concurrency": 90}, GB // 2, None),
        ({"concurrency": 4, "max_memory_per_child": "400MB"}, GB, "info"),
        ({"concurrency": 4, "max_memory_per_child": "200MB"}, GB, None),
    ],
)
def test_processes_that_the_memory_does_not_hold_are_found(keys: Any, memory: int, level: str | None) -> None:
    machine = Machine(cpus=100, memory=memory, process=60_000_000)
    assert [f.level for f in found(None, machine, pools=pool(**keys))] == ([level] if level else [])


def test_what_is_not_known_of_a_machine_is_not_judged() -> None:
    assert names(None, Machine(cpus=999), pools=pool(replicas=900)) == []


def test_a_pool_whose_module_is_missing_is_found() -> None:
    machine = Machine(cpus=9, absent=frozenset({"eventlet"}))
    assert names(None, machine, pools=pool(pool="eventlet")) == ["pool-not-installed"]
    assert names(None, machine, pools=pool(pool="gevent")) == []


# --- What a broker holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "keys", "level"),
    [
        (49, {}, "warning"),  # 10 workers of 4, and 10 tasks at once that store a result
        (50, {}, "info"),  # and up to 3 each, if they send tasks
        (70, {}, None),
        (49, {"results": "redis://elsewhere"}, "info"),
        (40, {"results": "none"}, "info"),
        (39, {"results": "none"}, "warning"),
        (None, {}, None),
    ],
)
def test_connections_over_the_broker_s_limit_are_found(most: int | None, keys: Any, level: str | None) -> None:
    keys = {"broker": "redis://h", "pools": pool(replicas=10), **keys}
    assert [f.level for f in found(None, None, Server(max_clients=most), **keys)] == ([level] if level else [])


def test_an_autoscaled_pool_counts_with_all_it_may_have() -> None:
    pools = pool(autoscale={"max": 10, "target_length": 5})
    assert said(None, None, Server(max_clients=49), broker="redis://h", pools=pools)[0].startswith("10 workers hold")


@pytest.mark.parametrize(
    ("server", "evicts"),
    [
        (Server(max_memory=GB, policy="allkeys-lru"), True),
        (Server(max_memory=GB, policy="volatile-lru"), False),
        (Server(max_memory=GB, policy="noeviction"), False),
        (Server(max_memory=0, policy="allkeys-lru"), False),
        (Server(), False),
    ],
)
def test_a_broker_that_throws_queues_away_is_found(server: Server, evicts: bool) -> None:
    assert names(PLAIN, None, server, broker="redis://h") == (["eviction"] if evicts else [])
