"""The drawing in the terminal, whole; and that its lines lead where they should, whatever the fleet."""

from __future__ import annotations

import pytest

from celeryfleet.render.graph.drawing import as_text, draw
from celeryfleet.render.paint import AMBER, GREEN, RED
from celeryfleet.text import columns
from tests.unit.plan.fleets import fleet_text
from tests.unit.render.graph.shops import DEMO, SHOP, demo_live, nasty, topology

DEMO_80 = """\
demo: 3 routes, 5 queues, 5 pools with 8 workers

   ROUTES                    QUEUES               POOLS
19 tasks.datasource.* ─────▶ datasource ──────▶   datasource    1 × 1 prefork

20 tasks.datahandle.* ─────▶ datahandling ────▶   datahandling  2 × 1 prefork

21 tasks.notification.* ───▶ notification ────▶   notification  3 × 1 prefork
                             max_age 30s

   any other task ─────────▶ default ★ ───┬───▶   default       1 × 2 prefork
                                          └──2▶ ┌ low           1 × 1 prefork
                             low ────────────1▶ └

19: line of fleet.yaml, the first match wins   ★ default queue
1▶ 2▶ order in which a pool reads   2 × 4: workers × tasks at once in each
"""


def drawn(text: str, width: int = 0) -> str:
    return as_text(draw(topology(text), width))


def test_the_demo_fleet_fits_eighty_columns() -> None:
    assert drawn(DEMO, 80) == DEMO_80


SHOP_120 = r"""
shop: 8 routes, 7 queues, 4 pools with 4 workers

   ROUTES                             EXCHANGES, QUEUES                     POOLS
15 shop.video.encode p9 ──────────┬─▶ video ────────────────────────────▶ ┌ web        2 × 4 prefork
22 shop.v* ───────────────────────┘   max_priority 10              ┌────▶ └
                                      max_length 5,000             │
                                                                   │
   any other task ────────────────┬─▶ default ★ ───────────────────┴────▶ ┌ created    1 × 1 prefork
   beat nightly ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┘                                ┌────▶ │
     0 3 * * *                                                     │ ┌──▶ └
     shop.report                                                   │ │
                                                                   │ │
18 shop.order.* ── order.created ─┬─▶ ◇ events topic               │ │
19 shop.bill.* ─────── bill.paid ─┘   ├─ *.created ─▶ created ─────┘ │
     sending fails: no queue is       └─ order.# ───▶ orders ────────┴──▶ ┌ mail       1 × 16 threads
     bound to that key                  dead letters → graves, not ┌────▶ └ in turn
                                        declared here              │
                                                                   │
16 shop.mail.* ───────────────────┬─▶ mail ────────────────────────┘
17 /shop\.(sms|push)\..+/ ────────┤   max_age 30s
   beat often ────────────────────┘   dead letters → dead
     every 1m30s
     shop.mail.flush

                                      dead ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▶   graveyard  1 × 1 prefork
                                      unread without its profile            with --profile full

                                      lonely ─✗
                                      no pool reads it

20 router shop.routing.Router ╌╌╌╌╌╌▶ decides when a task is sent
21 router celeryfleet.routers.namespace ╌╌╌▶ the queue that the task's name begins with

15: line of fleet.yaml, the first match wins   p9: priority, 9 runs first   ◇ exchange   ★ default queue
2 × 4: workers × tasks at once in each
""".lstrip("\n")


def test_a_fleet_with_everything_has_exchanges_routers_beat_and_what_is_lost() -> None:
    assert drawn(SHOP, 120) == SHOP_120


SHOP_80 = r"""
shop: 8 routes, 7 queues, 4 pools with 4 workers

   ROUTES                        EXCHANGES, QUEUES               POOLS
15 shop.video.encode p9 ─────┬─▶ video ──────────────────────▶ ┌ web
22 shop.v* ──────────────────┘   max_priority 10        ┌────▶ └ 2 × 4 prefork
                                 max_length 5,000       │
                                                        │
   any other task ───────────┬─▶ default ★ ─────────────┴────▶ ┌ created
   beat nightly ╌╌╌╌╌╌╌╌╌╌╌╌╌┘                          ┌────▶ │ 1 × 1 prefork
     0 3 * * *                                          │ ┌──▶ └
     shop.report                                        │ │
                                                        │ │
18 shop.order.* ── ord…ated ─┬─▶ ◇ events topic         │ │
19 shop.bill.* ── bill.paid ─┘   ├─ *.c…ated ─▶ created ┘ │
     sending fails: no           └─ order.# ──▶ orders ───┴──▶ ┌ mail
     queue is bound to             dead letters →       ┌────▶ └ 1 × 16 threads
     that key                      graves, not          │        in turn
                                   declared here        │
                                                        │
16 shop.mail.* ──────────────┬─▶ mail ──────────────────┘
17 /shop\.(sms|push)\..+/ ───┤   max_age 30s
   beat often ───────────────┘   dead letters →
     every 1m30s                 dead
     shop.mail.flush

                                 dead ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▶   graveyard
                                 unread without its              1 × 1 prefork
                                 profile                         with --profile
                                                                 full
                                 lonely ─✗
                                 no pool reads it

20 router shop.rou…ng.Router ╌╌╌▶ decides when a task is sent
21 router celeryfl…namespace ╌╌╌▶ the queue that the task's name begins with

15: line of fleet.yaml, the first match wins   p9: priority, 9 runs first
◇ exchange   ★ default queue   2 × 4: workers × tasks at once in each
""".lstrip("\n")


ARROWS_80 = """\
12 acme.shop.orders.* ─────────▶ orders ───────────────────────▶   a
13 acme.…create ── ord….new ───▶ ◇ ev topic                        1 × 1 prefork
                                 └─ ord….new ─▶ order…things ─1▶ ┌ b
14 acme.very.l…at.is.long.* ───▶ st7-default ─────────────────2▶ └ 1 × 1 prefork
   any other task ─────────────▶ st7-very-long-segfault ★ ─────▶   c
"""


def test_an_arrow_is_shortened_before_the_name_beside_it() -> None:
    assert ARROWS_80 in drawn(
        """app: acme


queues:
  orders: {}
  order-new-things: {exchange: {name: ev, type: topic}, routing_key: order.new}
  st7-default: {}
  st7-very-long-segfault: {}
default_queue: st7-very-long-segfault

routes:
  - {task: "acme.shop.orders.*", queue: orders}
  - {task: "acme.shop.orderss.create", exchange: ev, routing_key: order.new}
  - {task: "acme.very.long.module.name.of.tasks.that.is.long.*", queue: st7-default}
pools:
  a: {queues: [orders]}
  b: {queues: [order-new-things, st7-default]}
  c: {queues: [st7-very-long-segfault]}
""",
        80,
    )


def test_a_narrow_terminal_shortens_patterns_first_and_names_last() -> None:
    assert drawn(SHOP, 80) == SHOP_80


SHOP_50 = r"""
shop: 8 routes, 7 queues, 4 pools with 4 workers

QUEUES
video
  max_priority 10 · max_length 5,000
  ← 15 shop.video.encode p9
  ← 22 shop.v*
default ★
  ← any other task
  ← beat nightly
    0 3 * * *
    shop.report
◇ events topic
  ← 18 shop.order.* ─ order.created
  ← 19 shop.bill.* ─ bill.paid
    sending fails: no queue is
    bound to that key
created ◇ *.created
orders ◇ order.#
  dead letters → graves, not declared here
mail
  max_age 30s · dead letters → dead
  ← 16 shop.mail.*
  ← 17 /shop\.(sms|push)\..+/
  ← beat often
    every 1m30s
    shop.mail.flush
dead
  unread without its profile
lonely
  no pool reads it
  ← 20 router shop.routing.Router
    decides when a task is sent
  ← 21 router celeryfleet.routers.namespace
    any of the queues

POOLS
web  2 × 4 prefork
  ─ video
  ─ default
mail  1 × 16 threads
  in turn
  ─ mail
  ─ orders
created  1 × 1 prefork
  ─ created
  ─ orders
  ─ default
graveyard  1 × 1 prefork
  with --profile full
  ─ dead
""".lstrip("\n")


def test_a_terminal_too_narrow_for_lines_gets_a_list() -> None:
    assert drawn(SHOP, 50) == SHOP_50


DEMO_LIVE = """\
demo (degraded): 3 routes, 5 queues, 5 pools, 6 of 8 workers ready

   ROUTES                    QUEUES                             POOLS
19 tasks.datasource.* ─────▶ datasource ────────────────────▶   datasource
                             0 ready · 1 consumer               1 × 1 prefork · 1/1 ready

20 tasks.datahandle.* ─────▶ datahandling ──────────────────▶   datahandling
                             3 ready · 1 unacked                2 × 1 prefork · 1/2 ready
                             oldest 4s · 1 consumer

21 tasks.notification.* ───▶ notification ──────────────────▶   notification
                             1,234 ready · 8 unacked            3 × 1 prefork · 3/3 ready
                             oldest 1m41s · 3 consumers
                             max_age 30s

   any other task ─────────▶ default ★ ─────────────────┬───▶   default
                             2 ready · oldest 1s        │       1 × 2 prefork · 1/1 ready
                             paused                     └──2▶ ┌ low
                                                        ┌──1▶ └ 1 × 1 prefork · 0/1 ready
                             low ───────────────────────┘
                             7 ready · oldest 1h02m
                             no consumer

19: line of fleet.yaml, the first match wins   ★ default queue
1▶ 2▶ order in which a pool reads   2 × 4: workers × tasks at once in each
"""


def test_live_numbers_stand_below_the_names() -> None:
    assert as_text(draw(demo_live(), 90)) == DEMO_LIVE


def test_colours_tell_what_is_wrong() -> None:
    spans = [span for line in draw(demo_live()) for span in line]
    for span in (
        ("datasource", GREEN),
        ("oldest 1m41s", AMBER),
        ("notification", AMBER),
        ("paused", AMBER),
        ("no consumer", RED),
        ("1/2 ready", AMBER),
        ("0/1 ready", RED),
        ("low", RED),
    ):
        assert span in spans


DEMO_ASCII = """\
demo: 3 routes, 5 queues, 5 pools with 8 workers

   ROUTES                    QUEUES               POOLS
19 tasks.datasource.* -----> datasource ------>   datasource    1 x 1 prefork

20 tasks.datahandle.* -----> datahandling ---->   datahandling  2 x 1 prefork

21 tasks.notification.* ---> notification ---->   notification  3 x 1 prefork
                             max_age 30s

   any other task ---------> default * ---+--->   default       1 x 2 prefork
                                          +--2> + low           1 x 1 prefork
                             low ------------1> +

19: line of fleet.yaml, the first match wins   * default queue
1> 2> order in which a pool reads   2 x 4: workers x tasks at once in each
"""


def test_a_terminal_without_lines_is_drawn_on_with_ascii() -> None:
    found = as_text(draw(topology(DEMO), 80, ascii_only=True))
    assert found.isascii()
    assert found == DEMO_ASCII


@pytest.mark.parametrize("width", [20, 50, 72, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = "a.task.whose.name.was.chosen.by.a.committee.of.its.callers.*"
    wordy = {
        "routes": [{"task": long, "queue": "default"}, {"regex": f"{long}|{long}", "queue": "video"}],
        "pools": {"a-pool-with-a-long-name-of-its-own": {"queues": ["default", "video"]}},
    }
    fleets = [topology(text) for text in (DEMO, SHOP, fleet_text(**wordy), *([nasty()] if width == 80 else []))]
    for found in (*fleets, demo_live()):
        for line in as_text(draw(found, width)).splitlines():
            assert columns(line) <= width, line


def test_without_a_terminal_nothing_is_cut() -> None:
    long = "a.task.whose.name.was.chosen.by.a.committee.of.its.callers.*" * 3
    assert long in drawn(fleet_text(routes=[{"task": long, "queue": "video"}]))


def test_a_fleet_without_pools_or_routes_is_drawn_too() -> None:
    assert (
        drawn(fleet_text(pools={}))
        == """\
shop: 0 routes, 2 queues, 0 pools with 0 workers

ROUTES              QUEUES
any other task ───▶ default ★ ─✗
                    no pool reads it

                    video ─✗
                    no pool reads it

★ default queue
"""
    )
