"""What a topology holds: every node, every line, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celeryfleet.render.graph.topology import Edge, EdgeKind, ExchangeNode, Source, SourceKind, Topology
from tests.unit.plan.fleets import fleet_text
from tests.unit.render.graph.shops import DEMO, SHOP, demo_live, topology


def lines(found: Topology) -> list[str]:
    """Write the edges, one a line."""
    return [
        f"{edge.source} {edge.kind} {edge.target}{f' ({edge.label})' if edge.label else ''}"
        f"{' lost' if edge.lost else ''}{'' if edge.active else ' idle'}"
        for edge in found.edges
    ]


def source(found: Topology, name: str) -> Source:
    return next(node for node in found.sources if node.id == name)


def test_every_line_of_a_fleet_is_there() -> None:
    assert lines(topology(SHOP)) == [
        "route:1 sends queue:video",
        "route:2 sends queue:mail",
        "route:3 sends queue:mail",
        "route:4 sends exchange:events (order.created)",
        "route:5 sends exchange:events (bill.paid) lost",
        "route:7 may-send queue:default (default:*)",
        "route:7 may-send queue:video (video:*)",
        "route:7 may-send queue:mail (mail:*)",
        "route:7 may-send queue:orders (orders:*)",
        "route:7 may-send queue:created (created:*)",
        "route:7 may-send queue:dead (dead:*)",
        "route:7 may-send queue:lonely (lonely:*)",
        "route:8 sends queue:video",
        "default sends queue:default",
        "beat:nightly may-send queue:default",
        "beat:often sends queue:mail",
        "exchange:events binds queue:orders (order.#)",
        "exchange:events binds queue:created (*.created)",
        "queue:video reads pool:web",
        "queue:default reads pool:web",
        "queue:mail reads pool:mail",
        "queue:orders reads pool:mail",
        "queue:created reads pool:created",
        "queue:orders reads pool:created",
        "queue:default reads pool:created",
        "queue:dead reads pool:graveyard idle",
        "queue:mail dead-letters queue:dead",
        "queue:orders dead-letters exchange:graves",
    ]


def test_only_exchanges_that_say_something_are_drawn() -> None:
    assert topology(DEMO).exchanges == ()
    assert topology(SHOP).exchanges == (
        ExchangeNode("exchange:events", "events", "topic"),
        ExchangeNode("exchange:graves", "graves", None),
    )


def test_an_exchange_that_celeryfleet_gave_to_a_queue_is_no_news() -> None:
    """A quorum queue makes every exchange of the fleet a topic, so that Celery can delay tasks."""
    text = fleet_text(broker="amqp://localhost", queues={"default": {"type": "quorum"}, "video": {}})
    assert topology(text).exchanges == ()


def test_a_route_says_all_the_queues_that_it_reaches() -> None:
    found = topology(SHOP)
    assert source(found, "route:4").queues == ("orders", "created")
    lost = source(found, "route:5")
    assert (lost.queues, lost.lost, lost.note) == ((), True, "sending fails: no queue is bound to that key")


def test_a_route_says_where_it_is_written() -> None:
    first = source(topology(SHOP), "route:1")
    assert (first.text, first.line, first.priority) == ("shop.video.encode", 15, 9)
    assert first.where == "/srv/shop/fleet.yaml:15:5"
    assert source(topology(SHOP), "route:3").text == r"/shop\.(sms|push)\..+/"


def test_a_router_of_the_user_s_has_no_line_since_it_decides_later() -> None:
    router = source(topology(SHOP), "route:6")
    assert (router.kind, router.note, router.queues) == (SourceKind.ROUTER, "decides when a task is sent", ())


def test_beat_is_sure_only_where_no_router_is_asked_first() -> None:
    def kind(entry: dict[str, Any], routes: list[dict[str, str]]) -> str:
        beat = {"schedule": {"tick": {"task": "a.b", "every": "1m", **entry}}}
        found = topology(fleet_text(routes=routes, beat=beat))
        return next(f"{edge.kind} {edge.target}" for edge in found.edges if edge.source == "beat:tick")

    router, route = {"router": "shop.Router"}, {"task": "a.*", "queue": "video"}
    assert kind({}, []) == "sends queue:default"
    assert kind({}, [router, route]) == "may-send queue:video"
    assert kind({}, [route, router]) == "sends queue:video"
    assert kind({"options": {"queue": "video"}}, [router]) == "sends queue:video"


@pytest.mark.parametrize("catch_all", [{"task": "*", "queue": "video"}, {"regex": ".*", "queue": "video"}])
def test_nothing_is_left_for_the_default_queue_behind_a_route_that_takes_all(catch_all: dict[str, str]) -> None:
    found = topology(fleet_text(routes=[catch_all]))
    assert [node.id for node in found.sources] == ["route:1"]
    assert [queue.default for queue in found.queues] == [True, False]


def test_the_order_in_which_a_pool_reads_is_on_its_lines() -> None:
    def order(**keys: Any) -> list[str]:
        pool = {"queues": ["video", "default"], **keys.pop("pool", {})}
        found = topology(fleet_text(pools={"web": pool}, **keys))
        return [f"{edge.source} {edge.label}" for edge in found.edges_of(EdgeKind.READS)]

    assert order() == ["queue:video 1", "queue:default 2"]
    assert order(pool={"order": "round_robin"}) == ["queue:video ", "queue:default "]
    assert order(broker="amqp://localhost") == ["queue:video ", "queue:default "], "RabbitMQ reads them in turn"


def test_a_pool_of_a_profile_is_drawn_idle_until_it_is_asked_for() -> None:
    def found(*profiles: str) -> tuple[bool, bool, Edge]:
        drawn = topology(SHOP, profiles)
        queue = next(queue for queue in drawn.queues if queue.name == "dead")
        edge = next(edge for edge in drawn.edges if edge.target == "pool:graveyard")
        return queue.unread, bool(queue.pools), edge

    assert found() == (False, False, Edge("queue:dead", "pool:graveyard", EdgeKind.READS, "", active=False))
    assert found("full") == (False, True, Edge("queue:dead", "pool:graveyard", EdgeKind.READS, "", active=True))


def test_a_queue_that_nobody_reads_is_known_as_such() -> None:
    assert [queue.name for queue in topology(SHOP).queues if queue.unread] == ["lonely"]


def test_a_headers_exchange_has_on_its_lines_what_is_given_and_what_is_wanted() -> None:
    on = {"exchange": {"name": "docs", "type": "headers"}}
    queues = {
        "default": {},
        "pdf": {**on, "headers": {"kind": "pdf", "pages": 3, "size": "3"}},
        "any": {**on, "headers": {"x-match": "any", "kind": "pdf", "task": "b"}},
        "all": on,
    }
    routes = [
        {"task": "a", "exchange": "docs", "headers": {"kind": "doc"}},
        {"task": "b", "exchange": "docs"},
    ]
    pools = {"web": {"queues": list(queues)}}
    found = topology(fleet_text(broker="amqp://h", queues=queues, routes=routes, pools=pools))
    assert [line for line in lines(found) if "docs" in line] == [
        "route:1 sends exchange:docs (kind=doc)",
        "route:2 sends exchange:docs",
        'exchange:docs binds queue:pdf (kind=pdf, pages=3, size="3")',
        "exchange:docs binds queue:any (kind=pdf or task=b)",
        "exchange:docs binds queue:all",
    ]
    assert source(found, "route:1").queues == ("all",)
    assert source(found, "route:2").queues == ("pdf", "any", "all"), "the call says which"
    assert found.to_json()["queues"][2]["headers"] == {"x-match": "any", "kind": "pdf", "task": "b"}


def test_what_no_queue_takes_is_an_error_of_the_sender_on_rabbitmq() -> None:
    on = {"exchange": {"name": "docs", "type": "headers"}, "headers": {"kind": "pdf"}}
    routes = [{"task": "a", "exchange": "docs", "headers": {"kind": "doc"}}]
    found = topology(fleet_text(broker="amqp://h", queues={"default": {}, "video": on}, routes=routes))
    assert source(found, "route:1").note == "sending fails: no queue wants those headers"


class TestDeadLetters:
    def drawn(self, broker: str = "amqp://localhost", **arguments: str) -> list[str]:
        queues = {
            "default": {},
            "video": {"arguments": {f"x-dead-letter-{key}": value for key, value in arguments.items()}},
            "dead": {},
        }
        found = topology(fleet_text(broker=broker, queues=queues))
        return [line for line in lines(found) if "dead-letters" in line or "binds" in line]

    def test_lead_to_the_queue_that_gets_them(self) -> None:
        assert self.drawn(exchange="dead", **{"routing-key": "dead"}) == ["queue:video dead-letters queue:dead"]
        assert self.drawn(exchange="", **{"routing-key": "dead"}) == ["queue:video dead-letters queue:dead"]

    def test_are_lost_where_they_keep_a_key_that_no_queue_is_bound_to(self) -> None:
        assert self.drawn(exchange="dead") == [
            "exchange:dead binds queue:dead (dead)",
            "queue:video dead-letters exchange:dead lost",
        ]

    def test_may_go_to_an_exchange_of_somebody_else(self) -> None:
        assert self.drawn(exchange="graves") == ["queue:video dead-letters exchange:graves"]

    def test_go_nowhere_on_redis(self) -> None:
        assert self.drawn(broker="redis://localhost", exchange="dead") == []


def test_the_document_holds_the_whole_and_what_runs() -> None:
    found = json.loads(json.dumps(demo_live().to_json()))
    assert {key: found[key] for key in ("schema_version", "fleet", "state", "exchanges")} == {
        "schema_version": 1,
        "fleet": "demo",
        "state": "degraded",
        "exchanges": [],
    }
    low = found["queues"][-1]
    assert (low["id"], low["pools"], low["ready"], low["oldest_age_s"], low["consumers"]) == (
        "queue:low",
        ["low"],
        7,
        3725.0,
        0,
    )
    pool = found["pools"][-1]
    assert (pool["queues"], pool["order"], pool["want"], pool["ready"]) == (["low", "default"], "strict", 1, 0)
    assert found["edges"][-1] == {
        "from": "queue:default",
        "to": "pool:low",
        "kind": "reads",
        "label": "2",
        "active": True,
        "lost": False,
    }


def test_the_document_of_a_fleet_that_was_not_asked_has_no_numbers() -> None:
    found = topology(DEMO).to_json()
    assert found["state"] is None
    assert {queue["ready"] for queue in found["queues"]} == {None}
    assert {pool["want"] for pool in found["pools"]} == {None}
