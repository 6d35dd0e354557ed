"""A fleet as it is shown, made of its state."""

from __future__ import annotations

from dataclasses import replace

from celeryfleet.protocol import Pause, SupervisorStatus, WorkerStatus
from celeryfleet.render import tables
from celeryfleet.routing.queue import Queue
from celeryfleet.supervise.decide.events import ForkServerReady, Heard
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.status import backlog, describe, notes, stopped
from celeryfleet.worker_protocol import Beat, Ready
from tests.unit.supervise.histories import World, plan, pool

SUPERVISOR = SupervisorStatus(1, 3.0)


def world(*queues: Queue, **settings: object) -> World:
    base = plan(pool("web", 2, queues=("mail", "low")), pool("low", fork=True))
    return World(
        replace(base, queues=queues or (Queue("mail", "mail", max_age=30.0), Queue("low", "low")), settings=settings)
    )


def test_a_pool_shows_its_workers_in_order_also_those_that_are_still_to_start() -> None:
    found = world()
    found.ready("web-2")
    found.beat("web-2", active=1, processed=5)
    found.after(2)
    shown = describe(found.target, found.state, found.now, SUPERVISOR, {102: 5000})
    assert (shown.fleet, shown.state, shown.supervisor, shown.broker.url) == (
        "fleet",
        "starting",
        SUPERVISOR,
        "redis://x",
    )
    web, low = shown.pools
    assert (web.want, web.ready, web.reason) == (2, 1, "web: 1 of 2 ready (web-1 starting)")
    assert web.workers == (
        WorkerStatus("web-1", "web-1@fleet.host", 101, "starting", uptime_s=2.0, cause="it is wanted"),
        WorkerStatus("web-2", "web-2@fleet.host", 102, "ready", 2.0, active=1, processed=5, rss_bytes=5000),
    )
    assert low.workers == (WorkerStatus("low-1", "low-1@fleet.host", None, "starting"),)


def test_a_pool_is_of_the_kind_that_its_workers_have_told_unless_fleet_yaml_says_it() -> None:
    found = World(plan(pool("web"), pool("mail", conf={"worker_pool": "prefork", "worker_concurrency": 2})))
    for name in ("web-1", "mail-1"):
        found.ready(name)
        found.happen(Heard(name, Ready((), "threads", 24)))
    web, mail = describe(found.target, found.state, found.now, SUPERVISOR, {}).pools
    assert (web.implementation, web.concurrency) == ("threads", 24)
    assert (mail.implementation, mail.concurrency) == ("prefork", 2)
    assert found.state.settled(found.target.pools["web"]).concurrency == 24, "by which the autoscaler goes"


def test_what_a_worker_did_before_it_died_still_counts() -> None:
    found = world()
    found.ready()
    found.beat("web-1", processed=5, failed=1)
    found.die("web-1")
    found.ready()
    found.beat("web-1", processed=2)
    worker = describe(found.target, found.state, found.now, SUPERVISOR, {}).pools[0].workers[0]
    assert (worker.processed, worker.failed, worker.restarts) == (7, 1, 1)
    assert worker.last_exit is not None
    assert worker.last_exit.code == -9


def test_a_queue_has_the_ready_workers_that_read_it_as_consumers_unless_it_is_paused() -> None:
    found = world()
    found.ready("web-1")
    found.happen(Pause(("low",)))
    found.beat("web-1")
    mail, low = describe(found.target, found.state, found.now, SUPERVISOR, {}).queues
    assert (mail.consumers, mail.max_age, low.consumers) == (1, 30.0, 0)


def test_a_queue_whose_consumer_somebody_cancelled_has_none_and_its_worker_is_not_ready() -> None:
    found = world()
    found.ready()
    found.beat("web-1", queues=("low",))
    found.beat("web-2", connecting=True, consuming=False, queues=())
    shown = describe(found.target, found.state, found.now, SUPERVISOR, {})
    assert [queue.consumers for queue in shown.queues] == [0, 1]
    assert (shown.pools[0].want, shown.pools[0].ready) == (2, 0)
    assert [worker.cause for worker in shown.pools[0].workers] == ["does not read mail", "cannot reach the broker"]
    assert "\n      does not read mail\n" in tables.status(shown, 0.0, False, 0)


def test_a_fleet_that_does_not_run_has_the_same_shape() -> None:
    found = world()
    shown = stopped(found.target)
    assert (shown.state, shown.reason, shown.supervisor) == ("down", "The fleet is not running.", SupervisorStatus())
    assert [(worker.name, worker.pid, worker.state) for pool in shown.pools for worker in pool.workers] == [
        ("web-1", None, "stopped"),
        ("web-2", None, "stopped"),
        ("low-1", None, "stopped"),
    ]
    assert {pool.reason for pool in shown.pools} == {"The fleet is not running."}


def test_the_backlog_names_what_each_worker_reads_and_the_nodes_that_nobody_reads_for_any_more() -> None:
    found = world(Queue("mail", "events", "topic", "mail.#"), broker_use_ssl={"ca": "x"}, task_x=1)
    found.ready()
    found.die("web-2")
    found.ready("web-1")
    found.want(replace(found.target.plan, pools=(pool("web", 1, queues=("mail", "low")),)))
    asked = backlog(found.target, found.state)
    assert asked.unacked["unacked:web-1@fleet.host"] == ("mail", "low")
    assert asked.unacked["unacked:web-2@fleet.host"] == ("mail", "low")
    assert asked.unacked.get("unacked:low-1@fleet.host", ()) == ()
    parked = {"name": "fleet.failed", "exchange": "", "exchange_type": "direct", "routing_key": "fleet.failed"}
    mail = {"name": "mail", "exchange": "events", "exchange_type": "topic", "routing_key": "mail.#"}
    assert (asked.queues, asked.parked) == ((mail, parked), "fleet.failed")
    assert (asked.url, asked.settings) == ("redis://x", {"broker_use_ssl": {"ca": "x"}})


def test_what_is_out_of_the_ordinary_is_noted() -> None:
    found = world()
    found.happen(ForkServerReady(0, "importing the app starts a thread"))
    found.ready()
    found.happen(Pause(("mail",)))
    for name in ("web-1", "web-2"):
        found.happen(Heard(name, Beat(connecting=True)))
    assert list(notes(found.target, found.state, found.now + 1.4))[1:] == ["Paused queues: mail."]
    assert list(notes(found.target, found.state, found.now + 1.5)) == [
        "Workers are started one by one, not forked: importing the app starts a thread.",
        "web-1, web-2 cannot reach the broker redis://x.",
        "Paused queues: mail.",
    ]
    assert list(notes(Target.of(plan()), World(plan()).state, 0.0)) == []


def test_a_queue_that_stays_paused_is_told_with_the_time_since_it_was() -> None:
    found = world()
    found.happen(Pause(("mail",)))
    found.after(5)
    found.happen(Pause(("mail", "low")))
    found.after(2)
    assert describe(found.target, found.state, found.now, SUPERVISOR, {}).paused_s == {"mail": 7.0, "low": 2.0}
    found.happen(Pause(("low",)))
    assert list(describe(found.target, found.state, found.now, SUPERVISOR, {}).paused_s) == ["low"]
