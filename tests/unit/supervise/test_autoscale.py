"""How many replicas are wanted: by tables, and by patterns of arrivals against a fleet that is always at its most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.plan.autoscale import Load, Memory, Sample, Verdict, wanted
from celeryfleet.plan.values import AutoscalePolicy
from tests.unit.supervise.arrivals import patterns, simulate
from tests.unit.supervise.histories import pool

POLICY = AutoscalePolicy(min=1, max=6, target_length=20, target_age=30.0, cooldown=60.0)
BOTH = replace(POLICY, max=10)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    "policy",
    [
        BOTH,
        replace(BOTH, target_age=None),
        replace(BOTH, target_length=None),
        AutoscalePolicy(min=0, max=10),
    ],
    ids=["length and age", "length", "age", "neither, from none"],
)
def test_every_pattern_is_done_almost_as_soon_as_by_a_fleet_at_its_most_and_for_much_less(
    policy: AutoscalePolicy, concurrency: int
) -> None:
    for pattern in patterns(policy.max * concurrency):
        most = simulate(pattern, replace(policy, min=policy.max), concurrency)
        ours = simulate(pattern, policy, concurrency)
        slower = max(one / other for one, other in zip(ours.drained, most.drained, strict=True))
        assert slower <= 1.3, f"{pattern.name}: {slower:.2f} times as long"
        assert ours.cost <= 0.6 * most.cost, f"{pattern.name}: {ours.cost / most.cost:.2f} of its worker-seconds"


def asked(sample: Sample, replicas: int = 1, policy: AutoscalePolicy = POLICY, now: float = 1000.0) -> Verdict:
    return wanted(pool(replicas=replicas), policy, sample, Memory(), now)


def each(active: int, reserved: int | None = None, count: int = 1) -> dict[str, Load]:
    return {f"web-{number}": Load(active, active if reserved is None else reserved) for number in range(1, count + 1)}


@pytest.mark.parametrize(
    ("sample", "replicas", "expected", "cause"),
    [
        (Sample(0), 1, 1, ""),
        (Sample(20), 1, 1, ""),
        (Sample(21), 1, 2, "21 messages wait or run, and each worker should have 20"),
        (Sample(100), 1, 5, "100 messages wait or run, and each worker should have 20"),
        (Sample(90, None, each(1, 10)), 1, 5, "100 messages wait or run, and each worker should have 20"),
        (
            *(Sample(1000), 1, 6),
            "1000 messages wait or run, and each worker should have 20; the limits are 1 and 6",
        ),
        (Sample(5, 31.0), 2, 3, "the oldest message has waited 31 s"),
        (Sample(5, 31.0), 6, 6, ""),
        (Sample(5, 30.0), 1, 1, ""),
        (Sample(0, None, each(1, count=4)), 3, 4, "4 tasks run"),
        (Sample(0), 9, 6, "0 messages come a second, a task takes 0 s, and 0 wait; the limits are 1 and 6"),
    ],
)
def test_a_pool_grows_at_once_by_length_age_and_what_runs(
    sample: Sample, replicas: int, expected: int, cause: str
) -> None:
    verdict = asked(sample, replicas)
    assert (verdict.replicas, verdict.cause) == (expected, cause)


def test_a_pool_grows_for_the_traffic_that_it_measures() -> None:
    memory, now = Memory(), 1000.0
    for done in range(0, 40, 4):  # two messages a second come, each takes two, and none waits
        sample = Sample(0, None, {"web-1": Load(4, 4, done)})
        verdict = wanted(pool(concurrency=4), POLICY, sample, memory, now)
        memory, now = verdict.memory, now + 2
    assert memory.rate == pytest.approx(2.0)
    assert memory.runtime == pytest.approx(2.0, rel=0.2)
    assert verdict.replicas == 1
    sample = Sample(40, None, {"web-1": Load(4, 4, 40)})
    assert wanted(pool(concurrency=4), POLICY, sample, memory, now).replicas == 4


def test_a_pool_shrinks_to_the_most_that_was_needed_within_the_cooldown() -> None:
    memory, replicas, seen = Memory(), 1, []
    for now, ready in ((1000.0, 100), (1010.0, 60), (1059.0, 0), (1060.0, 0), (1069.0, 0), (1070.0, 0)):
        verdict = wanted(pool(replicas=replicas), replace(POLICY, target_age=None), Sample(ready), memory, now)
        memory, replicas = replace(verdict.memory, came=()), verdict.replicas
        seen.append(replicas)
    assert seen == [5, 5, 5, 3, 3, 1]


def test_workers_with_tasks_stay_unless_these_end_soon_and_the_idlest_goes_first() -> None:
    loads = {"web-1": Load(1, 1), "web-2": Load(), "web-3": Load(1, 2), "web-4": Load(1, 1)}
    sample = Sample(0, None, loads)
    quick = Memory(sample, 990.0, ran=10.0, ended=1000, replicas=4)
    slow = Memory(sample, 990.0, ran=1000.0, ended=1, replicas=4)
    tight = replace(POLICY, cooldown=0.0)
    verdict = wanted(pool(replicas=4, concurrency=4), tight, sample, slow, 1000.0)
    assert (verdict.replicas, verdict.idlest) == (3, ("web-2", "web-1", "web-4", "web-3"))
    assert wanted(pool(replicas=4, concurrency=4), tight, sample, quick, 1000.0).replicas == 1


def test_from_no_worker_at_all_a_pool_grows_with_its_first_message() -> None:
    policy = AutoscalePolicy(min=0, max=4)
    assert asked(Sample(0), 0, policy).replicas == 0
    assert asked(Sample(1), 0, policy) == Verdict(1, asked(Sample(1), 0, policy).memory, "1 messages wait", ())


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1e6), st.integers(0, 20), st.integers(0, 20), st.floats(0, 1e6))
def test_the_limits_are_never_left(ready: int, age: float | None, replicas: int, active: int, now: float) -> None:
    sample = Sample(ready, age, each(active, count=replicas))
    memory = Memory()
    for later in (now, now + 1.0, now + 100.0):
        verdict = wanted(pool(replicas=replicas), POLICY, sample, memory, later)
        memory = verdict.memory
        assert 1 <= verdict.replicas <= 6
