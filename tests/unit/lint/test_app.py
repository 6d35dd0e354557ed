"""What is said of an app, its messages and its results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeryfleet.lint import lint
from celeryfleet.lint.content import has_chord
from celeryfleet.plan.build import build
from celeryfleet.plan.facts import AppFacts
from tests.unit.lint.cases import PLAIN, found, names, pool, said, tasks
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text


def app(**settings: Any) -> AppFacts:
    return AppFacts(installs=True, settings=settings)


def test_an_app_that_does_not_install_the_fleet_is_told_the_line() -> None:
    (finding,) = found(AppFacts(), app="shop.celery:application")
    assert (finding.name, finding.level) == ("not-installed", "info")
    assert finding.hint.endswith("import celeryfleet; celeryfleet.install(application)")
    assert names(AppFacts(installs=True)) == []
    assert names(AppFacts(), app="celeryfleet.demo") == [], "nobody else sends the demo's tasks"


def test_settings_that_the_fleet_replaces_are_named_without_their_values() -> None:
    (finding,) = found(app(broker_url="redis://:hunter2@h", task_routes={"a": {}}, timezone="UTC"), routes=[])
    assert finding.what == "broker_url and task_routes of the app are not used: the fleet says those itself."
    assert finding.hint.endswith("The fleet runs on a broker of its own.")
    assert "hunter2" not in str(finding)
    (finding,) = found(app(broker_url="redis://other"), broker="redis://h")
    assert finding.hint == "Write here what is to hold, and remove it there."


def test_settings_that_say_the_same_are_not_told() -> None:
    assert names(app(accept_content={"json"}, task_serializer="json", broker_url="redis://h"), broker="redis://h") == []


def test_a_priority_in_code_is_told_on_redis_alone() -> None:
    one = tasks(a={"priority": 9})
    assert said(one) == ['the priority in the code of "shop.a" goes to Redis as it is, where 0 runs first and 9 last.']
    assert names(one, broker="amqp://h") == []
    assert names(one, celery={"task_default_priority": 5}) == ["priority-on-the-wire"], "and each task only has that"
    assert names(app(task_default_priority=5)) == ["priority-on-the-wire"]


def test_a_schedule_that_nobody_sends_is_found() -> None:
    own = app(beat_schedule={"a": {}, "b": {}})
    beat = {"schedule": {"a": {"task": "celery.backend_cleanup", "every": "1d"}}}
    assert names(own) == ["schedule-without-beat"]
    assert names(own, beat=True) == []
    assert names(own, beat=beat) == ["settings-replaced"]
    elsewhere = app(beat_scheduler="redbeat.RedBeatScheduler")
    (what,) = said(elsewhere)
    assert what.startswith("the app has the beat_scheduler redbeat.RedBeatScheduler, but this file has no `beat:`")
    assert names(elsewhere, beat=True) == []
    assert names(elsewhere, beat={"scheduler": "django"}) == ["settings-replaced"]


def test_a_beat_without_anything_to_send_is_found() -> None:
    assert names(app(), beat=True) == ["beat-without-schedule"]
    assert names(app(), beat={"scheduler": "django"}) == []
    assert names(app(), beat=True, celery={"beat_scheduler": "django"}) == []


def test_tls_that_only_the_app_speaks_of_is_told() -> None:
    own = app(broker_use_ssl={"ca_certs": "/ca.pem"})
    assert names(own, broker="redis://h") == ["settings-replaced"]
    assert names(app(broker_use_ssl=False), broker="redis://h") == []


def test_names_that_no_task_has_are_found() -> None:
    beat = {"schedule": {"a": {"task": "shop.x", "every": "1d"}, "b": {"task": "celery.chord", "every": "1d"}}}
    assert names(PLAIN, beat=beat) == ["task-unregistered"]
    (what,) = said(PLAIN, tasks={"x": "shop.x", "a": "shop.a", "short": "a"})
    assert what == '"x" stands for shop.x, which is no task that the app registers: `send x` fails.'
    assert names(None, beat=beat) == []


def test_tasks_that_run_in_their_sender_are_found() -> None:
    assert names(celery={"task_always_eager": True}) == ["eager"]
    assert names(app(task_always_eager=True)) == ["eager"]
    assert "eager" not in names(app(task_always_eager=True), celery={"task_always_eager": False})


# --- Messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [["json", "pickle"], ["application/x-python-serialize", "json"]])
def test_pickles_are_found_wherever_they_are_let_in(content: list[str]) -> None:
    assert names(celery={"accept_content": content}) == ["pickle-accepted"]
    assert names(pools=pool(celery={"accept_content": content})) == ["pickle-accepted"]
    assert names(celery={"result_accept_content": content}) == ["pickle-accepted"]


def test_a_format_that_workers_throw_away_is_found() -> None:
    assert names(celery={"task_serializer": "yaml"}) == ["serializer-refused"]
    assert names(celery={"task_serializer": "yaml", "accept_content": ["application/x-yaml"]}) == []
    assert names(tasks(a={"serializer": "pickle"}, b={"serializer": "json"})) == ["serializer-refused"]


@pytest.mark.parametrize(
    "keys",
    [
        {"broker": "redis://:hunter2@h"},
        {"broker": {"url": "amqp://u:hunter2@h"}},
        {"broker": "redis://:hunter2${A:-}@h"},
        {"broker": "${A:-redis://:hunter2@h}"},
        {"results": "redis://:hunter2@h"},
        {"celery": {"redis_password": "hunter2"}},
        {"celery": {"broker_transport_options": {"sentinel_kwargs": {"password": "hunter2"}}}},
        {"pools": pool(env={"API_TOKEN": "hunter2"})},
        {"pools": pool(env={"DSN": "https://u:hunter2@h"})},
    ],
)
def test_a_credential_in_the_file_is_found_and_not_repeated(keys: Any) -> None:
    (finding,) = found(**keys)
    assert finding.name == "credentials"
    assert "hunter2" not in str(finding)


@pytest.mark.parametrize(
    "keys",
    [
        {"broker": "redis://:${A:-}@h"},
        {"broker": "${A:-redis://h}"},
        {"broker": "redis://:${A:-x}@h", "results": "redis://h/1"},
        {"broker": "amqp://guest:guest@localhost", "pools": pool()},
        {"celery": {"redis_password": "${A:-}", "security_key": "/etc/ssl/key.pem"}},
        {"pools": pool(env={"API_TOKEN": "${A:-}", "TOKENIZERS_DIR": "${A:-/srv}"})},
    ],
)
def test_what_comes_from_the_environment_is_no_credential(keys: Any) -> None:
    assert names(**keys) == []


# --- Results ----------------------------------------------------------------------------------------------


def test_canvases_without_results_are_found() -> None:
    assert names(results="none", canvases={"sum": "add.s(1, 2)"}) == ["results-off"]
    assert names(results="none") == []


def test_a_chord_on_rpc_results_is_found() -> None:
    canvases = {"chain": "add.s(1, 2) | add.s(3)", "chord": "group(add.s(1, 2)) | xsum.s()"}
    (what,) = said(broker="amqp://h", canvases=canvases)
    assert what.startswith('the canvas "chord" is a chord')
    assert names(broker="amqp://h", results="redis://h", canvases=canvases) == []


@pytest.mark.parametrize(
    ("expression", "chord"),
    [
        ("chord((add.s(i, i) for i in range(3)), xsum.s())", True),
        ("group(a.s(), b.s()) | c.s()", True),
        ("a.s() | group(b.s(), c.s()) | d.s()", True),
        ("chain(group(a.s()), b.s())", True),
        ("chain(a.s(), group(b.s()))", False),
        ("a.s() | group(b.s(), c.s())", False),
        ("group(a.s() | b.s(), c.s())", False),
        ("a.s(", False),
    ],
)
def test_a_chord_is_known_by_its_expression(expression: str, chord: bool) -> None:
    assert has_chord(expression) is chord


def test_of_several_apps_each_has_what_it_says_itself() -> None:
    apart: dict[str, dict[str, Any]] = {
        "shop": {"worker_concurrency": 8, "beat_schedule": {"a": {}}},
        "ml": {"task_time_limit": 60},
    }
    facts = AppFacts(installs=True, settings={**apart["ml"], **apart["shop"]}, apart=apart)
    pools = {
        "web": {"queues": ["video"], "app": "shop", "concurrency": 2},
        "gpu": {"queues": ["default"], "app": "ml", "concurrency": 2, "max_tasks_per_child": 5},
    }
    whole = json.loads(fleet_text(apps={"shop": "shop", "ml": "ml"}, pools=pools, beat={"app": "ml"}))
    del whole["app"]
    fleet = fleet_of(json.dumps(whole))
    told = [finding.what for finding in lint(fleet, build(fleet, FACTS), facts)]
    assert [finding.name for finding in lint(fleet, build(fleet, FACTS), facts)].count("beat-without-schedule") == 1
    assert [what for what in told if "of the app" in what] == [
        'worker_concurrency: 8 of the app is replaced by 2 in the pool "web".'
    ]
