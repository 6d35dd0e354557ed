"""A plan's settings as a file that people take elsewhere."""

from __future__ import annotations

import ast
import json

import pytest
import yaml

from celeryfleet.plan.config import as_json, as_python, as_yaml
from tests.unit.plan.fleets import fleet_text, plan_of
from tests.unit.plan.test_build import SHOP

PYTHON = r'''
"""Celery settings of the fleet shop, written by `celeryfleet config --format python`."""

import os
import re

from celery.schedules import crontab
from kombu import Exchange, Queue
from kombu.utils.imports import symbol_by_name


class _Router:
    """Asks a router, and gives Celery an answer of its own: Celery writes the options of each call into it."""

    def __init__(self, path, priority=None):
        self.path, self.priority, self.router = path, priority, None

    def __call__(self, name, args, kwargs, options, task=None):
        if self.router is None:
            found = symbol_by_name(self.path)
            self.router = found() if isinstance(found, type) else found
        if hasattr(self.router, "route_for_task"):
            answer = self.router.route_for_task(name, args, kwargs)
        else:
            answer = self.router(name, args, kwargs, options, task=task)
        if answer is None:
            return None
        route = dict(answer) if isinstance(answer, dict) else {"queue": answer}
        if self.priority is not None and route.get("priority") is None:
            route["priority"] = self.priority
        return route


broker_url = "redis://:" + os.environ["PASSWORD"] + "@host:6379/0"
result_backend = "redis://:" + os.environ["PASSWORD"] + "@host:6379/0"
task_queues = (
    Queue("default", Exchange("default", type="direct"), routing_key="default"),
    Queue("video", Exchange("video", type="direct"), routing_key="video", queue_arguments={"x-max-priority": 10, "x-max-length": 5000}),
    Queue("mail", Exchange("mail", type="direct"), routing_key="mail"),
    Queue("events", Exchange("events", type="topic"), routing_key="order.#"),
)
task_default_queue = "default"
task_default_exchange = "default"
task_default_exchange_type = "direct"
task_default_routing_key = "default"
task_create_missing_queues = False
task_routes = (
    {"shop.video.encode": {"queue": "video", "priority": 0}},
    {"shop.mail.*": {"queue": "mail", "priority": 9}},
    {re.compile('(?:shop\\.(sms|push)\\..+)\\Z'): {"queue": "mail", "priority": 9}},
    {"shop.order.*": {"queue": Queue("events", Exchange("events", type="topic"), routing_key="order.created"), "priority": 9, "declare": [queue for queue in task_queues if queue.exchange.name == "events"]}},
    _Router("shop.routing.TaskRouter", 9),
    {"*": {"queue": "default", "priority": 9}},
)
broker_transport_options = {"priority_steps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "sep": "\u0006\u0016"}
broker_connection_retry_on_startup = True
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
result_extended = True
task_acks_late = True
redis_password = os.environ.get("CELERY_REDIS_PASSWORD", "***")
beat_schedule = {
    "nightly": {"task": "shop.report", "schedule": crontab("0", "3", day_of_month="*", month_of_year="*", day_of_week="*")},
    "often": {"task": "shop.tick", "schedule": 30.0},
}

# The workers of the fleet; what the app says of -P and --prefetch-multiplier holds:
# celery -A shop.celery:app worker -Q mail,default -n web-1@shop.host -l INFO -c 4 -P prefork --prefetch-multiplier 1 --time-limit 1200 --without-mingle --without-gossip --without-heartbeat
# celery -A shop.celery:app worker -Q mail,default -n web-2@shop.host -l INFO -c 4 -P prefork --prefetch-multiplier 1 --time-limit 1200 --without-mingle --without-gossip --without-heartbeat
# celery -A shop.celery:app worker -Q events -n io-1@shop.host -l INFO -c 100 -P gevent --without-mingle --without-gossip --without-heartbeat
'''  # noqa: E501


def test_the_whole_python_module() -> None:
    assert as_python(plan_of(SHOP, {"PASSWORD": "hunter2"})) == PYTHON.lstrip("\n")


@pytest.mark.parametrize("write", [as_python, as_yaml, as_json])
def test_no_form_holds_a_credential(write: object) -> None:
    keys = {"redis_password": "hunter2", "broker_transport_options": {"sentinel_kwargs": {"password": "hunter2"}}}
    text = fleet_text(
        broker="sentinel://:hunter2@a:1;sentinel://:hunter2@b:2", results="db+postgresql://u:hunter2@h/db", celery=keys
    )
    assert callable(write)
    assert "hunter2" not in write(plan_of(text))


@pytest.mark.parametrize(
    ("written", "expression"),
    [
        ("redis://:pw@host", 'os.environ.get("CELERY_BROKER_URL", "redis://:***@host")'),
        ("redis://host", '"redis://host"'),
        ("${URL}", 'os.environ["URL"]'),
        ("${URL:-redis://host}", '(os.environ.get("URL") or "redis://host")'),
        ("${URL:?set it}", 'os.environ["URL"]'),
        ("redis://:${PW:-pw}@host", '"redis://:" + os.environ["PW"] + "@host"'),
        ("redis://${H:-h}/${DB-0}", '"redis://" + (os.environ.get("H") or "h") + "/" + os.environ.get("DB", "0")'),
        ("${A:-${URL:-redis://h}}", '(os.environ.get("A") or (os.environ.get("URL") or "redis://h"))'),
        ("redis://:pw@${URL:-h}", 'os.environ.get("CELERY_BROKER_URL", "redis://:***@" + os.environ["URL"])'),
    ],
)
def test_a_variable_is_read_again_where_the_module_runs(written: str, expression: str) -> None:
    python = as_python(plan_of(fleet_text(broker=written), {"URL": "redis://:pw@host", "PW": "pw"}))
    assert f"\nbroker_url = {expression}\n" in python
    ast.parse(python)


def test_a_variable_that_says_embedded_gives_the_url_that_it_stands_for() -> None:
    text = fleet_text(broker="${URL:-embedded}", results="${RESULTS:-embedded}")
    module: dict[str, str] = {}
    exec(as_python(plan_of(text, {})), module)
    assert module["broker_url"].startswith("redis+socket:///")
    assert module["result_backend"] == module["broker_url"]
    assert '\nresult_backend = "disabled://"\n' in as_python(plan_of(text, {"RESULTS": "none"}))


def test_a_default_that_holds_a_password_is_left_out() -> None:
    python = as_python(plan_of(fleet_text(broker="${URL:-redis://:hunter2@host}"), {}))
    assert "hunter2" not in python
    ast.parse(python)


def test_yaml_and_json_say_the_same() -> None:
    plan = plan_of(SHOP, {"PASSWORD": "hunter2"})
    document = json.loads(as_json(plan))
    assert yaml.safe_load(as_yaml(plan)) == document
    assert document["broker_url"] == "redis://:${PASSWORD}@host:6379/0"
    assert document["task_routes"][1] == {"glob": "shop.mail.*", "options": {"queue": "mail", "priority": 9}}
    assert document["beat_schedule"]["nightly"]["schedule"] == {"crontab": "0 3 * * *"}


def test_what_beat_is_told_is_part_of_the_configuration() -> None:
    beat = {"scheduler": "redbeat.RedBeatScheduler", "max_interval": "5s"}
    text = as_python(plan_of(fleet_text(beat=beat)))
    assert 'beat_scheduler = "redbeat.RedBeatScheduler"\nbeat_max_loop_interval = 5.0\n' in text


def test_unusual_names_are_quoted_as_python_needs_them() -> None:
    routes = [{"task": 'a"b\\c.é.*', "queue": "video"}, {"regex": "a'\"\\d", "queue": "video"}]
    module: dict[str, object] = {}
    exec(as_python(plan_of(fleet_text(routes=routes))), module)
    patterns = [next(iter(route)) for route in module["task_routes"]]  # type: ignore[attr-defined]
    assert patterns[0] == 'a"b\\c.é.*'
    assert patterns[1].match("a'\"5")
