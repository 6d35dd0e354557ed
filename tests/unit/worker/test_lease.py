"""A scheduler that sends only while it holds a lease; Celery's own, with a lease that a test gives and takes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from celery import Celery
from celery.beat import Scheduler
from celery.schedules import schedule
from kombu import Connection

from celeryfleet.records import Record
from celeryfleet.worker import lease
from celeryfleet.worker_protocol import Beat

HOUR = 3600.0


class Lease(lease.Lease):
    """What a broker says of a lease."""

    errors = (ConnectionError,)
    lasts = 600.0

    def __init__(self) -> None:
        self.holder, self.ours, self.away, self.denied = "b", True, False, False
        self.kept: dict[str, float] = {}
        self.named = ""

    def take(self) -> bool:
        if self.denied:
            raise lease.DeniedError("NOPERM")
        if self.away:
            raise ConnectionError("away")
        return self.ours

    def sent(self) -> Mapping[str, float]:
        return self.kept

    def sending(self, name: str) -> None:
        self.named = name

    def has_sent(self, name: str) -> None:
        self.kept[name] = lease.now()

    def let_go(self) -> None:
        pass


class Site:
    """A scheduler with an entry that is due each hour, last sent two hours ago, its lease, and what came of it."""

    def __init__(self) -> None:
        self.app = Celery("shop", set_as_current=False, broker="memory://")
        self.queue = self.app.conf.task_default_queue = uuid.uuid4().hex  # the memory is that of all tests here
        self.scheduler = Scheduler(self.app, lazy=True)
        self.two_hours_ago = datetime.fromtimestamp(datetime.now().timestamp() - 2 * HOUR, UTC)
        self.scheduler.add(name="hourly", task="shop.count", schedule=schedule(HOUR), last_run_at=self.two_hours_ago)
        self.lease, self.told = Lease(), list[Record]()
        self.guard = lease.Guard(self.scheduler, self.lease, self.told.append)

    def sent(self) -> int:
        """Count what has been sent."""
        with Connection("memory://") as connection, connection.SimpleQueue(self.queue) as queue:
            return int(queue.qsize())


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    with Connection("memory://") as connection, connection.SimpleQueue(made.queue) as queue:
        queue.clear()
    made.app.close()


def test_it_sends_while_it_has_the_lease_and_stands_by_while_another_has(site: Site) -> None:
    site.lease.ours = False
    assert site.scheduler.tick() == lease.WAIT
    assert (site.sent(), site.told) == (0, [Beat(consuming=True, loop_busy=True, standby="host b")])
    site.lease.ours = True
    site.scheduler.tick()
    assert (site.sent(), site.told[1:]) == (1, [Beat(consuming=True, loop_busy=True)])
    assert list(site.lease.kept) == ["hourly"]
    assert site.lease.named == ""


def test_it_wakes_up_in_time_to_renew_its_lease(site: Site) -> None:
    site.scheduler.tick()
    assert 0 < site.scheduler.tick() <= site.lease.lasts / lease.PARTS


def test_what_the_one_before_has_sent_is_not_sent_again(site: Site) -> None:
    site.lease.kept = {"hourly": datetime.now().timestamp() - 60, "of another time": 1.0}
    site.scheduler.tick()
    assert site.sent() == 0


def test_what_the_one_before_has_not_sent_any_more_is_sent(site: Site) -> None:
    site.lease.kept = {"hourly": datetime.now().timestamp() - HOUR - 60}
    site.scheduler.tick()
    assert site.sent() == 1


def test_one_that_stood_still_sends_nothing_and_its_task_is_due_as_before(site: Site) -> None:
    site.lease.lasts = 0.0
    assert site.scheduler.tick() == lease.WAIT
    assert site.sent() == 0
    assert site.scheduler.schedule["hourly"].last_run_at == site.two_hours_ago
    site.lease.lasts = 600.0
    site.scheduler.tick()
    assert site.sent() == 1


def test_it_says_that_it_cannot_reach_the_broker_and_goes_on_once_it_can(site: Site) -> None:
    site.lease.away = True
    assert site.scheduler.tick() == lease.WAIT
    assert site.told == [Beat(connecting=True, loop_busy=True)]
    site.lease.away = False
    site.scheduler.tick()
    assert site.sent() == 1


def test_without_the_right_to_have_a_lease_it_sends_as_ever(site: Site) -> None:
    site.lease.denied = True
    site.scheduler.tick()
    assert site.sent() == 1
