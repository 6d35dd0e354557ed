"""When alerts begin and when they are over, as stories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from celeryfleet.plan.values import AlertPlan
from celeryfleet.supervise.decide.alerting import Sight, Watch, judge
from celeryfleet.supervise.decide.state import Status, Worker
from celeryfleet.worker_protocol import Beat
from tests.unit.plan.fleets import plan_of

NOW = 1_800_000_000.0


class Story:
    """What is told as time goes on."""

    def __init__(self, *alerts: AlertPlan) -> None:
        self.alerts = alerts
        self.watch = Watch()
        self.now = NOW

    def see(
        self, *workers: Worker, after: float = 0.0, wanted: tuple[str, ...] = ("web-2", "beat-1"), **depths: Any
    ) -> list[str]:
        """Return what is told after so many seconds."""
        self.now += after
        found: Mapping[str, Any] = {name: {"ready": n, "oldest_age_s": age} for name, (n, age) in depths.items()}
        self.watch, notices = judge(self.alerts, self.watch, Sight(workers, wanted, found), self.now)
        return [f"{'' if one.begins else 'over: '}{one.text}" for one in notices]

    def on(self) -> list[str]:
        """Return what is said of what is on."""
        return [text for _, text in self.watch.active.values()]


def worker(
    status: Status, name: str = "web-1", pool: str = "web", done: int = 0, failed: int = 0, **more: Any
) -> Worker:
    return Worker(name, pool, f"{name}@h", status, beat=Beat(processed=done, failed=failed), **more)


def test_a_worker_that_has_failed_is_told_once_and_once_when_it_is_well_again() -> None:
    story = Story(AlertPlan("worker_failed", {"web": 0.0}, 0.0))
    assert story.see(worker(Status.BACKOFF)) == []
    failed = worker(Status.FAILED, cause="it was killed, 5 times")
    assert story.see(failed) == ["worker web-1 is failed: it was killed, 5 times"]
    assert story.see(failed, after=100) == []
    assert story.see(worker(Status.STARTING), after=20) == []
    assert story.see(worker(Status.READY)) == ["over: worker_failed of worker web-1 is over after 2m00s"]
    assert story.see(worker(Status.READY)) == []


def test_a_worker_that_is_gone_is_over_and_others_have_alerts_of_their_own() -> None:
    story = Story(AlertPlan("worker_stuck", {"web": 0.0, "beat": 0.0}, 0.0))
    stuck = [worker(Status.STUCK, name, stuck="silent") for name in ("web-1", "web-2")]
    assert story.see(*stuck) == ["worker web-1 is stuck: silent", "worker web-2 is stuck: silent"]
    assert story.see(worker(Status.STARTING), stuck[1]) == []
    stopping = worker(Status.STOPPING, "web-2")
    assert story.see(stopping) == ["over: worker_stuck of worker web-1 is over after 0s"]
    assert story.see() == []  # it is to come again
    assert story.see(wanted=()) == ["over: worker_stuck of worker web-2 is over after 0s"]


def test_a_worker_that_is_replaced_slowly_is_stuck_until_its_successor_is_ready() -> None:
    story = Story(AlertPlan("worker_stuck", {"web": 0.0}, 10.0))
    assert story.see(worker(Status.STUCK, stuck="silent")) == []
    assert story.see(worker(Status.STOPPING, stuck="silent"), after=9) == []
    assert story.see(worker(Status.STARTING), after=2) == ["worker web-1 is starting"]
    assert story.see(worker(Status.READY), after=1) == ["over: worker_stuck of worker web-1 is over after 12s"]


def test_it_must_be_so_for_a_time_without_a_break() -> None:
    story = Story(AlertPlan("oldest_age", {"mail": 30.0}, 60.0))
    assert story.see(mail=(1, 31.0)) == []
    assert story.see(mail=(1, 30.0), after=59) == []
    assert story.see(mail=(1, 31.0), after=59) == []
    assert story.see(mail=(1, 89.0), after=58) == []
    assert story.see(mail=(1, 91.0), after=2) == ["the oldest message of queue mail waits for 1m31s, longer than 30s"]
    assert story.see(mail=(0, None), after=1) == ["over: oldest_age of queue mail is over after 1m01s"]


def test_a_broker_that_does_not_answer_neither_begins_nor_ends_anything() -> None:
    story = Story(AlertPlan("oldest_age", {"mail": 30.0}, 10.0), AlertPlan("backlog_growing", {"mail": 0.0}, 60.0))
    assert story.see(mail=(1, 31.0)) == []
    assert story.see(after=11) == []
    assert story.see(mail=(1, 50.0)) == ["the oldest message of queue mail waits for 50s, longer than 30s"]
    assert story.see(after=11) == []
    assert story.see(mail=(5, None)) == []  # by messages that do not tell when they were sent
    assert story.on() == ["the oldest message of queue mail waits for 50s, longer than 30s"]  # not 0s
    assert len(story.see(mail=(0, None))) == 1


def test_a_backlog_grows_until_it_does_no_more() -> None:
    story = Story(AlertPlan("backlog_growing", {"mail": 10.0}, 60.0))

    def told(*counts: int) -> list[list[str]]:
        return [found for count in counts if (found := story.see(mail=(count, 0.0), after=5))]

    assert told(1, 9, 3, 2, 5, 4, 9, 9, 12, 11, 10) == []  # not a minute yet
    assert told(11, 9, 15, 13, 16, 20, 17, 22) == [["queue mail grows: 11 messages wait, and 1 did before"]]
    assert told(*[20] * 5) == []  # still more than before
    assert told(*[20] * 12) == [["over: backlog_growing of queue mail is over after 1m35s"]]
    assert all(len(samples) < 40 for samples in story.watch.samples.values())


def test_a_backlog_of_one_message_is_told_in_the_singular() -> None:
    story = Story(AlertPlan("backlog_growing", {"mail": 0.0}, 60.0))
    counts = [0] * 11 + [1] * 12  # it said "1 messages wait"
    told = [found for count in counts if (found := story.see(mail=(count, 0.0), after=5))]
    assert told == [["queue mail grows: 1 message waits, and 0 did before"]]


def test_a_burst_that_is_worked_off_is_no_backlog_that_grows() -> None:
    story = Story(AlertPlan("backlog_growing", {"mail": 0.0}, 60.0))
    counts = [0] * 11 + [100, 90, 80, 70, 60, 50, 40, 30, 20, 10] + [0] * 20
    told = [(count, found) for count in counts if (found := story.see(mail=(count, 0.0), after=5))]
    assert [count for count, _ in told] == []


def test_a_share_of_failed_tasks_is_taken_of_enough_of_them_and_of_late() -> None:
    story = Story(AlertPlan("failure_rate", {"web": 0.1}, 60.0))
    assert story.see(worker(Status.READY, done=1000, failed=900)) == []
    assert story.see(worker(Status.READY, done=1009, failed=909), after=5) == []
    assert story.see(worker(Status.READY, done=1040, failed=904), after=5) == []  # another worker's counts
    found = story.see(worker(Status.READY, done=1060, failed=907), after=5)
    assert found == ["3 of 20 tasks of pool web failed within 1m00s"]
    assert story.see(worker(Status.READY, done=1061, failed=907), after=30) == []
    assert story.see(worker(Status.READY, done=1100, failed=907), after=31) == [
        "over: failure_rate of pool web is over after 1m01s"
    ]


def test_what_was_measured_before_a_restart_is_not_over_until_it_is_measured_again() -> None:
    story = Story(AlertPlan("failure_rate", {"web": 0.1}, 60.0))
    story.see(worker(Status.READY))
    assert len(story.see(worker(Status.READY, done=20, failed=20), after=1)) == 1
    story.watch = Watch(story.alerts, active=story.watch.active)
    assert story.see(worker(Status.READY)) == []
    assert story.on() == ["20 of 20 tasks of pool web failed within 1m00s"]  # not 0 of 0
    assert story.see(worker(Status.READY, done=20), after=50) == []
    assert story.see(worker(Status.READY, done=40), after=5) == ["over: failure_rate of pool web is over after 55s"]


def test_a_beat_that_does_not_run_is_told_unless_it_is_not_wanted() -> None:
    story = Story(AlertPlan("no_beat", {"beat": 0.0}, 30.0))
    beat = worker(Status.READY, "beat-1", "beat")
    assert story.see() == story.see(beat, after=31) == []
    assert story.see(after=5) == []
    assert story.see(after=31) == ["beat sends nothing: it is starting"]
    assert story.see(wanted=("web-1",)) == ["over: no_beat of beat is over after 31s"]


def test_who_was_told_that_it_begins_is_told_that_it_is_over_when_a_reload_removes_the_alert() -> None:
    story = Story(AlertPlan("worker_failed", {"web": 0.0}, 0.0))
    assert len(story.see(worker(Status.FAILED))) == 1
    story.alerts = ()
    assert story.see(worker(Status.FAILED), after=5) == ["over: worker_failed of worker web-1 is over after 5s"]
    assert story.see(worker(Status.FAILED)) == story.on() == []


def test_a_reload_with_another_pool_queue_or_webhook_tells_nobody_again() -> None:
    story = Story(AlertPlan("worker_failed", {"web": 0.0}, 0.0), AlertPlan("oldest_age", {"mail": 30.0}, 0.0))
    assert len(story.see(worker(Status.FAILED), mail=(1, 31.0))) == 2
    story.alerts = (
        AlertPlan("worker_failed", {"web": 0.0, "low": 0.0}, 0.0, webhook="https://h/new"),
        AlertPlan("oldest_age", {"mail": 30.0, "sms": 10.0}, 0.0),
    )
    assert story.see(worker(Status.FAILED), mail=(1, 32.0)) == []
    story.alerts = (AlertPlan("oldest_age", {"sms": 10.0}, 0.0),)  # pool and queue are removed
    assert len(story.see(mail=(1, 32.0))) == 2
    assert story.on() == []


def alert(when: str, over: dict[str, float], hold: float, form: str = "json") -> AlertPlan:
    return AlertPlan(when, over, hold, (), "https://h/x", form)


def alerts() -> Iterator[tuple[str, AlertPlan]]:
    yield "{when: worker_failed}", alert("worker_failed", {"web": 0.0, "low": 0.0}, 0.0)
    yield "{when: worker_stuck, pool: low}", alert("worker_stuck", {"low": 0.0}, 0.0)
    yield "{when: oldest_age, for: 1m}", alert("oldest_age", {"mail": 30.0}, 60.0)
    yield "{when: oldest_age, queue: mail, over: 1m}", alert("oldest_age", {"mail": 60.0}, 0.0)
    yield "{when: backlog_growing, over: 100}", alert("backlog_growing", {"mail": 100, "a": 100}, 300.0)
    yield "{when: failure_rate, pool: web, over: 2.5%}", alert("failure_rate", {"web": 0.025}, 300.0)
    yield "{when: no_beat, format: slack}", alert("no_beat", {"beat": 0.0}, 30.0, "slack")


@pytest.mark.parametrize(("text", "found"), [*alerts()])
def test_fleet_yaml_says_what_an_alert_is_about(text: str, found: AlertPlan) -> None:
    fleet = (
        "queues: {mail: {max_age: 30s}, a: }\npools: {web: {queues: [a]}, low: {queues: [mail]}}\nbeat: true\n"
        f'alerts: [{text[:-1]}, webhook: "${{HOOK}}"}}]\n'
    )
    plan = plan_of(fleet, {"HOOK": "https://h/x"})
    assert plan.alerts == (found,)
    assert plan.from_json(json.loads(json.dumps(plan.to_json()))).alerts == (found,)
    assert "https://h/x" not in repr(plan)
