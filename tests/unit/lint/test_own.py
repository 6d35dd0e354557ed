"""What is said of the app's own settings."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.lint import Machine
from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import GB, found, names, pool, said


def app(**settings: Any) -> AppFacts:
    return AppFacts(installs=True, settings=settings)


def test_what_fleet_yaml_says_otherwise_than_the_app_is_told_with_both_values_at_its_place() -> None:
    own = app(worker_pool="threads", worker_concurrency=24, task_acks_late=True, redis_password="hunter2")
    written = {"pools": pool(concurrency=2), "celery": {"task_acks_late": False, "redis_password": "other"}}
    told = [finding for finding in found(own, **written) if finding.name == "settings-overruled"]
    assert sorted(finding.what for finding in told) == [
        "redis_password: *** of the app is replaced by ***.",
        "task_acks_late: True of the app is replaced by False.",
        'worker_concurrency: 24 of the app is replaced by 2 in the pool "web".',
    ]
    assert len({finding.where for finding in told}) == 3


def test_what_is_the_same_or_not_written_is_not_told() -> None:
    own = app(worker_pool="threads", worker_concurrency=24, worker_prefetch_multiplier=8)
    assert "settings-overruled" not in names(own, pools=pool(concurrency=24, pool="threads"))


def test_other_rules_see_the_pool_as_the_app_makes_it() -> None:
    own = app(worker_pool="threads", worker_concurrency=24, worker_prefetch_multiplier=8)
    machine = Machine(cpus=1, memory=64 * GB)
    assert said(own, machine, pools=pool(time_limit="1m", queues=["video", "default"], order="strict")) == [
        "time_limit does nothing in a threads pool.",
        'the pool "web" takes 8 tasks ahead per process, so an urgent one waits behind them.',
        *said(app(), pools=pool(queues=["video", "default"], order="strict")),
    ]
    assert "processes-over-cores" in names(app(worker_concurrency=24), machine)


# --- What then goes elsewhere -----------------------------------------------------------------------------


def test_the_routes_of_an_app_are_told_as_lines_to_paste_where_the_fleet_has_none() -> None:
    routes = {"shop.mail.*": {"queue": "mail", "expires": 3}, "shop.x": "video", "a.*": {"exchange": "e"}}
    own = app(task_routes=routes)
    (gone,) = [finding for finding in found(own) if finding.name == "routes-gone"]
    assert gone.level == "warning"
    assert gone.hint.splitlines() == [
        "Add them:",
        "routes:",
        "  - {task: shop.x, queue: video}",
        '  - {task: "shop.mail.*", queue: mail}',
        '  - {task: "a.*", exchange: e}',
        "and declare under `queues:` mail and a queue of the exchange e, for a pool to read.",
        "expires of the route of shop.mail.*: a route decides where only.",
    ]
    for written in ([], [{"task": "a", "queue": "video"}]):
        assert "routes-gone" not in names(own, routes=written)


def test_many_routes_are_told_in_part() -> None:
    own = app(task_routes={f"shop.t{number}": "video" for number in range(99)})
    (gone,) = [finding for finding in found(own) if finding.name == "routes-gone"]
    assert gone.hint.splitlines()[-1] == "  # and 59 more"


@pytest.mark.parametrize(
    ("own", "fleet", "split"),
    [
        ("redis://:hunter2@a/1", "redis://:hunter2@a/2", True),
        ("redis://a/1", "redis://b/1", True),
        ("redis://localhost", "redis://127.0.0.1:6379/0", False),
        ("amqp://user:hunter2@h//", "pyamqp://h", False),
        ("amqp://h/shop", "amqp://h", True),
        (["redis://a", "redis://b"], "redis://b", False),
        ("sqs://", "redis://a", True),
        ("redis://:p%40w@[::1]:6379/1", "redis://a:99999999/x", True),
        ("redis+socket:///a?virtual_host=0", "embedded", True),
        (None, "redis://a", False),
    ],
)
def test_a_broker_that_the_app_alone_would_send_to_is_told(own: Any, fleet: str, split: bool) -> None:
    told = found(AppFacts(settings={"broker_url": own}), broker=fleet)
    assert [finding.name for finding in told if finding.name in ("split-broker", "not-installed")] == [
        "split-broker" if split else "not-installed"
    ]
    assert "hunter2" not in "".join(finding.what + finding.hint for finding in told if finding.name == "split-broker")
    assert "split-broker" not in names(app(broker_url=own), broker=fleet), (
        "an app that installs the fleet has its broker"
    )


def test_results_that_the_fleet_keeps_elsewhere_without_a_word_are_told() -> None:
    own = app(result_backend="db+postgresql://u:hunter2@h/d")
    (told,) = [finding for finding in found(own) if finding.name == "results-elsewhere"]
    assert told.hint == "Add `results: ${CELERY_RESULT_BACKEND}`"
    assert "hunter2" not in told.what
    for results in ("redis://h/2", "none", "embedded"):
        assert "results-elsewhere" not in names(own, results=results)
    assert "results-elsewhere" not in names(app(result_backend="redis://h/0"), broker="redis://h")


def test_events_of_only_some_pools_are_told() -> None:
    some = {"web": {"queues": ["video"], "events": True}, "mail": {"queues": ["default"]}}
    (what,) = [finding.what for finding in found(pools=some) if finding.name == "events-of-some"]
    assert what == 'the pool "web" sends events, and "mail" does not: monitors such as Flower show a part as all.'
    assert "events-of-some" not in names(pools=some, events=True)
    assert "events-of-some" not in names(app(worker_send_task_events=True), pools=some)
