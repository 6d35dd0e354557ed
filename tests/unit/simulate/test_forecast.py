"""What is expected of a fleet, and the smallest one that will do."""

from __future__ import annotations

import time

import pytest

from celeryfleet.plan.values import AutoscalePolicy, Plan
from celeryfleet.simulate.forecast import Traffic, forecast
from celeryfleet.simulate.search import Target, by_turns, search, wait
from tests.unit.supervise.histories import plan, pool

STRICT = {"broker_transport_options": {"queue_order_strategy": "priority"}, "worker_prefetch_multiplier": 1}


def fleet(replicas: int = 4, **changes: object) -> Plan:
    return plan(pool("web", queues=("high", "low"), replicas=replicas, conf=STRICT, **changes), pool("mail"))  # type: ignore[arg-type]


def test_a_queue_that_gets_too_much_grows_and_those_before_it_do_not() -> None:
    traffic = [Traffic("high", 10, (0.1,)), Traffic("low", 35, (0.1,), backlog=100), Traffic("mail", 1, (0.5,))]
    high, low, mail = forecast(fleet(), traffic, 1, 10_000)
    assert (high.load, low.load, mail.load) == pytest.approx((1.0, 1.125, 0.5), rel=0.03)
    assert not low.waits
    assert low.growth == pytest.approx(5, rel=0.1)
    assert high.growth == mail.growth == 0
    assert high.waits[95] < 0.5
    assert (high.gone, low.gone, mail.gone) == (0.0, None, 0.0)


@pytest.mark.parametrize(("replicas", "backlog"), [(4, 100_000), (4000, 1_000_000), (40, 30_000)])
def test_a_backlog_goes_as_fast_as_there_is_capacity_to_spare(replicas: int, backlog: int) -> None:
    rate = replicas * 0.8 / 0.1
    (found,) = forecast(fleet(replicas), [Traffic("low", rate, (0.1,), backlog=backlog)])
    assert found.gone == pytest.approx(backlog / (replicas * 0.2 / 0.1), rel=0.1)


def test_the_smallest_number_of_replicas_for_a_target_is_found() -> None:
    traffic = [Traffic("mail", 20, (0.1,))]
    now = forecast(fleet(), traffic)
    found = search(fleet(), now, Target("mail", 95, 0.5))
    assert found is not None
    assert (found.pool.name, found.needed) == ("mail", 3)
    assert found.tried[1] is None
    assert (found.tried[2] or 9) >= 0.5 > (found.tried[3] or 9)
    keeps_up = search(fleet(), now, Target("mail"))
    assert keeps_up is not None
    assert keeps_up.needed == 3  # two would have to work all the time
    assert search(fleet(), now, Target("nobody reads this")) is None


def test_the_same_seed_gives_the_same_answer_and_another_one_almost() -> None:
    traffic = [Traffic("mail", 5, (0.05, 0.1, 0.3))]
    first, again, other = (wait(forecast(fleet(), traffic, seed, 20_000), "mail", 95) for seed in (1, 1, 2))
    assert first == again != other == pytest.approx(first, rel=0.1)


def test_by_turns_the_last_queue_waits_less() -> None:
    traffic = [Traffic("high", 25, (0.1,)), Traffic("low", 7, (0.1,))]
    turns = by_turns(fleet())
    assert turns is not None
    assert by_turns(turns) is None
    strict, even = (wait(forecast(one, traffic, 1, 10_000), "low", 95) or 0.0 for one in (fleet(), turns))
    assert strict > even


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rate", [1 / 60, 1 / 3600])
def test_an_autoscaler_that_has_next_to_nothing_to_do_takes_no_hours(rate: float) -> None:
    """40,000 tasks were simulated whatever their rate, and a look every other second between them."""
    scaled = pool("mail", autoscale=AutoscalePolicy(1, 4))
    (found,) = forecast(plan(scaled), [Traffic("mail", rate, (1.0,))])
    assert found.waits[95] < 5


def test_ten_thousand_workers_with_a_hundred_thousand_tasks_a_second_take_less_than_a_minute() -> None:
    began = time.process_time()
    (found,) = forecast(plan(pool("web", replicas=10_000)), [Traffic("web", 100_000, (0.095,))])
    assert found.load == pytest.approx(0.95, abs=0.01)
    assert found.waits[95] == 0.0  # with so many, hardly one waits
    assert time.process_time() - began < 60


def test_a_queue_that_no_worker_reads_grows_and_a_kind_of_which_none_came_does_not() -> None:
    traffic = [Traffic("mail", 5, (0.1,)), Traffic("mail", 1e-6, (0.1,), priority=9), Traffic("low", 5, (0.1,))]
    usual, rare, unread = forecast(fleet(replicas=0), traffic, 1, 1000)
    assert usual.waits
    assert rare.waits == (0.0,) * 101
    assert not unread.waits
    assert unread.growth == pytest.approx(5, rel=0.1)


def test_of_a_queue_that_grows_the_urgent_messages_do_not_wait() -> None:
    urgent, other = forecast(
        fleet(), [Traffic("mail", 2, (0.1,), 9, late=True), Traffic("mail", 10, (0.1,), late=True)]
    )
    assert urgent.load == other.load == pytest.approx(1.2, rel=0.03)
    assert 0 < urgent.waits[95] < 1.5  # behind what was taken ahead
    assert not other.waits
