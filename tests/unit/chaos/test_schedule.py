"""The schedule: a seed gives one sequence, whatever the clock does."""

from __future__ import annotations

from itertools import islice

from chaos.schedule import EARLY, LATE, Kind, bursts, faults

QUEUES = ("b", "a")


def test_the_same_seed_gives_the_same_faults_and_tasks() -> None:
    assert list(islice(faults(7), 50)) == list(islice(faults(7), 50))
    assert list(islice(bursts(7, QUEUES), 20)) == list(islice(bursts(7, QUEUES[::-1]), 20))


def test_another_seed_gives_others() -> None:
    assert list(islice(faults(7), 50)) != list(islice(faults(8), 50))
    assert list(islice(bursts(7, QUEUES), 20)) != list(islice(bursts(8, QUEUES), 20))


def test_every_fault_comes_and_only_those_that_are_asked_for() -> None:
    assert {fault.kind for fault in islice(faults(1), 1000)} == set(Kind)
    assert {fault.kind for fault in islice(faults(1, [Kind.CUT, Kind.SCALE]), 50)} == {Kind.CUT, Kind.SCALE}


def test_tasks_of_all_kinds_come_and_none_twice() -> None:
    jobs = [job for burst in islice(bursts(1, QUEUES), 20) for job in burst.jobs]
    assert len({job.id for job in jobs}) == len(jobs)
    assert {job.ack for job in jobs} == {LATE, EARLY}
    assert all(job.id.startswith(job.ack) for job in jobs)
    assert {job.queue for job in jobs} == set(QUEUES)
    assert any(job.countdown for job in jobs)
    assert any(job.seconds > 0.2 for job in jobs)
