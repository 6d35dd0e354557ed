"""Says what became of a task by what the ledger and its result tell, and what would make it known. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from celeryfleet.client.outcome import GOOD
from celeryfleet.client.standing import DOWN, Answer, View, held_up, nobody
from celeryfleet.ledger.entry import (
    EXPIRED,
    FAILED,
    HELD,
    LOST,
    RETRYING,
    REVOKED,
    RUNNING,
    SCHEDULED,
    SUCCEEDED,
    TAKEN,
    UNKNOWN,
    WAITING,
)
from celeryfleet.text import age, counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeryfleet.client.messages import Message
    from celeryfleet.client.outcome import Record
    from celeryfleet.client.standing import Reason
    from celeryfleet.ledger.entry import Entry


#: of a task that is revoked and waits
DROPPED = "it is revoked: the worker that takes it drops it"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message waits: 1 is the next."""

    queue: str
    position: int
    of: int
    message: Message


@dataclass(frozen=True, slots=True)
class Hold:
    """A message that a worker has, and has not acknowledged."""

    worker: str
    queue: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found of one task."""

    id: str
    view: View
    #: as the ledger has it
    entry: Entry | None = None
    place: Place | None = None
    hold: Hold | None = None
    #: as the result backend has it
    record: Record | None = None
    #: whether workers know it as revoked
    revoked: bool = False
    #: tasks of the group that it is, or those of a canvas that it follows, as far as they are known
    members: tuple[Entry, ...] = ()
    steps: tuple[Entry, ...] = ()
    #: the name of what follows them
    follows_as: str = ""
    #: queues that it may wait in, as far as can be known without taking messages, and how many wait there
    maybe: tuple[tuple[str, int], ...] = ()

    @property
    def running(self) -> Entry | None:
        """Return what tells that it runs, if anything does."""
        if self.entry is not None and self.entry.state == RUNNING:
            return self.entry
        return next((entry for entry in self.view.running if entry.id == self.id), None)


def as_told(facts: Facts, entry: Entry) -> Answer:
    """Say what became of a task by the ledger alone: it is in no queue that can be looked through."""
    answer = Answer(
        state=entry.state,
        because=(),
        id=entry.id,
        task=entry.task,
        queue=entry.queue or None,
        worker=entry.worker or None,
        since_s=facts.view.seconds(entry.ended or entry.started or entry.received),
        error=entry.error,
    )
    if entry.state in HELD:
        return _cut_off(facts, entry, replace(answer, worker=None))
    texts = [*_end(entry, answer.since_s)]
    hints = (f"celeryfleet retry {entry.id}",) if entry.state in (FAILED, LOST) else ()
    if entry.retried_as:
        texts.append(f"it was sent again as {entry.retried_as}")
        hints = (f"celeryfleet why {entry.retried_as}",)
    elif entry.state == FAILED:
        hints = (f"celeryfleet result {entry.id}", *hints)
    return replace(answer, because=(*texts, *facts.view.troubles), hints=hints)


def _cut_off(facts: Facts, entry: Entry, answer: Answer) -> Answer:
    """Say where a task is that no worker holds any more, nor has ended."""
    if entry.state == RETRYING:
        due = until(entry, facts.view.now) or 0.0
        when = f"is due in {age(due)}" if due > 0 else "is due"
        text = f"it had failed on {entry.worker}: {entry.error}"
        texts = (f"{tries(facts, entry.retries)} {when}", text)
        answer = replace(answer, because=texts, eta_s=max(0.0, round(due, 1)))
    elif entry.state != RUNNING:
        queue = entry.queue or "its queue"
        text = f"{entry.worker} had taken it, and has ended; it was not acknowledged, so that it came back to {queue}"
        answer = replace(answer, state=WAITING, because=(text,))
    elif facts.record is not None:
        return as_kept(facts, facts.record)
    else:
        text = f"it ran on {entry.worker} when that ended; what became of it was not told"
        again = (f"unless it was done, it is in {entry.queue} again",) if entry.late and entry.queue else ()
        return replace(answer, state=UNKNOWN, worker=entry.worker, because=(text, *again, *facts.view.troubles))
    view = facts.view
    looked = view.status.broker.state == "up" and entry.latest < view.now * 1000 and entry.queue
    # Beside a Redis, a worker may have the next try and not tell of it: Celery forgets it with the one before.
    if looked and not (facts.maybe and (entry.state == RETRYING or view.may_wait(entry))):
        gone = f"it is not in {entry.queue} now: it was purged or dropped, or a worker takes it at this moment"
        return replace(answer, state=UNKNOWN, because=(text, gone, *view.troubles), eta_s=None)
    if facts.revoked:
        return replace(answer, state=REVOKED, because=(DROPPED, *answer.because, *facts.view.troubles))
    return reasoned(facts, answer, entry.queue)


def _end(entry: Entry, since: float | None) -> Iterator[str]:
    """Say how a task has ended."""
    on = f" on {entry.worker}" if entry.worker else ""
    ago = f", {age(since)} ago" if since is not None else ""
    ran = entry.runtime_s
    match entry.state:
        case "succeeded":
            yield f"it succeeded{on}{ago}{f', and ran {ran:.3g} s' if ran is not None else ''}"
        case "failed":
            yield f"it failed{on}{ago}{f', and ran {ran:.3g} s' if ran is not None else ''}: {entry.error}"
        case "lost":
            yield f"it was lost: {entry.worker} was killed while it ran{ago}, and it had been acknowledged before"
            yield "with task_acks_late and task_reject_on_worker_lost it would run again"
        case "revoked":
            yield f"it was revoked{on}{ago}"
        case "expired":
            yield f"it had expired, and was dropped{on}{ago}"
        case _:
            yield f"it was with {entry.worker}; what became of it was not told"
            yield "its supervisor was killed, or the ledger could not be written"
    if entry.wait_s is not None and entry.queue:
        yield f"it had waited {entry.wait_s:.3g} s in {entry.queue}"


def as_kept(facts: Facts, record: Record) -> Answer:
    """Say what became of a task by its result."""
    state = SUCCEEDED if record.state in GOOD else FAILED
    state = {"REVOKED": REVOKED, "RETRY": RETRYING, "STARTED": RUNNING, "RECEIVED": TAKEN}.get(record.state, state)
    worker = record.worker.partition("@")[0]
    entry = facts.entry
    told = f"its result says {record.state}{f', by {worker}' if worker else ''}"
    return Answer(
        state=state,
        because=(f"{told}: {record.error}" if record.error else told, *facts.view.troubles),
        hints=(f"celeryfleet result {facts.id}",) if state in (SUCCEEDED, FAILED) else (),
        id=facts.id,
        task=entry.task if entry else None,
        queue=entry.queue if entry else None,
        worker=worker or None,
        error=record.error or None,
    )


def of_group(facts: Facts) -> Answer:
    """Say how far a group is."""
    counts = Counter(entry.state for entry in facts.members)
    told = [f"{counted(count, 'task')} {state}" for state, count in counts.items()]
    bad = next((state for state in (FAILED, LOST, REVOKED, EXPIRED) if counts[state]), SUCCEEDED)
    state = next((state for state in (RUNNING, TAKEN, WAITING, SCHEDULED, RETRYING) if counts[state]), bad)
    return Answer(
        state=state,
        because=(f"it is a group, of which this is known: {listed(told)}", *facts.view.troubles),
        hints=(f"celeryfleet result {facts.id}",),
        id=facts.id,
        of=len(facts.members),
        error=next((entry.error for entry in facts.members if entry.state == bad and entry.error), None),
    )


def to_come(facts: Facts) -> Answer:
    """Say what a task waits for that is sent once others are done, or that it is not sent as one of them went wrong."""
    steps = sorted(facts.steps, key=lambda entry: entry.state in HELD)
    first, more = steps[0], len(steps) - 1
    others = f" and {counted(more, 'other')} are done; that" if more else " is done, which"
    told = f"it is sent once {first.task} ({first.id}){others}"
    hints: tuple[str, ...] = (f"celeryfleet why {first.id}",)
    state, on = WAITING, f" on {first.worker}" if first.worker else ""
    match first.state:
        case "running":
            told += f" runs{on}"
        case "waiting":
            told += f" waits in {first.queue}"
        case "taken" | "scheduled" | "retrying":
            told += f" is {first.state}{on}"
        case _:
            state = first.state
            told = f"it is not sent, since it follows {first.task} ({first.id}), which is {state}"
            hints = (f"celeryfleet retry {first.id}", *hints) if state in (FAILED, LOST) else hints
    because = (told, *facts.view.troubles)
    return Answer(state=state, because=because, hints=hints, id=facts.id, task=facts.follows_as or None)


def unknown(facts: Facts) -> Answer:
    """Say what would make it known."""
    waits = [f"{count:,} in {queue}" for queue, count in facts.maybe if count]
    texts = ["no queue, no worker, no ledger and no result knows this id"]
    reasons: list[Reason] = []
    if facts.view.status.state == "down":
        reasons.append(DOWN)
    if facts.maybe:
        texts = ["no worker has had it, and there is no result of it"]
        if waits:
            texts.append(f"it may be among those that wait: {listed(waits)}")
            texts.append("this broker does not tell which those are: to see a message, one has to take it")
            reasons += filter(None, (nobody(facts.view, queue) for queue, count in facts.maybe if count))
        else:
            texts.append("nothing waits in the queues either")
            texts.append(
                "it was never sent, it expired in a queue, or it is a step of a canvas that is still to be sent"
            )
    elif facts.view.troubles or facts.view.status.broker.state == "down":
        texts = ["of what can be asked now, nothing knows this id"]
    else:
        texts.append("it was never sent here, or its result and what the ledger told of it are dropped by now")
    lacks = [facts.view.no_ledger] if facts.view.no_ledger else []
    told = dict.fromkeys(reasons)
    dropped = [DROPPED] if facts.revoked and waits else []
    because = (*dropped, *texts, *(text for text, _ in told), *facts.view.troubles, *lacks)
    state = REVOKED if dropped else UNKNOWN
    return Answer(state=state, because=because, hints=tuple(hint for _, hint in told), id=facts.id)


def reasoned(facts: Facts, answer: Answer, queue: str, last: str = "") -> Answer:
    """Add why messages of a queue are not taken at once."""
    reasons = list(held_up(facts.view, queue))
    texts = (*(text for text, _ in reasons), *([last] if last else []), *facts.view.troubles)
    hints = tuple(hint for _, hint in reasons if hint)
    return replace(answer, because=(*answer.because, *texts), hints=(*answer.hints, *hints))


# --- Words ------------------------------------------------------------------------------------------------


def tries(facts: Facts, retries: int) -> str:
    most = facts.entry.max_retries if facts.entry is not None else None
    if not retries:
        return "it"
    return f"retry {retries}{f' of {most}' if most is not None else ''}"


def until(entry: Entry | None, now: float) -> float | None:
    return None if entry is None or entry.eta is None else entry.eta / 1000 - now


def seconds_until(text: str, now: float) -> float | None:
    """Return the seconds until a time in ISO 8601, which is Celery's UTC where it names no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
