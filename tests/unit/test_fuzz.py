"""A little of `make fuzz`, the same each time."""

from __future__ import annotations

import time

import pytest
from hypothesis import strategies as st

from tests.fuzz import TARGETS, Target, TooMuchError, fuzz

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_no_text_breaks_a_reader(name: str) -> None:
    fuzz(name, seed=None, examples=40, until=time.monotonic() + 15)


def test_a_failure_tells_its_seed_and_the_smallest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(text: str) -> None:
        assert "z" not in text

    monkeypatch.setitem(TARGETS, "bad", Target(fails, st.text("abz", max_size=50)))
    with pytest.raises(AssertionError) as caught:
        fuzz("bad", seed=7, examples=200)
    assert "target bad, seed 7, smallest text: 'z'" in caught.value.__notes__


def test_no_smaller_text_is_looked_for_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis takes minutes for it where each text takes seconds."""
    seen: list[str] = []

    def fails(text: str) -> None:
        seen.append(text)
        assert len(text) < 20

    monkeypatch.setitem(TARGETS, "bad", Target(fails, st.text("abz", max_size=50)))
    with pytest.raises(AssertionError) as caught:
        fuzz("bad", seed=7, examples=200, until=0.0)
    assert f"target bad, seed 7, smallest text: {seen[-1]!r}" in caught.value.__notes__
    assert len([text for text in seen if len(text) >= 20]) == 1


@pytest.mark.parametrize(("code", "what"), [("while True: pass", "more than 0.2 s"), ("'x' * 300_000_000", "MB")])
def test_what_costs_too_much_is_a_failure(monkeypatch: pytest.MonkeyPatch, code: str, what: str) -> None:
    monkeypatch.setattr("tests.fuzz.SECONDS", 0.2)
    monkeypatch.setitem(TARGETS, "bad", Target(lambda text: exec(code), st.just("")))
    with pytest.raises(TooMuchError, match=what):
        fuzz("bad", seed=7, examples=1)
