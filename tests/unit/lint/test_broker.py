"""What is said of messages that come twice, and of lists that nobody reads."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import found, names, pool, said, tasks

LATE = {"task_acks_late": True}
LONG: dict[str, Any] = {"pools": pool(time_limit="2h", stop_grace_period="2h")}


def beat(**options: Any) -> dict[str, Any]:
    return {"schedule": {"nightly": {"task": "shop.a", "every": "1d", "options": options}}}


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


def test_on_redis_a_task_may_take_longer_than_the_visibility_timeout() -> None:
    impatient = {"url": "redis://h", "visibility_timeout": "1s"}
    assert names(broker=impatient, celery=LATE, beat=beat(countdown=7200), **LONG) == []


def test_retries_that_wait_for_longer_than_rabbitmq_does_are_said_at_once() -> None:
    app = tasks(runs={name: {"default_retry_delay": 7200} for name in "ab"}, a={}, b={})
    (what,) = said(app, broker="amqp://h")
    assert what.startswith('a retry of "shop.a" and "shop.b" waits 2h in a worker, but RabbitMQ by default closes')


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
