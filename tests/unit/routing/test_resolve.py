"""Where a task goes: the rules by tables, and the whole held against Celery's own router."""

from __future__ import annotations

import re
from typing import Any

import kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual.exchange import TopicExchange

from celeryfleet.errors import FleetError
from celeryfleet.plan.build import build
from celeryfleet.routing.match import takes
from celeryfleet.routing.queue import Queue
from celeryfleet.routing.resolve import Decision, PassedOver, Rule, resolve
from celeryfleet.routing.routes import whole
from celeryfleet.routing.table import RoutingTable, wire
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text

SHOP = """
name: shop
app: shop.celery:app
queues:
  default:
  video: {max_priority: 10}
  mail:
  orders: {exchange: {name: events, type: topic}, routing_key: "order.#"}
  created: {exchange: {name: events, type: topic}, routing_key: "*.created"}
default_queue: default
routes:
  - {task: shop.video.encode, queue: video, priority: 9}
  - {task: "shop.mai?", queue: mail}
  - {regex: 'shop\\.(sms|push)', queue: mail}
  - {task: "shop.order.*", exchange: events, routing_key: order.created}
  - {router: shop.routing.Router}
  - {task: "shop.v*", queue: video}
pools:
  web: {queues: [video, default]}
  mail: {queues: [mail, orders]}
"""


def decide(task: str, text: str = SHOP, **more: Any) -> Decision:
    fleet = fleet_of(text)
    return resolve(fleet, build(fleet, FACTS).routing, task, **more)


def test_the_first_route_that_matches_decides_and_says_so() -> None:
    assert decide("shop.video.encode") == Decision(
        task="shop.video.encode",
        queue="video",
        queues=("video",),
        exchange="video",
        exchange_type="direct",
        routing_key="video",
        priority=9,
        wire_priority=0,
        rule=Rule(12, "task: shop.video.encode, queue: video, priority: 9"),
        because="the first route that matches",
        passed_over=(),
        pools=("web",),
        route=0,
    )


def test_the_routes_before_it_are_passed_over_with_a_reason() -> None:
    decision = decide("shop.video.show")
    assert decision.rule == Rule(17, 'task: "shop.v*", queue: video')
    assert decision.passed_over == (
        PassedOver(12, 'the name is not "shop.video.encode"'),
        PassedOver(13, 'the name does not match the glob "shop.mai?"'),
        PassedOver(14, 'the name does not match the regex "shop\\.(sms|push)"'),
        PassedOver(15, 'the name does not match the glob "shop.order.*"'),
        PassedOver(16, "the router shop.routing.Router was not asked"),
    )


def test_the_default_queue_takes_what_no_route_matches() -> None:
    decision = decide("other")
    assert (decision.queue, decision.rule, len(decision.passed_over)) == ("default", None, 6)


def test_an_exchange_decides_by_its_bindings() -> None:
    decision = decide("shop.order.new")
    assert (decision.queue, decision.queues, decision.pools) == (None, ("orders", "created"), ("mail",))
    assert (decision.exchange, decision.exchange_type, decision.routing_key) == ("events", "topic", "order.created")


def test_a_queue_that_is_asked_for_overrides_the_routes() -> None:
    decision = decide("shop.mail", options={"queue": "video", "priority": None})
    assert (decision.queue, decision.rule) == ("video", None)
    assert decision.passed_over[-1] == PassedOver(13, 'it matches, but the queue "video" was asked for')


def test_an_unknown_queue_is_an_error_with_a_guess() -> None:
    with pytest.raises(FleetError, match=r'the queue "vidoe" is unknown\. Did you mean "video"\?'):
        decide("shop.mail", options={"queue": "vidoe"})


@pytest.mark.parametrize("answer", ["video", {"queue": "video", "priority": 0}])
def test_a_router_is_asked_in_its_turn(answer: Any) -> None:
    asked: list[Any] = []

    def router(task: str, args: Any, kwargs: Any) -> Any:
        asked.append((task, args, kwargs))
        return answer

    decision = decide("other", args=(1,), kwargs={"a": 2}, routers={"shop.routing.Router": router})
    assert asked == [("other", (1,), {"a": 2})]
    assert (decision.queue, decision.rule) == ("video", Rule(16, "router: shop.routing.Router"))
    assert decision.priority == (9 if isinstance(answer, dict) else None)


def test_a_router_that_says_nothing_is_passed_over() -> None:
    decision = decide("shop.vx", routers={"shop.routing.Router": lambda *_: None})
    assert decision.passed_over[-1] == PassedOver(16, "the router shop.routing.Router returned None")
    assert decision.queue == "video"


class TestPriority:
    @pytest.mark.parametrize(("priority", "number"), [(9, 0), (0, 9), (5, 4), (255, 0), (None, None)])
    def test_nine_runs_first_on_redis_where_zero_is_the_highest(self, priority: int | None, number: int | None) -> None:
        assert wire("redis", priority) == number

    def test_rabbitmq_gets_it_as_written(self) -> None:
        assert wire("amqp", 9) == 9

    def test_a_task_without_one_runs_last_where_others_have_one(self) -> None:
        """On Redis no priority is 0, the highest: it would run among the 9s."""
        decision = decide("shop.video.show")
        assert (decision.priority, decision.wire_priority) == (None, 9)
        assert decide("shop.mail").wire_priority == 9

    def test_nor_does_one_that_no_route_matches_and_that_is_sent_to_a_queue(self) -> None:
        decision = decide("other", options={"queue": "video"})
        assert (decision.queue, decision.rule, decision.wire_priority) == ("video", None, 9)

    def test_a_router_that_gives_none_is_no_exception(self) -> None:
        decision = decide("other", routers={"shop.routing.Router": lambda *_: "video"})
        assert (decision.priority, decision.wire_priority) == (None, 9)

    def test_rabbitmq_has_the_lowest_for_none(self) -> None:
        text = SHOP.replace("app: shop.celery:app", "app: shop.celery:app\nbroker: amqp://host")
        assert decide("shop.video.show", text).wire_priority is None

    def test_the_default_queue_is_no_exception(self) -> None:
        text = fleet_text(queues={"default": {"max_priority": 10}}, pools={})
        assert (decide("other", text).wire_priority, decide("other", text).rule) == (9, None)

    def test_the_priority_that_is_asked_for_is_inverted_too(self) -> None:
        decision = decide("shop.video.show", options={"priority": 7})
        assert (decision.priority, decision.wire_priority) == (7, 2)


@pytest.mark.parametrize(
    ("regex", "name", "expected"),
    [
        ("a|ab", "ab", True),
        ("a", "ab", False),
        ("(?i)shop", "SHOP", True),
        ("(?x) shop # the shop", "shop", True),
        ("(?x) shop # the shop", "shops", False),
        ("shop$", "shop\n", False),
    ],
)
def test_a_regex_means_the_whole_name(regex: str, name: str, expected: bool) -> None:
    assert bool(re.compile(whole(regex)).match(name)) is expected


class TestOwn:
    """What a task's own code says goes before the routes, and after the call."""

    def test_its_queue_decides_and_the_route_that_matches_is_passed_over(self) -> None:
        decision = decide("shop.mail", own={"queue": "video", "priority": 3, "serializer": "json"})
        assert (decision.queue, decision.rule) == ("video", None)
        assert (decision.priority, decision.wire_priority) == (6, 3)
        assert decision.because == 'the task\'s own code says queue="video", priority=3'
        why = 'it matches, but the queue "video" in the task\'s own code goes before it'
        assert decision.passed_over[-1] == PassedOver(13, why)

    def test_the_call_goes_before_it(self) -> None:
        decision = decide("shop.mail", own={"queue": "video"}, options={"queue": "mail", "priority": 1})
        assert (decision.queue, decision.because) == ("mail", 'the call says queue="mail", priority=1')

    def test_a_priority_alone_leaves_the_route_its_queue(self) -> None:
        decision = decide("shop.mail", own={"priority": 0})
        assert (decision.queue, decision.wire_priority, decision.rule) == ("mail", 0, Rule(13, SHOP_MAIL))
        assert decision.because == "the first route that matches; the task's own code says priority=0"

    def test_an_unknown_queue_in_it_is_said_to_be_its(self) -> None:
        with pytest.raises(FleetError, match=r'"vidoe", which the task\'s own code names, is unknown\. Did you mean'):
            decide("shop.mail", own={"queue": "vidoe"})

    def test_celerys_own_queue_object_stands_for_what_it_declares(self) -> None:
        queue = kombu.Queue("elsewhere", kombu.Exchange("far", type="topic"), routing_key="a.#")
        decision = decide("shop.mail", own={"queue": queue})
        assert (decision.queue, decision.exchange, decision.pools) == ("elsewhere", "far", ())


SHOP_MAIL = 'task: "shop.mai?", queue: mail'


class TestExchangesOfCalls:
    def test_a_queue_that_is_asked_for_replaces_a_topic_exchange_and_its_key(self) -> None:
        decision = decide("shop.order.new", options={"queue": "mail"})
        assert (decision.queue, decision.rule, decision.routing_key) == ("mail", None, "mail")

    def test_but_celery_lets_a_direct_exchange_go_before_it(self) -> None:
        queue = {"exchange": "bulk", "routing_key": "k"}
        routes = [{"task": "a", "exchange": "bulk", "routing_key": "k"}]
        text = fleet_text(queues={"default": {}, "one": queue, "two": queue}, routes=routes, pools={})
        decision = decide("a", text, options={"queue": "default"})
        assert (decision.queues, decision.rule) == (("one", "two"), Rule(1, routes_text(routes[0])))
        assert decision.because == 'the first route that matches; the call says queue="default"'

    def test_an_exchange_and_a_key_are_followed(self) -> None:
        decision = decide("other", options={"exchange": "events", "routing_key": "a.created"})
        assert (decision.queue, decision.queues, decision.rule) == (None, ("created",), None)


def routes_text(route: dict[str, str]) -> str:
    return ", ".join(f'{key}: "{value}"' for key, value in route.items())


class TestNamespace:
    TEXT = fleet_text(
        queues={"default": {}, "mail": {}, "a.b*": {}, "in:out": {}},
        routes=[{"router": "celeryfleet.routers.namespace"}, {"task": "*.late", "queue": "mail"}],
        pools={},
    )

    @pytest.mark.parametrize(
        ("task", "queue", "why"),
        [
            ("mail:welcome", "mail", ""),
            ("mail:a:b", "mail", ""),
            ("mail:", "mail", ""),
            ("a.b*:x\ny", "a.b*", ""),
            ("aXb:x", "default", 'no queue is called "aXb", as the name begins'),
            ("in:out:x", "default", 'no queue is called "in", as the name begins'),
            (":x", "default", "nothing is before the name's colon"),
            ("plain", "default", "the name has no colon"),
            ("so.late", "mail", "the name has no colon"),
            ("MAIL:x", "default", 'no queue is called "MAIL", as the name begins'),
        ],
    )
    def test_what_stands_before_the_first_colon_names_a_declared_queue(self, task: str, queue: str, why: str) -> None:
        decision = decide(task, self.TEXT)
        assert decision.queue == queue
        assert [one.why for one in decision.passed_over[:1]] == ([why] if why else [])

    def test_the_routes_after_it_keep_their_lines(self) -> None:
        text = SHOP.replace(
            "  - {task: shop.video", "  - {router: celeryfleet.routers.namespace}\n  - {task: shop.video"
        )
        assert decide("shop.mail", text).rule == Rule(14, SHOP_MAIL)
        assert decide("mail:x", text).rule == Rule(12, "router: celeryfleet.routers.namespace")


class TestRouters:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ("ghost", r'the queue "ghost", which the router shop.routing.Router names, is unknown'),
            (5, r'the router "shop.routing.Router" returned 5 for other\. A router returns the name of a queue'),
            ({"priority": "high"}, r'the router "shop.routing.Router" returned {.priority.: .high.} for other\.'),
        ],
    )
    def test_a_wrong_answer_is_told_of_with_its_line(self, answer: Any, error: str) -> None:
        with pytest.raises(FleetError, match=rf"^/srv/shop/fleet\.yaml:16:6: {error}"):
            decide("other", routers={"shop.routing.Router": lambda *_: answer})

    def test_an_empty_answer_is_the_default_queue_and_ends_the_search(self) -> None:
        decision = decide("shop.vx", routers={"shop.routing.Router": lambda *_: {}})
        assert (decision.queue, decision.rule) == ("default", Rule(16, "router: shop.routing.Router"))

    def test_an_unknown_queue_is_made_where_the_fleet_lets_celery_make_them(self) -> None:
        text = fleet_text(celery={"task_create_missing_queues": True})
        assert decide("x", text, options={"queue": "new"}).queues == ("new",)


# --- Held against kombu -----------------------------------------------------------------------------------

names = st.lists(st.sampled_from(["a", "b", "ab", "shop", "x1", ""]), min_size=1, max_size=3).map(".".join)
keys = st.lists(st.sampled_from(["a", "b", "*", "#", "é-1", "a*"]), min_size=1, max_size=4).map(".".join)


@given(keys, names)
def test_on_redis_a_topic_exchange_binds_as_kombu_does(binding: str, key: str) -> None:
    by_kombu = re.match(TopicExchange(None).key_to_pattern(binding), key) is not None
    assert takes("topic", binding, key, "redis") == by_kombu


@pytest.mark.parametrize(("binding", "key"), [("order.#", "order"), ("#.new", "new"), ("a.#.b", "a.b"), ("a.*", "a.")])
def test_rabbitmq_binds_nothing_and_an_empty_word_too(binding: str, key: str) -> None:
    queues = (Queue("q", "events", "topic", binding),)
    on_rabbitmq, on_redis = RoutingTable(queues, "amqp"), RoutingTable(queues, "redis")
    assert (on_rabbitmq.reached("events", key), on_redis.reached("events", key)) == (("q",), ())
