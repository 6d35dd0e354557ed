"""Reports and requests of hosts on a real Redis and a real RabbitMQ: who reads them, who answers, what is refused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from celeryfleet.client.broker import opened
from celeryfleet.client.rabbit_hosts import RabbitHosts
from celeryfleet.hosts.messages import ASKED, SILENT, GetReport, HostTrouble, Known
from celeryfleet.hosts.redis import RedisHosts
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Done, Mark, Scale
from celeryfleet.redis_client import connect
from celeryfleet.supervise.hosts import _serve
from tests.fakes import eventually
from tests.machine_services import rabbit
from tests.servers import redis_server
from tests.unit.hosts.test_seen import report
from tests.unit.plan.fleets import FACTS, fleet_of

FLEET = (
    "{name: NAME, queues: {default: }, broker: 'URL', hosts: {a: [web], b: [web]}, pools: {web: {queues: [default]}}}"
)


def planned(name: str, url: str) -> Plan:
    from celeryfleet.plan.build import build

    return build(fleet_of(FLEET.replace("NAME", name).replace("URL", url)), replace(FACTS, host="a"))


@pytest.fixture(params=["redis", "rabbit"])
def plan(request: pytest.FixtureRequest) -> Iterator[Plan]:
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            yield planned("shop", f"redis+socket://{stack.enter_context(redis_server())}")
            return
        found = stack.enter_context(rabbit())
        yield planned(found.fleet, found.url)


def hosts_of(plan: Plan) -> Any:
    return RedisHosts(plan, 5.0) if plan.broker.transport == "redis" else RabbitHosts(plan)


@contextlib.contextmanager
def many(plan: Plan, count: int) -> Iterator[list[Any]]:
    found = [hosts_of(plan) for _ in range(count)]
    yield found
    for host in "ab":
        found[0].withdraw(host)
    for one in found:
        one.close()


def put(plan: Plan, host: Any, request: bytes) -> None:
    """Ask host b as a stranger might who may write to the broker."""
    if plan.broker.transport == "redis":
        with connect(plan.broker.url) as redis:
            redis.call("RPUSH", f"celeryfleet:{plan.fleet}:asked:b", request)
        return
    with opened(plan.broker.url) as connection, connection.channel() as channel:
        words = {"reply_to": "amq.rabbitmq.reply-to.x"}
        message = channel.prepare_message(request.partition(b" ")[2] or request, properties=words)
        channel.basic_publish(message, "", host._asked)


def test_a_report_is_there_for_all_until_its_host_takes_leave(plan: Plan) -> None:
    with many(plan, 3) as (a, b, other):
        a.leave("a", report("a", "web"))
        b.leave("b", report("b", "web", "degraded"))
        for _ in range(2):
            found = other.read(plan.hosts)
            assert {name: one.status.state for name, (one, _) in found.items()} == {"a": "ready", "b": "degraded"}
        b.withdraw("b")
        assert list(other.read(plan.hosts)) == ["a"]
        if plan.broker.transport == "redis":
            assert 0 <= other.read(())["a"][1] < 3  # seconds, by the server's clock


class Supervisor:
    """Is asked by what connects it with other hosts."""

    def __init__(self) -> None:
        self.told: list[HostTrouble] = []

    def ask(self, request: Any, _: Any) -> Any:
        """Answer."""
        if isinstance(request, HostTrouble):
            self.told.append(request)
        return report("a", "web") if isinstance(request, GetReport) else Done()


def test_two_hosts_of_one_name_are_told_of_as_long_as_there_are_two(plan: Plan) -> None:
    """After a cut network nothing but the next `up` told."""
    with many(plan, 2) as (a, twin), ThreadPoolExecutor() as pool, contextlib.ExitStack() as end:
        supervisor, over, other = Supervisor(), threading.Event(), report("a", "web").but(owner="x", place="far:/srv")
        end.callback(over.set)
        twin.leave("a", other)  # it may have died
        loop = pool.submit(_serve, cast(Any, supervisor), "a", a, over)
        eventually(lambda: supervisor.told == [HostTrouble("", True)])
        eventually(lambda: twin.leave("a", other) and len(supervisor.told) > 1)
        eventually(lambda: supervisor.told[-1] == HostTrouble("", True))
        end.close()
        loop.result()
    told = "far:/srv is host a, too: give one of the two another name, with `up --host NAME`."
    assert supervisor.told == [HostTrouble("", True), HostTrouble(told, True), HostTrouble("", True)]


@pytest.mark.parametrize("hour", [-3600, 3600])
def test_a_host_whose_clock_is_wrong_is_silent_when_it_is(plan: Plan, hour: int) -> None:
    """By the clocks of a RabbitMQ's machines one an hour ahead seemed to report after its death, one behind never."""
    with many(plan, 2) as (a, other):
        for _ in range(2):
            a.leave("a", report("a", "web").but(at=time.time() + hour))
        assert other.read(plan.hosts)["a"][1] <= SILENT
        if plan.broker.transport == "amqp":  # a Redis counts itself
            eventually(lambda: other.read(plan.hosts)["a"][1] > SILENT, timeout=3 * SILENT)


def test_what_is_paused_is_there_for_all_hosts_and_stays_when_all_are_gone(plan: Plan) -> None:
    first, second = Mark("default", 1, True, "ada on a", 1.0), Mark("default", 2, False, "bob on b", 2.0)
    with many(plan, 2) as (a, b):
        for host, one in (("a", a), ("b", b)):
            one.leave(host, report(host, "web"))
        assert a.marks() == b.marks() == ()
        a.share((first,))
        for one in (b, a, b):
            eventually(lambda one=one: one.marks() == (first,))  # type: ignore[misc]
        b.share((second,))
        eventually(lambda: a.marks() == (second,))
    with many(plan, 1) as (later,):
        later.leave("a", report("a", "web"))
        eventually(lambda: later.marks() == (second,))


def test_a_host_answers_and_one_that_is_gone_does_not(plan: Plan) -> None:
    with many(plan, 2) as (b, other), ThreadPoolExecutor() as pool:
        b.leave("b", report("b", "web"))
        for request, answer in (
            (Scale({"web": 2}), Done()),
            (GetReport(True), report("b", "web")),
            (GetReport(), Known(())),
        ):
            asked = pool.submit(other.ask, "b", request, 10.0)
            asker, found = b.take("b", 10)
            assert found == request
            b.reply(asker, answer)
            assert asked.result() == answer
        assert b.take("b", 1) is None
        assert other.ask("a", GetReport(), 1.0) is None
        if plan.broker.transport == "redis":
            assert b.take("a", 1) is None  # the request went with whoever asked it


def test_no_host_seems_silent_because_another_looks_too() -> None:
    """On RabbitMQ a report that another reader had in its hands was as none: 15 % of looks with three readers."""
    with rabbit() as found, ThreadPoolExecutor() as pool:
        plan = planned(found.fleet, found.url)
        with many(plan, 2) as (a, reader), opened(plan.broker.url) as connection, connection.channel() as channel:
            a.leave("a", report("a", "web"))
            for _ in range(50):
                held = eventually(lambda: channel.basic_get(f"celeryfleet.{plan.fleet}.report.a"))
                look = pool.submit(reader.read, ["a"])
                channel.basic_reject(held.delivery_tag, requeue=True)
                assert look.result()["a"][1] <= SILENT


@pytest.mark.parametrize("request_", [b"", b"no JSON", b'{"t": "stop"}', b"[" * 5000, b" " * ASKED + b"{}"])
def test_what_another_host_may_not_ask_is_not_taken(plan: Plan, request_: bytes) -> None:
    with many(plan, 1) as (b,):
        b.leave("b", report("b", "web"))
        for asker in (b"0" * 32, b"../other"):
            put(plan, b, asker + b" " + request_)
            with pytest.raises(ValueError, match=r"."):
                b.take("b", 5)
        put(plan, b, b"")
        with pytest.raises(ValueError, match=r"."):
            b.take("b", 5)
        b.leave("b", report("b", "web"))  # and it goes on


def test_an_answer_that_comes_too_late_is_none_to_the_next_request(plan: Plan) -> None:
    with many(plan, 2) as (b, other), ThreadPoolExecutor() as pool:
        b.leave("b", report("b", "web"))
        asked = pool.submit(other.ask, "b", GetReport(), 1.0)
        late, _ = b.take("b", 10)
        assert asked.result() is None
        b.reply(late, Known(()))
        asked = pool.submit(other.ask, "b", Scale({"web": 2}), 10.0)
        asker, _ = b.take("b", 10)
        b.reply(asker, Done())
        assert asked.result() == Done()
