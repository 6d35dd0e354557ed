"""Where a task goes: the rules by tables, and the whole held against Celery's own router."""

from __future__ import annotations

import re
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual.exchange import TopicExchange

from celeryfleet.app import apply
from celeryfleet.errors import FleetError
from celeryfleet.plan.build import build
from celeryfleet.plan.config import as_python
from celeryfleet.plan.routing import Decision, PassedOver, Rule, bound, resolve, whole, wire
from celeryfleet.plan.values import QueuePlan
from tests.plan.fleets import FACTS, fleet_of, fleet_text

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
    return resolve(fleet, build(fleet, FACTS), task, **more)


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
        passed_over=(),
        pools=("web",),
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
        assert decide("shop.mail").wire_priority is None

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


# --- Held against Celery and kombu ------------------------------------------------------------------------

QUEUES = ("default", "video", "mail")
names = st.lists(st.sampled_from(["a", "b", "ab", "shop", "x1"]), min_size=1, max_size=3).map(".".join)
globs = st.lists(
    st.sampled_from(["a", "b", "ab", ".", "*", "?", "[ab]", "[!a]", "[", "shop"]), min_size=1, max_size=5
).map("".join)
regexes = st.sampled_from(["a", "a.*", "(a|ab)", "(?i)SHOP.*", "[ab]+", "shop\\..+", ".*b", "a|ab\\.a"])
targets = st.fixed_dictionaries(
    {"queue": st.sampled_from(QUEUES)}, optional={"priority": st.integers(0, 9), "routing_key": names}
)
routes = st.lists(
    st.builds(
        lambda pattern, target: {**pattern, **target},
        st.one_of(
            names.map(lambda task: {"task": task}),
            globs.map(lambda task: {"task": task}),
            regexes.map(lambda regex: {"regex": regex}),
        ),
        targets,
    ),
    max_size=6,
)
options = st.fixed_dictionaries({}, optional={"queue": st.sampled_from(QUEUES)})


@given(routes, names, options)
def test_celery_itself_agrees_on_queue_and_priority(routes: Any, task: str, options: dict[str, Any]) -> None:
    fleet = fleet_of(fleet_text(queues={queue: {} for queue in QUEUES}, routes=routes, pools={}))
    plan = build(fleet, FACTS)
    app = Celery("fresh", set_as_current=False)
    apply(app, plan.settings)
    sent = app.amqp.router.route(dict(options), task)
    decision = resolve(fleet, plan, task, options=options)
    assert (sent["queue"].name, sent.get("priority")) == (decision.queue, decision.wire_priority)


@given(routes, names)
def test_the_python_configuration_alone_routes_the_same(routes: Any, task: str) -> None:
    fleet = fleet_of(fleet_text(queues={queue: {} for queue in QUEUES}, routes=routes, pools={}))
    plan = build(fleet, FACTS)
    module: dict[str, Any] = {}
    exec(as_python(plan), module)
    app = Celery("fresh", set_as_current=False)
    app.conf.task_routes = module["task_routes"]
    app.conf.task_default_queue = "default"
    sent = app.amqp.router.route({}, task)
    decision = resolve(fleet, plan, task)
    assert (sent["queue"].name, sent.get("priority")) == (decision.queue, decision.wire_priority)


keys = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=4).map(".".join)


@given(keys, names)
def test_kombu_agrees_on_what_a_topic_exchange_binds(binding: str, key: str) -> None:
    """But for `#` as nothing, which kombu's Redis transport does not match and RabbitMQ does."""
    exchange = TopicExchange(None)
    pattern = exchange.key_to_pattern(binding)
    kombu = re.match(pattern, key) is not None
    ours = bool(bound([QueuePlan("q", "events", "topic", binding)], "events", "topic", key))
    if "#" not in binding:
        assert ours == kombu
    assert ours or not kombu
