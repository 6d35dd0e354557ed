from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from celery import signature

from celeryfleet.client.outcome import Failed, Outcome, Progress, Record, outcome
from celeryfleet.client.results import follow, record
from celeryfleet.client.signatures import Step, chained, grouped, leaves

DONE = Record("SUCCESS", 1)
LOST = Record("FAILURE", None, "ValueError: no", "Traceback …")


def numbered(step: Step) -> Step:
    for number, leaf in enumerate(leaves(step), 1):
        leaf.set(task_id=str(number))
    return step


def calls(count: int) -> list[Step]:
    return [signature("t") for _ in range(count)]


def chain(*steps: Step) -> Step:
    return chained(steps, None)


def group(*steps: Step) -> Step:
    return grouped(steps, None)


class Backend:
    """Gives records as time goes by, on a clock that only a pause moves."""

    def __init__(self, due: dict[str, tuple[float, Record]]) -> None:
        self.now = 100.0
        self.asked: list[list[str]] = []
        self._due = {id_: (self.now + after, found) for id_, (after, found) in due.items()}

    def look(self, ids: Sequence[str]) -> dict[str, Record]:
        self.asked.append(list(ids))
        return {id_: self._due[id_][1] for id_ in ids if id_ in self._due and self._due[id_][0] <= self.now}

    def pause(self, seconds: float) -> None:
        self.now += seconds


def followed(step: Step, backend: Backend, timeout: float | None) -> tuple[Outcome, list[Progress]]:
    told: list[Progress] = []
    stands, _ = follow(step, backend.look, timeout, told.append, lambda: backend.now, backend.pause)
    return stands, told


@pytest.mark.parametrize("after", [0.0, 0.0517, 0.7313, 5.2377, 60.6661])
def test_a_result_is_known_within_20_milliseconds(after: float) -> None:
    backend = Backend({"1": (after, DONE)})
    stands, _ = followed(numbered(signature("t")), backend, 100)
    assert stands == Outcome("SUCCESS", 1)
    assert after <= backend.now - 100 <= after + 0.0201


@pytest.mark.parametrize("timeout", [0.0, 0.003, 0.5, 1.5])
def test_a_timeout_is_exact(timeout: float) -> None:
    backend = Backend({})
    stands, _ = followed(numbered(signature("t")), backend, timeout)
    assert stands.state == "PENDING"
    assert backend.now - 100 == pytest.approx(timeout)


def test_progress_counts_failures_too_and_asks_no_more_for_what_is_over() -> None:
    backend = Backend({"1": (0.1, DONE), "2": (0.2, LOST), "3": (0.3, DONE)})
    stands, told = followed(numbered(group(*calls(3))), backend, None)
    assert told == [Progress(0, 0, 3), Progress(1, 0, 3), Progress(2, 1, 3), Progress(3, 1, 3)]
    assert backend.asked[-1] == ["3"]
    assert (stands.state, [one.id for one in stands.failed]) == ("FAILURE", ["2"])


def test_a_chain_is_over_with_its_first_failure_and_names_no_step_after_it() -> None:
    line = numbered(chain(*calls(3)))
    failed = (Failed("2", "t", "FAILURE", "ValueError: no", "Traceback …"),)
    for rest in ({}, {"3": LOST}):
        assert outcome(line, {"1": DONE, "2": LOST, **rest}) == Outcome("FAILURE", None, failed)


def test_a_chord_fails_when_all_of_its_header_is_over() -> None:
    chord = numbered(chain(group(*calls(2)), *calls(1)))
    assert outcome(chord, {"1": LOST}).state == "PENDING"
    over = outcome(chord, {"1": LOST, "2": DONE, "3": Record("FAILURE", None, "ChordError: …")})
    assert (over.state, [one.id for one in over.failed]) == ("FAILURE", ["1"])


def test_a_group_gives_a_list_and_a_chain_its_last_result() -> None:
    both = numbered(group(chain(*calls(2)), *calls(1)))
    records = {"1": Record("SUCCESS", 1), "2": Record("SUCCESS", 2), "3": Record("SUCCESS", 3)}
    assert outcome(both, records) == Outcome("SUCCESS", [2, 3])


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"status": "SUCCESS", "result": [1]}, Record("SUCCESS", [1])),
        ({"status": "STARTED", "result": {"pid": 1}}, Record("STARTED")),
        (
            {"status": "FAILURE", "result": {"exc_type": "KeyError", "exc_message": ["a"]}, "traceback": "T"},
            Record("FAILURE", None, "KeyError: a", "T"),
        ),
        ({"status": "FAILURE", "result": {"exc_type": "Stop", "exc_message": []}}, Record("FAILURE", None, "Stop")),
        ({"status": "FAILURE", "result": ValueError("no")}, Record("FAILURE", None, "ValueError: no")),
        (
            {"status": "REVOKED", "result": {"exc_type": "TaskRevokedError", "exc_message": "expired"}},
            Record("REVOKED", None, "TaskRevokedError: expired"),
        ),
    ],
)
def test_a_stored_result_is_read_without_making_its_exception(meta: dict[str, Any], expected: Record) -> None:
    assert record(meta) == expected
