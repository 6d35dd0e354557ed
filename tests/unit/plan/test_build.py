"""Fleet and facts → Plan, compared as its whole text."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.plan.build import build
from celeryfleet.plan.values import AppPlan, Plan
from celeryfleet.render.plan import plan_text
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text, plan_of

SHOP = """
name: shop
app: shop.celery:app
django: shop.settings
broker: redis://:${PASSWORD}@host:6379/0
celery:
  task_acks_late: true
  redis_password: hunter2
queues:
  default:
  video: {max_priority: 10, max_length: 5000}
  mail: {max_age: 30s}
  events: {exchange: {name: events, type: topic}, routing_key: "order.#"}
default_queue: default
routes:
  - {task: shop.video.encode, queue: video, priority: 9}
  - {task: "shop.mail.*", queue: mail}
  - {regex: 'shop\\.(sms|push)\\..+', queue: mail}
  - {task: "shop.order.*", exchange: events, routing_key: order.created}
  - {router: shop.routing.TaskRouter}
pools:
  web:
    queues: [mail, default]
    replicas: 2
    concurrency: auto
    time_limit: 20m
    autoscale: {min: 1, max: 6, target_length: 20, target_age: 30s}
  io: {queues: [events], pool: gevent, concurrency: 100, order: round_robin, env: {TOKEN: secret}}
  big: {queues: [video], profiles: [full]}
beat: {schedule: {nightly: {task: shop.report, crontab: "0 3 * * *"}, often: {task: shop.tick, every: 30s}}}
"""

TEXT = r"""
fleet shop: app shop.celery:app, django shop.settings, preload auto
state /srv/shop/.celeryfleet/shop
broker redis://:${PASSWORD}@host:6379/0

queues
  default  direct exchange default, key default
  video    direct exchange video, key video, {"x-max-priority": 10, "x-max-length": 5000}
  mail     direct exchange mail, key mail, amber after 30s
  events   topic exchange events, key order.#

routes
  exact shop.video.encode -> queue video, wire priority 0
  glob shop.mail.* -> queue mail, wire priority 9
  regex shop\.(sms|push)\..+ -> queue mail, wire priority 9
  glob shop.order.* -> exchange events, exchange type topic, routing key order.created, wire priority 9
  router shop.routing.TaskRouter, wire priority 9 where it says none
  glob * -> queue default, wire priority 9

settings
  result_backend: "redis://:${PASSWORD}@host:6379/0"
  task_default_queue: "default"
  task_default_exchange: "default"
  task_default_exchange_type: "direct"
  task_default_routing_key: "default"
  task_create_missing_queues: false
  broker_transport_options: {"priority_steps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "sep": "\u0006\u0016"}
  broker_connection_retry_on_startup: true
  accept_content: ["json"]
  task_serializer: "json"
  result_serializer: "json"
  result_extended: true
  task_acks_late: true
  redis_password: "***"

pool web: 1 x prefork, concurrency 4, forked from the preloaded app
  queues mail, default
  autoscale 1 to 6 replicas, 20 messages each, oldest under 30s, cooldown 1m
  worker_concurrency: 4
  task_time_limit: 1200
  broker_transport_options: {"queue_order_strategy": "priority", "unacked_key": "unacked:{node}", "unacked_index_key": "unacked_index:{node}", "unacked_mutex_key": "unacked_mutex:{node}"}
  worker_pool: "prefork", unless the app says otherwise
  worker_prefetch_multiplier: 1, unless the app says otherwise
  web-1: celery -A shop.celery:app worker -Q mail,default -n web-1@shop.host -l INFO -c 4 -P prefork --prefetch-multiplier 1 --time-limit 1200 --without-mingle --without-gossip --without-heartbeat

pool io: 1 x gevent, concurrency 100, started by exec: gevent patches Python, which must come before the import
  queues events
  env TOKEN
  worker_pool: "gevent"
  worker_concurrency: 100
  broker_transport_options: {"queue_order_strategy": "round_robin", "unacked_key": "unacked:{node}", "unacked_index_key": "unacked_index:{node}", "unacked_mutex_key": "unacked_mutex:{node}"}
  io-1: celery -A shop.celery:app worker -Q events -n io-1@shop.host -l INFO -c 100 -P gevent --without-mingle --without-gossip --without-heartbeat

beat: celery -A shop.celery:app beat -l INFO -s /srv/shop/.celeryfleet/shop/beat-schedule --pidfile=
  nightly: {"task": "shop.report", "schedule": {"crontab": "0 3 * * *"}}
  often: {"task": "shop.tick", "schedule": 30.0}
"""  # noqa: E501


def test_the_whole_plan_as_text() -> None:
    text = SHOP.replace("    replicas: 2\n", "")
    assert plan_text(plan_of(text, {"PASSWORD": "hunter2"})) == TEXT.lstrip("\n")


def test_no_credential_is_in_the_text() -> None:
    plan = plan_of(SHOP, {"PASSWORD": "hunter2"})
    assert "hunter2" in plan.broker.url
    assert "hunter2" not in plan_text(plan)
    assert "secret" not in plan_text(plan)


def test_a_plan_survives_its_way_as_json() -> None:
    plan = plan_of(SHOP, {"PASSWORD": "hunter2"})
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_pool_with_a_profile_runs_only_if_it_is_asked_for() -> None:
    fleet = fleet_of(SHOP, {"PASSWORD": "x"})
    assert [pool.name for pool in build(fleet, FACTS).pools] == ["web", "io"]
    assert [pool.name for pool in build(fleet, FACTS, ["full"]).pools] == ["web", "io", "big"]


def test_a_misspelt_profile_is_an_error_and_not_a_smaller_fleet() -> None:
    with pytest.raises(FleetError) as error:
        build(fleet_of(SHOP, {"PASSWORD": "x"}), FACTS, ["ful"])
    assert str(error.value) == 'there is no profile "ful". Did you mean "full"?'


def test_a_worker_is_replaced_for_what_concerns_it_and_for_nothing_else() -> None:
    def digest(text: str) -> str:
        plan = plan_of(text, {"PASSWORD": "x"})
        return plan.worker(plan.pools[0], 1).digest

    assert digest(SHOP) == digest("# a comment\n" + SHOP)
    assert digest(SHOP) == digest(SHOP.replace("concurrency: 100", "concurrency: 50"))
    assert digest(SHOP) == digest(SHOP.replace("max: 6", "max: 9"))
    assert digest(SHOP) != digest(SHOP.replace("time_limit: 20m", "time_limit: 21m"))
    assert digest(SHOP) != digest(SHOP.replace("queue: mail", "queue: default"))


def test_the_folder_is_where_the_machine_says_it_really_is() -> None:
    plan = build(fleet_of(fleet_text()), replace(FACTS, folder="/mnt/real"))
    assert plan.state_dir == "/mnt/real/.celeryfleet/shop"
    assert build(fleet_of(fleet_text()), replace(FACTS, folder="")).state_dir == "/srv/shop/.celeryfleet/shop"


def test_planning_imports_neither_celery_nor_yaml() -> None:
    code = (
        "import sys, celeryfleet.plan.build, celeryfleet.lint, celeryfleet.render.plan, celeryfleet.plan.config\n"
        "import celeryfleet.app\n"
        "print(sorted({'celery', 'kombu', 'yaml', 'redis'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("broker", "on_the_wire"), [("redis://h/0", 0), ("amqp://h", 9)])
def test_a_priority_of_the_schedule_means_9_first_on_every_broker(broker: str, on_the_wire: int) -> None:
    entry = {"task": "shop.tick", "every": "10s", "options": {"priority": 9, "queue": "video"}}
    plan = plan_of(fleet_text(broker=broker, beat={"schedule": {"often": entry}}))
    assert plan.beat is not None
    assert plan.beat.schedule["often"]["options"] == {"priority": on_the_wire, "queue": "video"}


def test_each_pool_and_beat_have_the_app_that_they_name_and_one_app_is_several_of_one() -> None:
    apps = {"shop": "shop.celery:app", "ml": {"app": "ml.celery", "django": "ml.settings"}}
    pools = {"web": {"queues": ["default"], "app": "shop"}, "gpu": {"queues": ["video"], "app": "ml"}}
    whole = json.loads(fleet_text(apps=apps, pools=pools, beat={"app": "ml"}))
    del whole["app"]
    plan = plan_of(json.dumps(whole))
    assert plan.apps == (AppPlan("shop", "shop.celery:app"), AppPlan("ml", "ml.celery", "ml.settings"))
    assert [pool.argv[2] for pool in plan.pools] == ["shop.celery:app", "ml.celery"]
    assert plan.beat is not None
    assert (plan.beat.app, plan.beat.argv[2]) == ("ml", "ml.celery")
    assert plan_text(plan).startswith(
        "fleet shop: app shop shop.celery:app, app ml ml.celery, django ml.settings, preload"
    )
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan_of(fleet_text()).apps == (AppPlan("", "shop.celery:app"),)
    other = replace(plan, apps=(plan.apps[0], replace(plan.apps[1], path="ml.other")))
    changed = [plan.worker(pool, 1).digest != other.worker(pool, 1).digest for pool in plan.pools]
    assert changed == [False, True]
