"""Who takes a message, and when it begins: as the workers do it on Redis and on RabbitMQ."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import pytest

from celeryfleet.plan.values import AutoscalePolicy, PoolPlan
from celeryfleet.simulate.engine import Outcome, Simulation, Stream
from tests.unit.supervise.histories import pool

IN_ORDER = {"queue_order_strategy": "priority"}


def reader(*queues: str, order: bool = True, ahead: int = 1, **changes: object) -> PoolPlan:
    options = {"broker_transport_options": IN_ORDER if order else {}, "worker_prefetch_multiplier": ahead}
    return pool("web", queues=queues, conf={**options, "worker_concurrency": 1}, **changes)  # type: ignore[arg-type]


def stream(queue: str, seconds: float = 1.0, **changes: object) -> Stream:
    return Stream(queue, partial(float, seconds), **changes)  # type: ignore[arg-type]


def run(pools: list[PoolPlan], streams: list[Stream], *sent: tuple[float, int], pushes: bool = False) -> Outcome:
    return Simulation(pools, streams, Random(1), pushes).run(sent)


@pytest.mark.parametrize(("late", "urgent_waits"), [(True, 0.5), (False, 1.5)])
def test_what_a_worker_has_taken_ahead_cannot_be_overtaken(late: bool, urgent_waits: float) -> None:
    streams = [stream("a", late=late), stream("a", late=late, priority=9)]
    found = run([reader("a")], streams, (0.0, 0), (0.0, 0), (0.0, 0), (1.5, 1))
    assert found.waits[1] == [urgent_waits]


def test_a_strict_order_leaves_the_last_queue_until_the_others_are_empty() -> None:
    sent = [(0.0, 0), *[(0.1, 1)] * 2, *[(0.1, 0)] * 4]
    streams = [stream("high", late=True), stream("low", late=True)]
    strict = run([reader("high", "low")], streams, *sent)
    turns = run([reader("high", "low", order=False)], streams, *sent)
    assert [round(wait, 6) for wait in strict.waits[1]] == [4.9, 5.9]
    assert [round(wait, 6) for wait in turns.waits[1]] == [0.9, 2.9]
    pushed = run([reader("high", "low")], streams, *sent, pushes=True)
    assert min(pushed.waits[1]) < 4  # RabbitMQ knows no order


def test_on_redis_an_idle_worker_goes_first_and_rabbitmq_fills_a_busy_one() -> None:
    pools = [reader("a", replicas=2, ahead=4)]
    streams = [stream("a", 10.0), stream("a", 1.0)]
    sent = [(0.0, 0), (0.1, 1), (1.5, 1), (3.0, 1), (4.5, 1)]
    assert max(run(pools, streams, *sent).waits[1]) == 0.0
    assert max(run(pools, streams, *sent, pushes=True).waits[1]) > 5.0


def test_a_worker_that_is_busy_takes_ahead_what_another_could_soon_begin() -> None:
    """As seen on Redis: one worker slept for 8 s, one for 4, and all that was sent then waited for the first."""
    streams = [stream("a", 8.0), stream("a", 4.0), stream("a", 0.1)]
    sent = [(0.0, 0), (0.0, 1), *[(0.1, 2)] * 4]
    ahead = run([reader("a", replicas=2, ahead=4)], streams, *sent)
    assert min(ahead.waits[2]) == 7.9
    late = run([reader("a", replicas=2)], [stream("a", one.runtime(), late=True) for one in streams], *sent)
    assert max(late.waits[2]) < 4.3


def test_a_pool_helps_with_the_queue_of_another_when_its_own_is_empty() -> None:
    pools = [reader("default"), replace(reader("low", "default", replicas=2), name="low")]
    found = run(pools, [stream("default"), stream("low", 10.0)], *[(0.0, 0)] * 3, (0.5, 1), (0.5, 1), (1.2, 0))
    assert found.waits[0] == [0.0, 0.0, 0.0, 0.0]  # on all three
    assert found.waits[1][0] == 0.5


def test_the_autoscaler_looks_as_long_as_messages_come() -> None:
    """It looked once, at 0, if nothing ran then: no pool was ever scaled in a forecast."""
    scaled = replace(reader("a"), autoscale=AutoscalePolicy(1, 4))
    found = run([scaled], [stream("a")], (5.0, 0), *[(100.0 + number / 20, 0) for number in range(100)])
    assert max(replicas for _, _, replicas in found.sizes) == 4
    assert max(found.waits[0]) < 50


def test_a_backlog_is_gone_when_its_last_message_is_taken() -> None:
    simulation = Simulation([reader("a", replicas=2)], [stream("a", late=True)], Random(1))
    found = simulation.run((), backlog=[10])
    assert found.emptied == {"a": 4.0}
    assert found.ended == [5.0]
