"""Files that are right → values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from celeryfleet.fleetfile.beat import Beat
from celeryfleet.fleetfile.load import parse, read
from celeryfleet.fleetfile.model import Exchange, Fleet, Pool, Queue, Route
from tests import ROOT

WHOLE = """\
name: shop
app: shop.celery:app
django: shop.settings
broker: {url: "redis://:${PASSWORD}@h/0", visibility_timeout: 2h, server: /usr/bin/valkey-server}
results: django-db
celery:
  task_acks_late: yes
  worker_send_task_events: "off"
  broker_transport_options: {priority_steps: [0, 5], on: on}
queues:
  default:
  on:
  08: {max_age: 30s}
  video: {max_priority: 10, max_length: 5000, type: quorum}
  events:
    exchange: {name: events, type: topic}
    routing_key: order.#
    arguments: {x-dead-letter-exchange: dead}
  short: {exchange: other}
routes:
  - {task: shop.video.encode, queue: video, priority: 9}
  - {regex: 'shop\\.(sms|push)\\..+$', queue: on}
  - task: "shop.order.*"
    exchange: events
    routing_key: order.created
  - {router: shop.routing:TaskRouter}
pools:
  web:
    queues: [on, 08, default]
    order: round_robin
    replicas: 0
    concurrency: auto
    pool: threads
    prefetch_multiplier: 1
    max_tasks_per_child: 1000
    max_memory_per_child: 400MB
    time_limit: 1h30m
    soft_time_limit: 500ms
    stop_grace_period: 0
    restart: {backoff: 1.5s, max_backoff: 2m, max_restarts: 0, window: 1d}
    env: {N: 1, OFF: off, EMPTY: , VERSION: 1.10}
    profiles: [full]
    events: on
preload: no
beat:
  schedule:
    nightly: {task: shop.report, crontab: "0 3 * * mon-fri", args: [1, x], kwargs: {a: null}, options: {queue: on}}
    often: {task: shop.tick, every: 10s}
logs: {format: json, max_size: 1GiB, max_files: 2}
tasks:
  weather: {task: shop.weather.today}
  sun: shop.weather.sun
canvases:
  chord: chord([add.s(1, 1)], xsum.s())
x-more: {anything: [at all]}
"""


@pytest.fixture(scope="module")
def shop() -> Fleet:
    return parse(WHOLE, "/srv/shop/fleet.yaml", {"PASSWORD": "secret"})


def test_every_key_has_its_value(shop: Fleet) -> None:
    assert (shop.name, shop.app, shop.django, shop.file) == (
        "shop",
        "shop.celery:app",
        "shop.settings",
        "/srv/shop/fleet.yaml",
    )
    assert (shop.broker.url, shop.broker.visibility_timeout, shop.broker.server) == (
        "redis://:secret@h/0",
        7200,
        "/usr/bin/valkey-server",
    )
    assert (shop.results, shop.preload, shop.default_queue) == ("django-db", "false", "default")
    assert (shop.logs.format, shop.logs.max_size, shop.logs.max_files) == ("json", 1024**3, 2)
    assert {name: alias.task for name, alias in shop.tasks.items()} == {
        "weather": "shop.weather.today",
        "sun": "shop.weather.sun",
    }
    assert shop.canvases == {"chord": "chord([add.s(1, 1)], xsum.s())"}
    assert shop.beat is not None
    nightly, often = shop.beat.schedule["nightly"], shop.beat.schedule["often"]
    assert (nightly.crontab, nightly.every, nightly.args, nightly.kwargs, nightly.options) == (
        "0 3 * * mon-fri",
        None,
        (1, "x"),
        {"a": None},
        {"queue": "on"},
    )
    assert (often.crontab, often.every) == (None, 10)


def test_queues_keep_their_order_and_names_are_the_text_they_look_like(shop: Fleet) -> None:
    assert list(shop.queues) == ["default", "on", "08", "video", "events", "short"]
    assert shop.queues["default"] == Queue()
    assert shop.queues["08"].max_age == 30
    video, events = shop.queues["video"], shop.queues["events"]
    assert (video.max_priority, video.max_length, video.type) == (10, 5000, "quorum")
    assert events.exchange == Exchange(name="events", type="topic")
    assert (events.routing_key, events.arguments) == ("order.#", {"x-dead-letter-exchange": "dead"})
    assert shop.queues["short"].exchange == Exchange(name="other", type="direct")


def test_a_pool_has_numbers_seconds_and_bytes(shop: Fleet) -> None:
    web = shop.pools["web"]
    assert web.queues == ("on", "08", "default")
    assert (web.order, web.replicas, web.concurrency, web.pool) == ("round_robin", 0, "auto", "threads")
    assert (web.prefetch_multiplier, web.max_tasks_per_child, web.max_memory_per_child) == (1, 1000, 400_000_000)
    assert (web.time_limit, web.soft_time_limit, web.stop_grace_period) == (5400, 0.5, 0)
    assert (web.restart.backoff, web.restart.max_backoff, web.restart.max_restarts, web.restart.window) == (
        1.5,
        120,
        0,
        86_400,
    )
    assert web.env == {"N": "1", "OFF": "off", "EMPTY": "", "VERSION": "1.10"}
    assert (web.profiles, web.events, web.autoscale) == (("full",), True, None)


def test_a_pool_that_says_nothing_has_the_defaults_of_the_contract() -> None:
    web = parse("queues: {a: }\npools: {web: {queues: [a]}}\n", "fleet.yaml", {}).pools["web"]
    assert web == Pool(queues=("a",))
    assert (web.order, web.replicas, web.stop_grace_period) == ("strict", 1, 60)
    assert (web.concurrency, web.pool) == (None, None), "which the app may say"
    assert (web.restart.backoff, web.restart.max_backoff, web.restart.max_restarts, web.restart.window) == (
        1,
        60,
        5,
        300,
    )
    assert (web.healthcheck.heartbeat_within, web.healthcheck.consuming_within) == (30, 60)


def test_a_fleet_of_queues_alone_has_the_defaults_of_the_contract() -> None:
    fleet = parse("queues: {a: , b: }\n", "/srv/My Shop!/fleet.yaml", {})
    assert (fleet.name, fleet.broker.url, fleet.results, fleet.preload) == ("My-Shop", "embedded", "embedded", "auto")
    assert (fleet.default_queue, fleet.pools, fleet.routes, fleet.variables) == ("a", {}, (), {})
    assert parse("queues: {a: , default: }\n", "fleet.yaml", {}).default_queue == "default"
    assert parse("queues: {a: }\n", "fleet.yaml", {}).name == "fleet"


def test_sections_with_every_line_commented_out_are_empty() -> None:
    fleet = parse("queues: {a: }\nroutes:\ncelery:\ntasks:\ncanvases:\nlogs:\nbeat:\nenv_file:\n", "fleet.yaml", {})
    assert (fleet.routes, fleet.celery, fleet.tasks, fleet.canvases, fleet.env_file) == ((), {}, {}, {}, ())


@pytest.mark.parametrize("text", ["", "ledger:\n", "ledger: true\n", "ledger: {}\n"])
def test_a_ledger_is_kept_for_a_week_unless_the_file_says_otherwise(text: str) -> None:
    ledger = parse(f"queues: {{a: }}\n{text}", "fleet.yaml", {}).ledger
    assert ledger is not None
    assert (ledger.keep, ledger.max_size, ledger.hide) == (7 * 86400, 200_000_000, ())


def test_the_ledger_has_its_values_or_is_off() -> None:
    ledger = parse("queues: {a: }\nledger: {keep: 2d, max_size: 1MB, hide: [pin]}\n", "fleet.yaml", {}).ledger
    assert ledger is not None
    assert (ledger.keep, ledger.max_size, ledger.hide) == (2 * 86400, 1_000_000, ("pin",))
    assert parse("queues: {a: }\nledger: no\n", "fleet.yaml", {}).ledger is None


def test_booleans_of_celery_are_booleans_however_they_are_written(shop: Fleet) -> None:
    assert shop.celery == {
        "task_acks_late": True,
        "worker_send_task_events": False,
        "broker_transport_options": {"priority_steps": [0, 5], "on": "on"},
    }


def test_routes_keep_their_order_their_lines_and_their_text(shop: Fleet) -> None:
    assert [(route.line, route.text) for route in shop.routes] == [
        (21, "task: shop.video.encode, queue: video, priority: 9"),
        (22, r'regex: "shop\.(sms|push)\..+$", queue: on'),
        (23, 'task: "shop.order.*", exchange: events, routing_key: order.created'),
        (26, "router: shop.routing:TaskRouter"),
    ]
    order = Route(task="shop.order.*", exchange="events", routing_key="order.created")
    assert shop.routes[2] == order


def test_a_place_is_that_of_the_key_or_of_the_nearest_above_it(shop: Fleet) -> None:
    assert shop.where("pools", "web", "queues", 1) == "/srv/shop/fleet.yaml:29:18"
    assert shop.where("pools", "web", "concurrency") == "/srv/shop/fleet.yaml:32:5"
    assert shop.where("pools", "web", "autoscale", "max") == "/srv/shop/fleet.yaml:28:3"
    assert shop.where() == "/srv/shop/fleet.yaml:1:1"
    assert shop.where("nothing") == "/srv/shop/fleet.yaml:1:1"


def test_the_origin_of_a_value_is_its_text_with_the_variable(shop: Fleet) -> None:
    assert shop.origin("broker", "url") == "redis://:${PASSWORD}@h/0"
    assert shop.origin("broker") is None
    assert shop.origin("name") is None
    assert parse("queues: {a: }\nbroker: ${B}\n", "f", {"B": "redis://h"}).origin("broker") == "${B}"


def test_anchors_and_merge_keys_work_as_in_compose() -> None:
    text = """\
x-limits: &limits {time_limit: 1m, env: {A: "1"}}
x-lean: &lean {replicas: 3, time_limit: 9m}
queues: {a: &queue {max_age: 1s}, b: *queue}
pools:
  one: {<<: *limits, queues: [a]}
  two: {<<: [*limits, *lean], queues: &both [a, b], concurrency: 2}
  three:
    <<: *lean
    queues: *both
    replicas: 1
"""
    fleet = parse(text, "fleet.yaml", {})
    assert fleet.queues["b"].max_age == 1
    assert {n: (p.queues, p.replicas, p.concurrency, p.time_limit, p.env) for n, p in fleet.pools.items()} == {
        "one": (("a",), 1, None, 60, {"A": "1"}),
        "two": (("a", "b"), 3, 2, 60, {"A": "1"}),
        "three": (("a", "b"), 1, None, 540, {}),
    }
    assert fleet.where("pools", "one", "time_limit") == "fleet.yaml:1:20"


def test_a_missing_variable_in_an_x_key_matters_only_where_it_is_used() -> None:
    text = "x-a: &a {name: '${NO}'}\nqueues: {a: }\n"
    assert parse(text, "fleet.yaml", {}).queues == {"a": Queue()}


def test_a_fleet_is_frozen() -> None:
    fleet = parse("queues: {a: }\n", "fleet.yaml", {})
    with pytest.raises(FrozenInstanceError):
        fleet.name = "other"  # type: ignore[misc]


def test_the_fleet_of_this_repository_is_right() -> None:
    fleet = read(ROOT / "fleet.yaml", {})
    assert fleet.name == "demo"
    assert "default" in fleet.queues


def test_json_and_windows_line_ends_and_a_byte_order_mark_are_yaml_too() -> None:
    assert parse('{"queues": {"a": {}}}', "fleet.yaml", {}).default_queue == "a"
    assert parse("\ufeffqueues:\r\n  a:\r\n", "fleet.yaml", {}).default_queue == "a"
    assert parse("---\nqueues: {a: }\n...\n", "fleet.yaml", {}).default_queue == "a"


@pytest.mark.parametrize(
    ("written", "beat"),
    [
        ("beat:", Beat()),
        ("beat: {}", Beat()),
        ("beat: true", Beat()),
        ("beat: false", None),
        ("name: shop", None),
        ("beat: {scheduler: django, max_interval: 5s}", Beat(scheduler="django", max_interval=5.0)),
    ],
)
def test_a_beat_that_is_written_is_wanted_unless_it_is_false(written: str, beat: Beat | None) -> None:
    assert parse(f"queues: {{a: }}\n{written}\n", "fleet.yaml", {}).beat == beat
