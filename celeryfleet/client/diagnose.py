"""Says where a task is and why it is not further, out of what was found of it. Pure: it asks nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celeryfleet.client.standing import Answer, at_work, turn
from celeryfleet.client.told import (
    DROPPED,
    Facts,
    Place,
    as_kept,
    as_told,
    of_group,
    reasoned,
    seconds_until,
    to_come,
    tries,
    unknown,
    until,
)
from celeryfleet.ledger.entry import (
    EXPIRED,
    FAILED,
    RETRYING,
    REVOKED,
    RUNNING,
    SCHEDULED,
    TAKEN,
    UNKNOWN,
    WAITING,
)
from celeryfleet.protocol import PARKED_HEADER
from celeryfleet.text import age

if TYPE_CHECKING:
    from celeryfleet.client.messages import Message
    from celeryfleet.client.standing import Reason


def diagnose(facts: Facts) -> Answer:
    """Say where a task is and why it is not further."""
    entry, view = facts.entry, facts.view
    if entry is not None and max(entry.received or 0, entry.started or 0, entry.ended or 0) >= view.now * 1000:
        facts = replace(facts, place=None, hold=None)  # the ledger was read after the queues
    if facts.place is not None:
        return _waiting(facts, facts.place)
    running = facts.running
    if running is not None or facts.hold is not None:
        held = facts.hold
        worker = running.worker if running is not None else held.worker if held else ""
        return _in_hand(facts, worker, held.message if held else None)
    if entry is not None and entry.state in (TAKEN, SCHEDULED) and view.lives(entry.worker):
        return _in_hand(facts, entry.worker, None)
    if entry is not None and not (entry.state == UNKNOWN and facts.record):
        return as_told(facts, entry)
    if facts.record is not None:
        return as_kept(facts, facts.record)
    return of_group(facts) if facts.members else to_come(facts) if facts.steps else unknown(facts)


# --- In a queue -------------------------------------------------------------------------------------------


def _waiting(facts: Facts, place: Place) -> Answer:
    message, queue, now = place.message, place.queue, facts.view.now
    nth = "the next" if place.position == 1 else _ordinal(place.position)
    where = f"it is {nth} of {place.of:,} in {queue}"
    answer = Answer(
        state=WAITING,
        because=(where,),
        id=facts.id,
        task=message.task,
        queue=queue,
        position=place.position,
        of=place.of,
        since_s=message.age(now),
    )
    if PARKED_HEADER in message.headers:
        return _parked(facts, answer, message.headers[PARKED_HEADER])
    drops = "the worker that takes it drops it"
    due, expires = seconds_until(message.eta, now), seconds_until(message.expires, now)
    if facts.revoked:
        return replace(answer, state=REVOKED, because=(DROPPED, where))
    if expires is not None and expires <= 0:
        return replace(answer, state=EXPIRED, because=(f"it expired {age(-expires)} ago: {drops}", where))
    if due is not None and due > 0:
        told = f"{tries(facts, message.retries)} is due in {age(due)}; no worker has taken it yet"
        state = RETRYING if message.retries else SCHEDULED
        return reasoned(facts, replace(answer, state=state, eta_s=round(due, 1), because=(told, where)), queue)
    eta, told = turn(facts.view, queue, place.position)
    again = (f"it is {tries(facts, message.retries)}",) if message.retries else ()
    return reasoned(facts, replace(answer, eta_s=eta, because=(where, *again)), queue, told)


def _parked(facts: Facts, answer: Answer, about: Any) -> Answer:
    error = str(about.get("error", "")) if isinstance(about, dict) else ""
    return replace(
        answer,
        state=FAILED,
        error=error,
        worker=str(about.get("worker") or "") or None if isinstance(about, dict) else None,
        because=(f"it is parked in {answer.queue}: {error}",),
        hints=(f"celeryfleet retry {facts.id}",),
    )


# --- With a worker ----------------------------------------------------------------------------------------


def _in_hand(facts: Facts, name: str, message: Message | None) -> Answer:
    """Say what a worker does with it."""
    view, entry, running = facts.view, facts.entry, facts.running
    worker = view.worker(name)
    about = entry if entry is not None and entry.worker == name else running
    answer = Answer(
        state=RUNNING,
        because=(),
        id=facts.id,
        task=(message.task if message else "") or (about.task if about else None),
        queue=(facts.hold.queue if facts.hold else "") or (about.queue if about else "") or None,
        worker=name,
    )
    orphaned = running is not None and running.pid in view.alive and not view.lives(name)
    if worker is None or not (orphaned or view.lives(name)):
        return _left_behind(facts, answer, name, view.status.state == "down")
    if running is not None:
        since, pid = view.seconds(running.started), running.pid
        told = f"it runs on {name}{f' for {age(since)}' if since is not None else ''}"
        told += f" (pid {pid})" if pid else ""
        halted: Reason = "", ""
        if orphaned:
            halted = f"the supervisor is gone: {name} ends its task, and stops", "celeryfleet up -d"
        elif worker.pid in view.stopped or worker.state != "ready":
            halted = at_work(view, worker)
        elif pid in view.stopped:
            halted = f"its process {pid} is stopped by a signal", f"kill -CONT {pid}"
        return replace(
            answer,
            since_s=since,
            pid=pid or None,
            worker_pid=worker.pid,
            because=(told, *([halted[0]] if halted[0] else []), *view.troubles),
            hints=(halted[1],) if halted[1] else (),
        )
    due = seconds_until(message.eta, view.now) if message else until(entry, view.now)
    since = view.seconds(about.received) if about else None
    retries = message.retries if message else about.retries if about else 0
    if message is not None and (over := seconds_until(message.expires, view.now)) is not None and over <= 0:
        told = f"it expired {age(-over)} ago: {name}, which has taken it, drops it"
        return replace(answer, state=EXPIRED, because=(told, *view.troubles))
    if facts.revoked:
        return replace(answer, state=REVOKED, because=(f"it is revoked: {name}, which has taken it, drops it",))
    if due is not None and due > 0:
        told = f"{name} has taken {tries(facts, retries)}, and keeps it until it is due in {age(due)}"
        state = RETRYING if retries else SCHEDULED
        error = entry.error if entry is not None and retries else None
        because = (told, *([f"it had failed: {error}"] if error else []), *view.troubles)
        return replace(answer, state=state, since_s=since, eta_s=round(due, 1), error=error, because=because)
    text, hint = at_work(view, worker)
    told = f"{name} has taken it ahead, and not begun it"
    because = (told, *([text] if not text.endswith("is free") else []), *view.troubles)
    return replace(answer, state=TAKEN, since_s=since, because=because, hints=(hint,) if hint else ())


def _left_behind(facts: Facts, answer: Answer, name: str, down: bool) -> Answer:
    """Say what becomes of what a worker had that is gone."""
    if facts.hold is None:
        entry = facts.entry or facts.running
        return as_told(facts, entry) if entry is not None else unknown(facts)
    told = f"{name} had taken it, and is gone; it was not acknowledged, and comes back with its successor"
    hints = ("celeryfleet up -d",) if down else ()
    return replace(answer, state=WAITING, worker=None, because=(told, *facts.view.troubles), hints=hints)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
