"""`route` held against Celery's own router and against what the brokers do, for random fleets, names and calls."""

from __future__ import annotations

import contextlib
import json
import types
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from amqp.exceptions import AMQPError
from celery import Celery
from celery.exceptions import CDeprecationWarning
from celery.signals import before_task_publish
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from celeryfleet.app import apply
from celeryfleet.app.routers import askers
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.plan.build import build
from celeryfleet.plan.config import as_python
from celeryfleet.plan.values import Plan
from celeryfleet.routing.resolve import Decision, resolve
from celeryfleet.routing.table import wire
from tests.fakes import forget_pools
from tests.machine_services import Rabbit, rabbit
from tests.servers import redis_server
from tests.unit.plan.fleets import FACTS, fleet_of
from tests.unit.routing import answering
from tests.unit.routing.routed_fleets import Case, cases

SEP = "\x06\x16"
ALL = ("direct", "topic", "fanout", "headers")
#: no shrinking: with real messages it would take minutes
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
slow = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), phases=_PHASES)


def planned(case: Case, broker: str) -> tuple[Fleet, Plan]:
    """Read and plan a fleet, and have the routers answer what its case says."""
    answering.ANSWERS.clear()
    answering.ANSWERS.update(case.answers)
    fleet = fleet_of(case.text(broker))
    return fleet, build(fleet, FACTS)


def decisions(fleet: Fleet, plan: Plan, case: Case) -> list[Decision]:
    """Ask `route` about each send of a case."""
    routers = askers(fleet)
    return [resolve(fleet, plan.routing, task, (), {}, options, routers, own) for task, options, own in case.sends]


def send(app: Celery, plan: Plan, task: str, options: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Send as a producer does: with its own options, priorities as on the wire, over those of the task's code."""

    def work() -> None: ...

    app.tasks.pop(task, None)
    if own:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CDeprecationWarning)  # Celery 6 will want routes instead
            app.task(name=task, shared=False, **own)(work)
            app.finalize()
    given_ = dict(options)
    if "priority" in given_:
        given_["priority"] = wire(plan.broker.transport, given_["priority"])
    found = str(uuid.uuid4())
    app.send_task(task, task_id=found, ignore_result=True, **given_)
    return found


@contextlib.contextmanager
def published() -> Iterator[list[tuple[str, str, Any, Mapping[str, Any]]]]:
    """Collect (exchange, routing key, priority, headers) of what Celery publishes."""
    found: list[tuple[str, str, Any, Mapping[str, Any]]] = []

    def collect(
        exchange: Any, routing_key: str, properties: Mapping[str, Any], headers: Mapping[str, Any], **_: Any
    ) -> None:
        found.append((getattr(exchange, "name", exchange), routing_key or "", properties.get("priority"), headers))

    before_task_publish.connect(collect)
    try:
        yield found
    finally:
        before_task_publish.disconnect(collect)


def agrees(decision: Decision, sent: tuple[str, str, Any, Mapping[str, Any]]) -> bool:
    """Tell whether a message went where `route` says; to a direct queue Celery sends by the nameless exchange."""
    exchange, key, priority, headers = sent
    if {name: headers.get(name) for name in ("kind", "size", "é x") if name in headers} != decision.headers:
        return False
    if exchange == "":
        place = decision.queues == ((key,) if key else ())
    else:
        place = (exchange, key) == (decision.exchange, decision.routing_key)
    return place and priority == decision.wire_priority


# --- Celery's own router ----------------------------------------------------------------------------------


def in_memory(app: Celery) -> Celery:
    app.conf.update(broker_url="memory://", result_backend="disabled://", broker_transport_options={})
    return app


def from_plan(plan: Plan) -> Celery:
    app = Celery("fresh", set_as_current=False)
    apply(app, plan.settings)
    return in_memory(app)


def from_module(plan: Plan) -> Celery:
    """Configure an app by the module that `config --format python` prints, which knows nothing of celeryfleet."""
    module = types.ModuleType("celeryconfig")
    exec(as_python(plan), module.__dict__)
    app = Celery("fresh", set_as_current=False)
    app.config_from_object(module)
    return in_memory(app)


@pytest.mark.parametrize("make", [from_plan, from_module])
@pytest.mark.parametrize("broker", ["redis://host", "amqp://host"])
@given(data=st.data())
@settings(deadline=None, max_examples=40, phases=_PHASES)
def test_celery_sends_to_the_exchange_and_key_that_route_names(make: Any, broker: str, data: st.DataObject) -> None:
    case = data.draw(cases(("direct", "topic"), sends=6))
    fleet, plan = planned(case, broker)
    app = make(plan)
    try:
        with published() as found:
            for task, options, own in case.sends:
                send(app, plan, task, options, own)
        for decision, sent in zip(decisions(fleet, plan, case), found, strict=True):
            assert agrees(decision, sent), (decision, sent)
    finally:
        forget_pools(app)


@given(data=st.data())
@settings(deadline=None, max_examples=40, phases=_PHASES)
def test_where_priorities_are_used_on_redis_nothing_is_sent_without_one(data: st.DataObject) -> None:
    """Guards against None, which is 0 there, and so runs before all that was given a priority."""
    case = data.draw(cases(("direct", "topic")))
    fleet, plan = planned(case, "redis://host")
    written = [*case.keys["queues"].values(), *case.keys["routes"]]
    ranked = any("max_priority" in one or "priority" in one for one in written)
    for decision, (_, options, own) in zip(decisions(fleet, plan, case), case.sends, strict=True):
        assert ranked <= (decision.wire_priority is not None)
        if ranked and decision.priority is None:
            assert decision.wire_priority == 9
        if decision.rule is None and not (options or own):
            assert decision.wire_priority == (9 if ranked else None)


@given(data=st.data())
@settings(deadline=None, max_examples=40, phases=_PHASES)
def test_the_namespace_route_means_the_declared_queue_before_the_first_colon(data: st.DataObject) -> None:
    case = data.draw(cases(("direct", "topic")))
    case.keys["routes"] = [{"router": "celeryfleet.routers.namespace"}]
    fleet, plan = planned(case, "amqp://host")
    for task, _, _ in case.sends:
        queue, colon, _rest = task.partition(":")
        decision = resolve(fleet, plan.routing, task)
        assert (decision.rule is not None) == bool(colon and queue in fleet.queues)
        expected = queue if decision.rule else fleet.default_queue
        assert decision == replace(resolve(fleet, plan.routing, "x", options={"queue": expected}), **common(decision))


def common(decision: Decision) -> dict[str, Any]:
    keys = ("task", "rule", "because", "passed_over", "route")
    return {key: getattr(decision, key) for key in keys}


# --- Redis ------------------------------------------------------------------------------------------------


@given(data=st.data())
@slow
def test_on_redis_a_message_lands_in_just_the_lists_that_route_names(valkey: Any, data: st.DataObject) -> None:
    case = data.draw(cases(("direct", "topic")))
    valkey.flushdb()
    fleet, plan = planned(case, f"redis+socket://{valkey.path}")
    app = Celery("fresh", set_as_current=False)
    apply(app, plan.settings)
    declare(app)
    try:
        ids = [send(app, plan, *one) for one in case.sends]
        lists = {
            (queue.name, step): [
                json.loads(raw)["headers"]["id"] for raw in valkey.lrange(key(queue.name, step), 0, -1)
            ]
            for queue in plan.queues
            for step in plan.broker.steps
        }
    finally:
        forget_pools(app)
    for decision, id_, one in zip(decisions(fleet, plan, case), ids, case.sends, strict=True):
        expected = Counter((queue, decision.wire_priority or 0) for queue in decision.queues)
        assert Counter(place for place, held in lists.items() for other in held if other == id_) == expected, one


def key(queue: str, step: int) -> str:
    return f"{queue}{SEP}{step}" if step else queue


def declare(app: Celery) -> None:
    """Declare all queues, as the workers of a fleet do."""
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()


@pytest.fixture(scope="module")
def valkey() -> Iterator[Any]:
    import redis

    with redis_server() as path, redis.Redis(unix_socket_path=str(path)) as client:
        client.path = path
        yield client


# --- RabbitMQ ---------------------------------------------------------------------------------------------


@given(data=st.data())
@slow
def test_on_rabbitmq_a_message_lands_in_just_the_queues_that_route_names(data: st.DataObject) -> None:
    with rabbit() as broker:
        case = data.draw(cases(ALL, broker.prefix))
        delivered(case, broker)


def delivered(case: Case, broker: Rabbit) -> None:
    fleet, plan = planned(case, broker.url)
    for queue in plan.queues:
        broker.name(queue.name.removeprefix(broker.prefix))
        broker.name(queue.exchange.removeprefix(broker.prefix))
    app = Celery("fresh", set_as_current=False)
    apply(app, plan.settings)
    declare(app)
    try:
        ids = [sent_or_refused(app, plan, *one) for one in case.sends]
        held = {queue.name: taken(app, queue.name) for queue in plan.queues}
    finally:
        forget_pools(app)
    for decision, id_, one in zip(decisions(fleet, plan, case), ids, case.sends, strict=True):
        note(f"{one}: {decision}")
        assert (id_ is None) == (not decision.queues), "what no queue gets is an error of the producer"
        expected = Counter((queue, decision.wire_priority or 0) for queue in decision.queues)
        found = Counter(
            (queue, priority) for queue, messages in held.items() for other, priority in messages if other == id_
        )
        assert found == expected


def sent_or_refused(app: Celery, plan: Plan, *one: Any) -> str | None:
    try:
        return send(app, plan, *one)
    except AMQPError:
        return None


def taken(app: Celery, queue: str) -> list[tuple[str, int]]:
    """Take all messages from a queue; return their ids and priorities."""
    found = []
    with app.connection_for_read() as connection:
        while message := connection.default_channel.basic_get(queue, no_ack=True):
            found.append((message.headers["id"], message.properties.get("priority") or 0))
    return found
