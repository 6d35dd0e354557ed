"""What is said of messages that come twice, and of lists that nobody reads."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import found, names, pool, said, tasks

LATE = {"task_acks_late": True}
LONG: dict[str, Any] = {"pools": pool(time_limit="2h", stop_grace_period="2h")}


def patient(timeout: str) -> dict[str, Any]:
    return {"broker": {"url": "redis://h", "visibility_timeout": timeout}}


def beat(**options: Any) -> dict[str, Any]:
    return {"schedule": {"nightly": {"task": "shop.a", "every": "1d", "options": options}}}


@pytest.mark.parametrize(
    ("keys", "level"),
    [
        ({**LONG, "celery": LATE}, "warning"),
        (LONG, "info"),
        ({**LONG, "celery": LATE, **patient("3h")}, None),
        ({"celery": LATE, "pools": pool(time_limit="50s")}, None),
        ({"celery": LATE, "pools": pool(time_limit="50s"), **patient("40s")}, "warning"),
        ({"pools": pool(pool="gevent", time_limit="2h", stop_grace_period="2h", celery=LATE)}, "warning"),
        ({"beat": beat(countdown=7200)}, "warning"),
        ({"beat": beat(countdown=60)}, None),
        ({**LONG, "celery": LATE, "broker": "sqs://h", "results": "none"}, None),
    ],
)
def test_a_visibility_timeout_shorter_than_a_task_or_a_countdown_is_found(keys: Any, level: str | None) -> None:
    assert [f.level for f in found(**keys) if f.name == "visibility-short"] == ([level] if level else [])


def test_how_often_a_delayed_task_will_run_is_said() -> None:
    (what,) = said(**patient("3s"), beat=beat(countdown=10))
    assert what == 'the task of "nightly" waits 10s in a worker, and is delivered again every 3s: it runs 4 times.'


def test_a_task_that_acknowledges_late_by_its_own_code_is_found() -> None:
    app = tasks(runs={"a": {"acks_late": True}}, a={}, b={})
    (finding,) = [f for f in found(app, **LONG) if f.level == "warning"]
    assert finding.what.startswith('"shop.a" is delivered a second time while it runs, if that takes longer than 1h')
    own = tasks(runs={"a": {"acks_late": True}}, a={"time_limit": 7200})
    patiently = pool(stop_grace_period="3h")
    assert names(own, pools=patiently) == ["visibility-short"]
    assert names(own, **patient("3h"), pools=patiently) == []


def test_a_retry_that_waits_longer_than_the_timeout_is_found() -> None:
    app = tasks(runs={"a": {"default_retry_delay": 7200}}, a={})
    assert said(app) == ['a retry of "shop.a" waits 2h in a worker, and is delivered again every 1h: it runs 2 times.']
    assert names(app, **patient("2h")) == []


def test_tasks_that_are_delivered_twice_for_the_same_reason_are_said_at_once() -> None:
    late = {f"t{n}": {"acks_late": True, "default_retry_delay": 7200} for n in range(10)}
    app = tasks(runs=late, **{f"t{n}": {"time_limit": 7200 + n} for n in range(10)})
    retries, delivered = said(app, pools=pool(stop_grace_period="3h"))
    assert delivered.startswith('"shop.t0", "shop.t1"')
    assert "and 4 more are delivered a second time while they run" in delivered
    assert delivered.endswith("they acknowledge late and may run 2h9s.")
    assert retries.startswith('a retry of "shop.t0", "shop.t1"')


def test_a_router_hides_neither_what_holds_for_all_nor_a_task_s_own_queue() -> None:
    routed: dict[str, Any] = {"routes": [{"router": "shop.R"}], "pools": pool(stop_grace_period="3h")}
    for_all = AppFacts(tasks={"shop.a": {}}, installs=True, settings={"task_acks_late": True, "task_time_limit": 7200})
    assert names(for_all, **routed) == ["visibility-short"]
    own = {"acks_late": True}
    assert names(tasks(runs={"a": own}, a={"time_limit": 7200}), **routed) == []
    assert names(tasks(runs={"a": own}, a={"time_limit": 7200, "queue": "video"}), **routed) == ["visibility-short"]


def test_a_visibility_timeout_of_the_app_s_own_counts() -> None:
    settings = {"task_acks_late": True, "broker_transport_options": {"visibility_timeout": 10800}}
    app = AppFacts(tasks={"shop.a": {}}, installs=True, settings=settings)
    assert names(app, **LONG) == []


@pytest.mark.parametrize(
    ("keys", "short"),
    [
        ({**LONG, "celery": LATE}, True),
        (LONG, True),
        ({"pools": pool(time_limit="29m", stop_grace_period="2h"), "celery": LATE}, False),
        ({"beat": beat(countdown=3600)}, True),
        ({**LONG, "queues": {name: {"arguments": {"x-consumer-timeout": 10**7}} for name in ("default", "video")}}, 0),
    ],
)
def test_what_rabbitmq_takes_back_after_half_an_hour_is_found(keys: Any, short: bool) -> None:
    assert names(broker="amqp://h", **keys) == (["consumer-timeout"] if short else [])


# --- Lists ------------------------------------------------------------------------------------------------


def options(**given: Any) -> dict[str, Any]:
    return {"broker_transport_options": given}


@pytest.mark.parametrize(
    "given", [{"priority_steps": [0, 5]}, {"sep": ":"}, {"global_keyprefix": "x:"}], ids=lambda given: next(iter(given))
)
def test_a_pool_that_looks_into_other_lists_than_the_fleet_writes_to_is_found(given: Any) -> None:
    assert names(pools=pool(celery=options(**given))) == ["lists-differ"]
    assert names(celery=options(**given)) == []


def test_a_pool_that_writes_to_lists_that_another_does_not_read_is_found() -> None:
    steps = list(range(12))
    pools = {"web": {"queues": ["default"]}, "more": {"queues": ["video"], "celery": options(priority_steps=steps)}}
    (finding,) = found(pools=pools)
    assert finding.what.startswith('the pool "web" never looks into some of the lists that the pool "more" puts')


def test_an_app_that_writes_elsewhere_without_the_fleet_is_found() -> None:
    settings = options(priority_steps=list(range(20)))
    assert "lists-differ" in names(AppFacts(settings=settings))
    assert names(AppFacts(settings=settings, installs=True)) == []
    assert "lists-differ" not in names(AppFacts(settings=options(priority_steps=[0, 3, 6, 9])))
    assert "lists-differ" not in names(AppFacts(settings=options(global_keyprefix="x:"))), "it reaches the pools too"
