"""Fleets to draw, and how much of them runs."""

from __future__ import annotations

import json
from collections.abc import Collection

from celeryfleet.plan.build import build
from celeryfleet.protocol import QueueStatus
from celeryfleet.render.graph.survey import survey, with_numbers
from celeryfleet.render.graph.topology import Topology
from tests import ROOT
from tests.unit.plan.fleets import FACTS, fleet_of
from tests.unit.shown import pool, reply

DEMO = (ROOT / "fleet.yaml").read_text("utf-8")

#: of everything something
SHOP = r"""
name: shop
app: shop.celery:app
broker: amqp://localhost
queues:
  default:
  video: {max_priority: 10, max_length: 5000}
  mail: {max_age: 30s, arguments: {x-dead-letter-exchange: dead, x-dead-letter-routing-key: dead}}
  orders: {exchange: {name: events, type: topic}, routing_key: "order.#", arguments: {x-dead-letter-exchange: graves}}
  created: {exchange: {name: events, type: topic}, routing_key: "*.created"}
  dead:
  lonely:
default_queue: default
routes:
  - {task: shop.video.encode, queue: video, priority: 9}
  - {task: "shop.mail.*", queue: mail}
  - {regex: 'shop\.(sms|push)\..+', queue: mail}
  - {task: "shop.order.*", exchange: events, routing_key: order.created}
  - {task: "shop.bill.*", exchange: events, routing_key: bill.paid}
  - {router: shop.routing.Router}
  - {router: celeryfleet.routers.namespace}
  - {task: "shop.v*", queue: video}
pools:
  web: {queues: [video, default], replicas: 2, concurrency: 4}
  mail: {queues: [mail, orders], pool: threads, concurrency: 16, order: round_robin}
  created: {queues: [created, orders, default]}
  graveyard: {queues: [dead], profiles: [full]}
beat: {schedule: {nightly: {task: shop.report, crontab: "0 3 * * *"}, often: {task: shop.mail.flush, every: 90s}}}
"""

#: names that mean something to YAML, Mermaid, Markdown, DOT, HTML or a terminal
NASTY = (
    *('a"b', "a#b", "a#quot;b", "x|y", "a[b]", "<b>hi</b>", "{a}", "(a)", "a\\b", "a\\", '\\"', "\\N", "end", "graph"),
    *("o--x", "&amp;", "`code`", "**bold**", "_em_", "a_b", "a;b", "%%c", "日本語", "ünï", "1.", "🎉", "$x$", "@a"),
    *("a:::b", "a->x", "'q'", "]]>", "x--"),
)


def nasty() -> str:
    """Write a fleet whose every name is nasty: as task, queue, exchange, routing key and beat entry."""
    queues = {
        name: {"exchange": {"name": f"ex{name}", "type": "topic"}, "routing_key": name} if at % 2 else {}
        for at, name in enumerate(NASTY)
    }
    routes = [{"task": f"{name}.*", "queue": name} for name in NASTY]
    more = [
        {"regex": "(?x) a  # a comment\n b \t c", "queue": NASTY[1]},
        {"exchange": "exx|y", "routing_key": '1. a\n- b | "q"', "task": "lost"},
    ]
    pools = {"web": {"queues": list(NASTY)}, "mail": {"queues": list(NASTY[:3])}}
    beat = {"schedule": {name: {"task": "a", "every": "1m"} for name in NASTY}}
    whole = {
        "name": "nasty",
        "app": "a:b",
        "broker": "amqp://localhost",
        "queues": queues,
        "pools": pools,
        "beat": beat,
    }
    return json.dumps({**whole, "default_queue": NASTY[0], "routes": routes + more}, ensure_ascii=False)


def topology(text: str, profiles: Collection[str] = ()) -> Topology:
    """Survey a fleet.yaml."""
    fleet = fleet_of(text)
    return survey(fleet, build(fleet, FACTS, profiles))


def demo_live() -> Topology:
    """The demo fleet while one queue waits too long, one is paused, one pool is half up and one is down."""
    queues = {
        "datasource": (0, 0, None, 1),
        "datahandling": (3, 1, 4.0, 1),
        "notification": (1234, 8, 101.0, 3),
        "default": (2, 0, 1.0, 0),
        "low": (7, 0, 3725.0, 0),
    }
    pools = {"datasource": (1, 1), "datahandling": (1, 2), "notification": (3, 3), "default": (1, 1), "low": (0, 1)}
    status = reply(
        *(pool(name, want, ready=ready) for name, (ready, want) in pools.items()),
        state="degraded",
        paused=("default",),
        queues=tuple(QueueStatus(name, *numbers) for name, numbers in queues.items()),
    )
    return with_numbers(topology(DEMO), status)
