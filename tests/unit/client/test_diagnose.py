"""Where a task is and why it is not further, told of what was found: the whole answer, as it is printed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from celeryfleet.client.diagnose import diagnose
from celeryfleet.client.messages import Message
from celeryfleet.client.outcome import Record
from celeryfleet.client.standing import Answer, View, of_queue, of_task
from celeryfleet.client.told import Facts, Hold, Place
from celeryfleet.ledger.entry import Entry
from celeryfleet.protocol import Backlog, BrokerStatus, PoolStatus, QueueStatus, Status, SupervisorStatus, WorkerStatus

NOW = 1_000_000.0


def worker(name: str = "mail-1", **more: Any) -> WorkerStatus:
    return WorkerStatus(name=name, node=f"{name}@shop.host", **{"pid": 7, "state": "ready", **more})


def status(*workers: WorkerStatus, **more: Any) -> Status:
    pools = (PoolStatus("mail", ("mail",), 1, 1, workers or (worker(),), "prefork", 1),)
    known = {
        "fleet": "shop",
        "state": "ready",
        "supervisor": SupervisorStatus(1, 9.0),
        "broker": BrokerStatus("redis://host"),
        "pools": pools,
        "queues": (QueueStatus("mail", 3, 1, 18.0, 1),),
        "reason": "",
        "notes": (),
        "paused": (),
        "backlog": Backlog("redis://host"),
    }
    return Status(**{**known, **more})


def view(**more: Any) -> View:
    return View(**{"now": NOW, "status": status(), **more})


def facts(**more: Any) -> Facts:
    return Facts(**{"id": "1", "view": view(), **more})


def message(**more: Any) -> Message:
    known = {"id": "1", "task": "shop.a", "args": [], "kwargs": {}, "sent_at": NOW - 18, "priority": None}
    return Message(**{**known, **more})


def at(seconds: float) -> int:
    """Return a time of the ledger: so many seconds ago."""
    return int((NOW - seconds) * 1000)


def entry(state: str, **more: Any) -> Entry:
    return Entry(**{"worker": "mail-1", "id": "1", "task": "shop.a", "queue": "mail", "state": state, **more})


def place(position: int = 2, **more: Any) -> Place:
    return Place("mail", position, 3, message(**more))


def told(answer: Answer) -> tuple[Any, ...]:
    return (answer.state, *answer.because, *(f"→ {hint}" for hint in answer.hints))


BUSY = entry("running", id="2", task="shop.slow", started=at(12), pid=8)
IN_30_S = "1970-01-12T13:47:10+00:00"
BEFORE_30_S = "1970-01-12T13:46:10"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            facts(place=place(), view=view(running=[BUSY], rates={"mail": 0.5})),
            (
                "waiting",
                "it is 2nd of 3 in mail",
                "mail-1 is busy with shop.slow for 12s",
                "of mail 0.5 a second are done of late: that takes about 4s",
            ),
        ),
        (
            facts(place=place(), view=view(status=status(paused=("mail",), paused_s={"mail": 190.0}))),
            ("waiting", "it is 2nd of 3 in mail", "mail has been paused for 3m10s", "→ celeryfleet resume mail"),
        ),
        (
            facts(place=place(), view=view(status=status(pools=()))),
            (
                "waiting",
                "it is 2nd of 3 in mail",
                "no pool reads mail",
                "→ name it in a pool's `queues:` in fleet.yaml, then: celeryfleet up",
            ),
        ),
        (
            facts(place=place(), view=view(status=status(state="down"))),
            ("waiting", "it is 2nd of 3 in mail", "the fleet is not running", "→ celeryfleet up -d"),
        ),
        (
            facts(place=place(), view=view(status=status(worker(state="backoff", cause="killed", pid=None)))),
            ("waiting", "it is 2nd of 3 in mail", "mail-1 is backoff: killed", "→ celeryfleet logs mail"),
        ),
        (
            facts(place=place(), view=view(stopped={7})),
            ("waiting", "it is 2nd of 3 in mail", "mail-1 (pid 7) is stopped by a signal", "→ kill -CONT 7"),
        ),
        (
            facts(place=place(eta=IN_30_S)),
            (
                "scheduled",
                "it is due in 30s; no worker has taken it yet",
                "it is 2nd of 3 in mail",
                "mail-1 is free",
            ),
        ),
        (
            facts(place=place(retries=2), entry=entry("retrying", retries=2, max_retries=3, error="ValueError: x")),
            ("waiting", "it is 2nd of 3 in mail", "it is retry 2 of 3", "mail-1 is free"),
        ),
        (
            facts(place=place(expires=BEFORE_30_S)),
            (
                "expired",
                "it expired 30s ago: the worker that takes it drops it",
                "it is 2nd of 3 in mail",
            ),
        ),
        (
            facts(place=place(), revoked=True),
            ("revoked", "it is revoked: the worker that takes it drops it", "it is 2nd of 3 in mail"),
        ),
        (
            facts(place=place(headers={"fleet_parked": {"worker": "mail-1", "error": "it has ended its process"}})),
            ("failed", "it is parked in mail: it has ended its process", "→ celeryfleet retry 1"),
        ),
    ],
)
def test_of_a_message_in_a_queue(found: Facts, expected: tuple[str, ...]) -> None:
    answer = diagnose(found)
    assert told(answer) == expected
    assert (answer.id, answer.task, answer.queue, answer.position, answer.of) == ("1", "shop.a", "mail", 2, 3)


HOLD = Hold("mail-1", "mail", message())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            facts(entry=entry("running", started=at(12), pid=8)),
            ("running", "it runs on mail-1 for 12s (pid 8)"),
        ),
        (
            facts(hold=HOLD, view=view(running=[entry("running")])),
            ("running", "it runs on mail-1"),
        ),
        (
            facts(entry=entry("running", started=at(12), pid=8), view=view(stopped={7, 8})),
            (
                "running",
                "it runs on mail-1 for 12s (pid 8)",
                "mail-1 (pid 7) is stopped by a signal",
                "→ kill -CONT 7",
            ),
        ),
        (
            facts(entry=entry("running", started=at(12), pid=8), view=view(stopped={8})),
            (
                "running",
                "it runs on mail-1 for 12s (pid 8)",
                "its process 8 is stopped by a signal",
                "→ kill -CONT 8",
            ),
        ),
        (
            facts(hold=HOLD, entry=entry("taken", received=at(5)), view=view(running=[BUSY])),
            (
                "taken",
                "mail-1 has taken it ahead, and not begun it",
                "mail-1 is busy with shop.slow for 12s",
            ),
        ),
        (
            facts(entry=entry("taken", received=at(5))),
            ("taken", "mail-1 has taken it ahead, and not begun it"),
        ),
        (
            facts(hold=Hold("mail-1", "mail", message(eta=IN_30_S))),
            ("scheduled", "mail-1 has taken it, and keeps it until it is due in 30s"),
        ),
        (
            facts(entry=entry("scheduled", eta=at(-30))),
            ("scheduled", "mail-1 has taken it, and keeps it until it is due in 30s"),
        ),
        (
            facts(entry=entry("scheduled", eta=at(-30), retries=1, max_retries=3, error="ValueError: x")),
            (
                "retrying",
                "mail-1 has taken retry 1 of 3, and keeps it until it is due in 30s",
                "it had failed: ValueError: x",
            ),
        ),
        (
            facts(hold=Hold("mail-1", "mail", message(eta=IN_30_S, retries=1))),
            ("retrying", "mail-1 has taken retry 1, and keeps it until it is due in 30s"),
        ),
        (
            facts(hold=Hold("mail-1", "mail", message(eta=IN_30_S)), revoked=True),
            ("revoked", "it is revoked: mail-1, which has taken it, drops it"),
        ),
        (  # on a RabbitMQ, the ledger alone tells
            facts(entry=entry("taken", received=at(5)), revoked=True),
            ("revoked", "it is revoked: mail-1, which has taken it, drops it"),
        ),
        (
            facts(hold=Hold("mail-1", "mail", message(expires=BEFORE_30_S))),
            ("expired", "it expired 30s ago: mail-1, which has taken it, drops it"),
        ),
        (
            facts(hold=HOLD, view=view(status=status(worker(pid=None, state="backoff")))),
            (
                "waiting",
                "mail-1 had taken it, and is gone; it was not acknowledged, and comes back with its successor",
            ),
        ),
    ],
)
def test_of_a_task_that_a_worker_has(found: Facts, expected: tuple[str, ...]) -> None:
    assert told(diagnose(found)) == expected


DOWN = view(status=status(worker(pid=None, state="stopped"), state="down"))
EMPTY = view(status=status(queues=(QueueStatus("mail", 0, None, None, 1),)))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            facts(entry=entry("succeeded", sent=at(20), started=at(15), ended=at(5), runtime=1200)),
            ("succeeded", "it succeeded on mail-1, 5s ago, and ran 1.2 s", "it had waited 5 s in mail"),
        ),
        (
            facts(entry=entry("failed", ended=at(5), error="ValueError: x")),
            (
                "failed",
                "it failed on mail-1, 5s ago: ValueError: x",
                "→ celeryfleet result 1",
                "→ celeryfleet retry 1",
            ),
        ),
        (
            facts(entry=entry("failed", ended=at(5), error="ValueError: x", retried_as="9")),
            (
                "failed",
                "it failed on mail-1, 5s ago: ValueError: x",
                "it was sent again as 9",
                "→ celeryfleet why 9",
            ),
        ),
        (
            facts(entry=entry("lost", ended=at(5))),
            (
                "lost",
                "it was lost: mail-1 was killed while it ran, 5s ago, and it had been acknowledged before",
                "with task_acks_late and task_reject_on_worker_lost it would run again",
                "→ celeryfleet retry 1",
            ),
        ),
        (facts(entry=entry("revoked", ended=at(5))), ("revoked", "it was revoked on mail-1, 5s ago")),
        (facts(entry=entry("expired", ended=at(5))), ("expired", "it had expired, and was dropped on mail-1, 5s ago")),
        (
            facts(
                entry=entry("retrying", retries=2, max_retries=3, eta=at(-40), error="ValueError: x"),
                maybe=(("mail", 3),),
            ),
            (
                "retrying",
                "retry 2 of 3 is due in 40s",
                "it had failed on mail-1: ValueError: x",
                "mail-1 is free",
            ),
        ),
        (
            facts(entry=entry("waiting", late=1), maybe=(("mail", 3),)),
            (
                "waiting",
                "mail-1 had taken it, and has ended; it was not acknowledged, so that it came back to mail",
                "mail-1 is free",
            ),
        ),
        (
            facts(entry=entry("waiting", late=1), maybe=(("mail", 3),), revoked=True),
            (
                "revoked",
                "it is revoked: the worker that takes it drops it",
                "mail-1 had taken it, and has ended; it was not acknowledged, so that it came back to mail",
            ),
        ),
        (  # it was said to wait for as long as the ledger knew it: a Redis tells that it is not there
            facts(entry=entry("waiting", late=1)),
            (
                "unknown",
                "mail-1 had taken it, and has ended; it was not acknowledged, so that it came back to mail",
                "it is not in mail now: it was purged or dropped, or a worker takes it at this moment",
            ),
        ),
        (
            facts(entry=entry("waiting", late=1), maybe=(("mail", 0),), view=EMPTY),
            (
                "unknown",
                "mail-1 had taken it, and has ended; it was not acknowledged, so that it came back to mail",
                "it is not in mail now: it was purged or dropped, or a worker takes it at this moment",
            ),
        ),
        (
            facts(entry=entry("retrying", eta=at(-30), retries=1, error="x"), maybe=(("mail", 0),), view=EMPTY),
            ("retrying", "retry 1 is due in 30s", "it had failed on mail-1: x", "mail-1 is free"),
        ),
        (
            facts(entry=entry("running", started=at(9), late=1), view=DOWN),
            (
                "unknown",
                "it ran on mail-1 when that ended; what became of it was not told",
                "unless it was done, it is in mail again",
            ),
        ),
        (
            facts(entry=entry("running", started=at(9), pid=8), hold=HOLD, view=replace(DOWN, alive={8})),
            (
                "running",
                "it runs on mail-1 for 9s (pid 8)",
                "the supervisor is gone: mail-1 ends its task, and stops",
                "→ celeryfleet up -d",
            ),
        ),
        (
            facts(entry=entry("running", started=at(9)), view=DOWN),
            ("unknown", "it ran on mail-1 when that ended; what became of it was not told"),
        ),
        (
            facts(entry=entry("running", started=at(9)), view=DOWN, record=Record("SUCCESS")),
            ("succeeded", "its result says SUCCESS", "→ celeryfleet result 1"),
        ),
        (
            facts(entry=entry("unknown")),
            (
                "unknown",
                "it was with mail-1; what became of it was not told",
                "its supervisor was killed, or the ledger could not be written",
            ),
        ),
    ],
)
def test_of_a_task_that_the_ledger_alone_knows(found: Facts, expected: tuple[str, ...]) -> None:
    assert told(diagnose(found)) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            facts(record=Record("FAILURE", error="ValueError: x", worker="mail-1@shop.host")),
            ("failed", "its result says FAILURE, by mail-1: ValueError: x", "→ celeryfleet result 1"),
        ),
        (facts(record=Record("REVOKED")), ("revoked", "its result says REVOKED")),
        (facts(record=Record("STARTED")), ("running", "its result says STARTED")),
        (
            facts(),
            (
                "unknown",
                "no queue, no worker, no ledger and no result knows this id",
                "it was never sent here, or its result and what the ledger told of it are dropped by now",
            ),
        ),
        (
            facts(maybe=(("mail", 12), ("low", 0))),
            (
                "unknown",
                "no worker has had it, and there is no result of it",
                "it may be among those that wait: 12 in mail",
                "this broker does not tell which those are: to see a message, one has to take it",
            ),
        ),
        (
            facts(maybe=(("mail", 0),)),
            (
                "unknown",
                "no worker has had it, and there is no result of it",
                "nothing waits in the queues either",
                "it was never sent, it expired in a queue, or it is a step of a canvas that is still to be sent",
            ),
        ),
        (
            facts(maybe=(("mail", 12),), revoked=True),
            (
                "revoked",
                "it is revoked: the worker that takes it drops it",
                "no worker has had it, and there is no result of it",
                "it may be among those that wait: 12 in mail",
                "this broker does not tell which those are: to see a message, one has to take it",
            ),
        ),
        (  # that there are no results is no reason to leave out where it may wait
            facts(maybe=(("mail", 12),), view=view(troubles=("this fleet keeps no results",))),
            (
                "unknown",
                "no worker has had it, and there is no result of it",
                "it may be among those that wait: 12 in mail",
                "this broker does not tell which those are: to see a message, one has to take it",
                "this fleet keeps no results",
            ),
        ),
        (
            facts(view=view(troubles=("the broker redis://host cannot be asked: no answer within 2 s",))),
            (
                "unknown",
                "of what can be asked now, nothing knows this id",
                "the broker redis://host cannot be asked: no answer within 2 s",
            ),
        ),
        (
            facts(view=view(status=status(state="down", broker=BrokerStatus("embedded", "down")))),
            (
                "unknown",
                "of what can be asked now, nothing knows this id",
                "the fleet is not running",
                "→ celeryfleet up -d",
            ),
        ),
        (
            facts(maybe=(("mail", 12),), view=view(status=status(paused=("mail",), paused_s={"mail": 190.0}))),
            (
                "unknown",
                "no worker has had it, and there is no result of it",
                "it may be among those that wait: 12 in mail",
                "this broker does not tell which those are: to see a message, one has to take it",
                "mail has been paused for 3m10s",
                "→ celeryfleet resume mail",
            ),
        ),
        (
            facts(steps=(entry("running", id="2", task="shop.slow"),), follows_as="shop.sum"),
            ("waiting", "it is sent once shop.slow (2) is done, which runs on mail-1", "→ celeryfleet why 2"),
        ),
        (
            facts(steps=(entry("waiting", id="2", worker=""), entry("taken", id="3"))),
            ("waiting", "it is sent once shop.a (2) and 1 other are done; that waits in mail", "→ celeryfleet why 2"),
        ),
        (
            facts(steps=(entry("taken", id="3"), entry("lost", id="2"))),
            (
                "lost",
                "it is not sent, since it follows shop.a (2), which is lost",
                "→ celeryfleet retry 2",
                "→ celeryfleet why 2",
            ),
        ),
        (
            facts(members=(entry("succeeded", id="2"), entry("running", id="3"), entry("waiting", id="4"))),
            (
                "running",
                "it is a group, of which this is known: 1 task succeeded, 1 task running and 1 task waiting",
                "→ celeryfleet result 1",
            ),
        ),
        (
            facts(members=(entry("succeeded", id="2"), entry("failed", id="3", error="ValueError: x"))),
            (
                "failed",
                "it is a group, of which this is known: 1 task succeeded and 1 task failed",
                "→ celeryfleet result 1",
            ),
        ),
    ],
)
def test_of_a_task_that_only_its_result_or_nobody_knows(found: Facts, expected: tuple[str, ...]) -> None:
    assert told(diagnose(found)) == expected


def test_what_the_ledger_has_learnt_since_the_queues_were_looked_through_goes_before_what_was_seen_there() -> None:
    ended = entry("succeeded", ended=at(-1))
    assert diagnose(facts(place=place(), entry=ended)).state == "succeeded"
    assert diagnose(facts(place=place(), entry=replace(ended, ended=at(1)))).state == "waiting"


def test_of_a_queue_that_is_busy_and_of_one_that_is_empty() -> None:
    busy = of_queue(view(running=[BUSY], rates={"mail": 0.5}), "mail")
    assert told(busy) == (
        "waiting",
        "3 messages wait in mail, the oldest for 18s; workers have 1",
        "mail-1 is busy with shop.slow for 12s",
        "of mail 0.5 a second are done of late: that takes about 6s",
    )
    assert (busy.queue, busy.of, busy.since_s, busy.eta_s) == ("mail", 3, 18.0, 6.0)
    empty = of_queue(view(status=status(queues=(QueueStatus("mail", 0, 0, None, 1),))), "mail")
    assert told(empty) == ("waiting", "nothing waits in mail", "mail-1 is free")
    aside = of_queue(view(status=status(backlog=Backlog("redis://host", parked="shop.failed"))), "shop.failed")
    assert aside.because[0] == "nothing waits in shop.failed"
    assert "nobody reads shop.failed: tasks that kill their workers are set aside there" in aside.because
    many = of_queue(view(status=status(*(worker(f"mail-{number}") for number in range(1, 6)))), "mail")
    assert many.because[-1] == "2 more workers of 5 read it"


def test_a_queue_whose_messages_all_are_with_workers_says_so_on_any_broker() -> None:
    rabbit = status(queues=(QueueStatus("mail", 0, None, None, 1),))
    later = entry("scheduled", id="3", eta=at(-30))
    assert told(of_queue(view(status=rabbit, held=[later]), "mail")) == (
        "scheduled",
        "nothing waits in mail; workers have 1",
        "1 of those is due in 30s",
        "mail-1 is free",
    )
    busy = of_queue(view(status=rabbit, held=[BUSY, later], running=[BUSY]), "mail")
    assert busy.because[0] == "nothing waits in mail; workers have 2"
    assert busy.state == "running"


def test_no_time_is_told_until_messages_are_done_that_nobody_takes() -> None:
    nobody = status(pools=(PoolStatus("mail", ("mail",), 0, 0, (), "prefork", 1),))
    found = of_queue(view(status=nobody, rates={"mail": 0.5}), "mail")
    assert found.because[1:] == ("no worker is wanted of mail, which reads mail",)
    assert found.eta_s is None


def test_a_queue_whose_pool_was_stopped_is_not_said_to_be_read_by_none() -> None:
    stopped = of_queue(view(status=status(pools=()), declared={"mail": "web"}), "mail")
    assert told(stopped)[2:] == ("web, which reads mail, does not run", "→ celeryfleet up web")


def test_what_a_pool_takes_before_a_queue_is_a_reason_to_wait() -> None:
    queues = tuple(QueueStatus(name, 3, 0, 18.0, 1) for name in ("mail", "low", "idle"))
    pools = (PoolStatus("mail", ("mail", "low"), 1, 1, (worker(),), "prefork", 1),)
    behind = view(status=status(pools=pools, queues=queues), strict={"mail"})
    assert "at one priority, mail takes first what waits in mail (3)" in of_queue(behind, "low").because
    assert len(of_queue(behind, "mail").because) == len(of_queue(replace(behind, strict=()), "low").because) == 2
    paused = replace(behind, status=behind.status.but(paused=("mail",)))
    assert len(of_queue(paused, "low").because) == 2, "what is paused is not taken first"


def test_of_a_task_by_its_name() -> None:
    failed = entry("failed", ended=at(60), error="ValueError: x")
    found = of_task(view(running=[BUSY]), "shop.slow", {"mail": (2, 3)}, [BUSY], [failed])
    assert told(found) == (
        "running",
        "2 running on mail-1 for 12s",
        "3 messages wait in mail: 2 are its own",
        "1 failed 1m00s ago: ValueError: x",
        "mail-1 is busy with shop.slow for 12s",
        "→ celeryfleet failed --task shop.slow",
    )
    retried = entry("scheduled", received=at(5), retries=1, eta=at(-30))
    assert told(of_task(view(), "shop.a", {}, [retried], [])) == ("retrying", "1 retrying on mail-1 for 5s, due in 30s")
    no_broker = view(status=status(broker=BrokerStatus("redis://host", "down")))
    assert of_task(no_broker, "shop.slow", {}, [BUSY], []).of is None
    gone = entry("waiting", received=at(500))
    assert told(of_task(view(), "shop.a", {}, [gone], []))[1] == "1 waiting in mail for 8m20s"
    assert told(of_task(EMPTY, "shop.a", {}, [gone], [])) == ("unknown", "nothing is known of it")
    over = of_task(view(), "shop.a", {}, [], [entry("succeeded", ended=at(60))])
    assert told(over) == ("succeeded", "the latest to end, 1m00s ago: 1 succeeded")
    assert told(of_task(view(), "shop.a", {}, [], [])) == ("unknown", "nothing is known of it")
    unsure = of_task(view(), "shop.a", {"mail": (None, 3)}, [], [failed])
    assert unsure.because[0] == "3 messages wait in mail: how many are its own is not told"
    assert (unsure.state, unsure.of) == ("failed", None)
