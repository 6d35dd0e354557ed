"""How many replicas are wanted, by tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.plan.values import AutoscalePolicy
from celeryfleet.supervise.decide.autoscale import Memory, Sample, wanted

POLICY = AutoscalePolicy(min=1, max=6, target_length=20, target_age=30.0, cooldown=60.0)


@pytest.mark.parametrize(
    ("ready", "age", "replicas", "expected", "cause"),
    [
        (0, None, 1, 1, ""),
        (20, None, 1, 1, ""),
        (21, None, 1, 2, "21 messages wait, and each worker should have 20"),
        (100, None, 1, 5, "100 messages wait, and each worker should have 20"),
        (1000, None, 1, 6, "1000 messages wait, and each worker should have 20"),
        (5, 31.0, 2, 3, "the oldest message has waited 31 s"),
        (5, 31.0, 6, 6, ""),
        (5, 30.0, 1, 1, ""),
        (0, None, 4, 3, "0 messages wait"),
        (59, None, 4, 3, "59 messages wait"),
        (61, None, 4, 4, ""),
    ],
)
def test_replicas_follow_length_and_age(
    ready: int, age: float | None, replicas: int, expected: int, cause: str
) -> None:
    verdict = wanted(POLICY, Sample(ready, age), Memory(replicas), 1000.0)
    assert (verdict.memory.replicas, verdict.cause) == (expected, cause)


def test_between_two_changes_lies_the_cooldown() -> None:
    first = wanted(POLICY, Sample(100), Memory(1), 1000.0)
    assert first.memory == Memory(5, 1000.0)
    assert wanted(POLICY, Sample(0), first.memory, 1059.0).memory == first.memory
    assert wanted(POLICY, Sample(0), first.memory, 1060.0).memory == Memory(4, 1060.0)


def test_limits_hold_at_once() -> None:
    assert wanted(POLICY, Sample(0), Memory(9, 1000.0), 1001.0).memory == Memory(6, 1001.0)
    assert wanted(POLICY, Sample(0), Memory(0, 1000.0), 1001.0).memory == Memory(1, 1001.0)


def test_by_age_alone_a_pool_shrinks_only_when_nothing_waits() -> None:
    policy = AutoscalePolicy(min=1, max=6, target_age=30.0)
    assert wanted(policy, Sample(3, 5.0), Memory(4), 0.0).memory.replicas == 4
    assert wanted(policy, Sample(0), Memory(4), 0.0).memory.replicas == 3


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1e6), st.integers(0, 20), st.floats(0, 1e6))
def test_the_limits_are_never_left(ready: int, age: float | None, replicas: int, now: float) -> None:
    assert 1 <= wanted(POLICY, Sample(ready, age), Memory(replicas), now).memory.replicas <= 6
