"""Says how a queue stands and what keeps its messages: who reads it, what they are busy with, when it is whose turn.

Pure: it goes by what was found out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.ledger.entry import FAILED, LOST, RETRYING, RUNNING, SCHEDULED, TAKEN, UNKNOWN, WAITING
from celeryfleet.protocol import read_elsewhere
from celeryfleet.text import age, counted, listed

if TYPE_CHECKING:
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.protocol import PoolStatus, QueueStatus, Status, WorkerStatus

    #: why something is not further, and what to do about it, or nothing
    Reason: TypeAlias = tuple[str, str]

#: workers that are told of by name
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the fleet was when it was asked."""

    #: unix seconds
    now: float
    status: Status
    #: tasks that run; of those that only the workers' notes tell of, no more than task, id and worker are known
    running: Sequence[Entry] = ()
    #: what the workers here hold, as far as the ledger tells
    held: Sequence[Entry] = ()
    #: pools that take nothing of a queue while something waits in one that they name before it
    strict: Collection[str] = ()
    #: a pool of fleet.yaml for each queue that one reads, whether it runs or not
    declared: Mapping[str, str] = field(default_factory=dict)
    #: tasks a second that have ended of late, by queue
    rates: Mapping[str, float] = field(default_factory=dict)
    #: processes that a signal has stopped
    stopped: Collection[int] = ()
    #: processes of running tasks that there still are, whatever became of their supervisor
    alive: Collection[int] = ()
    #: what could not be asked
    troubles: tuple[str, ...] = ()
    #: why there is no ledger, if so
    no_ledger: str = ""

    def worker(self, name: str) -> WorkerStatus | None:
        """Find a worker by its name."""
        return next((one for pool in self.status.pools for one in pool.workers if one.name == name), None)

    def lives(self, worker: str) -> bool:
        """Tell whether a worker has a process."""
        found = self.worker(worker)
        return found is not None and found.pid is not None

    def queue(self, name: str) -> QueueStatus | None:
        """Find a queue by its name."""
        return next((queue for queue in self.status.queues if queue.name == name), None)

    def runs(self, worker: str) -> list[Entry]:
        """Return what runs on a worker, the longest first."""
        found = [entry for entry in self.running if entry.worker == worker]
        return sorted(found, key=lambda entry: entry.started or 0)

    def due(self, entry: Entry) -> float | None:
        """Return the seconds until a task may begin that is kept until then."""
        left = (entry.eta or 0) / 1000 - self.now
        return left if left > 0 else None

    def may_wait(self, entry: Entry) -> bool:
        """Tell whether a task can be in its queue: not where that is empty."""
        queue = self.queue(entry.queue)
        return queue is None or queue.ready != 0

    def seconds(self, at: int | None) -> float | None:
        """Return the seconds since a time of the ledger."""
        return None if at is None else max(0.0, round(self.now - at / 1000, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a task is, or how a task or a queue stands; what is None is not known."""

    #: one of those of `ledger.entry`
    state: str
    #: the first says where it is, the others why it is not further
    because: tuple[str, ...]
    #: what to do
    hints: tuple[str, ...] = ()
    id: str | None = None
    task: str | None = None
    queue: str | None = None
    #: 1 is the next
    position: int | None = None
    of: int | None = None
    worker: str | None = None
    #: of the process that runs it, and of its worker's main process
    pid: int | None = None
    worker_pid: int | None = None
    #: seconds in this state, and seconds until it begins
    since_s: float | None = None
    eta_s: float | None = None
    error: str | None = None


#: why nothing is taken while nothing runs
DOWN: Reason = "the fleet is not running", "celeryfleet up -d"


def nobody(view: View, queue: str) -> Reason | None:
    """Say why nobody takes messages of a queue, if that is so."""
    status = view.status
    pools = [pool for pool in status.pools if queue in pool.queues]
    if status.state == "down":
        return DOWN
    if queue in status.paused:
        by = f", by {status.paused_by[queue]}" if queue in status.paused_by else ""
        return f"{queue} has been paused for {age(status.paused_s.get(queue, 0))}{by}", f"celeryfleet resume {queue}"
    if queue == status.backlog.parked:
        return f"nobody reads {queue}: tasks that kill their workers are set aside there", "celeryfleet failed"
    if not pools and (others := read_elsewhere(status, queue)):
        return f"{queue} is read on {others[0]}, of which nothing is known now", "celeryfleet status --all"
    if not pools and (stopped := view.declared.get(queue)):
        return f"{stopped}, which reads {queue}, does not run", f"celeryfleet up {stopped}"
    if not pools:
        return f"no pool reads {queue}", "name it in a pool's `queues:` in fleet.yaml, then: celeryfleet up"
    if not any(pool.want for pool in pools):
        return f"no worker is wanted of {pools[0].name}, which reads {queue}", f"celeryfleet scale {pools[0].name}=1"
    return None


def held_up(view: View, queue: str) -> Iterator[Reason]:
    """Say why messages of a queue are not taken at once."""
    reason = nobody(view, queue)
    if reason is not None:
        yield reason
    else:
        pools = [pool for pool in view.status.pools if queue in pool.queues]
        workers = [worker for pool in pools for worker in pool.workers]
        yield from filter(None, (_overtaken(view, pool, queue) for pool in pools))
        yield from (at_work(view, worker) for worker in workers[:_NAMED])
        if len(workers) > _NAMED:
            yield f"{counted(len(workers) - _NAMED, 'more worker')} of {len(workers)} read it", ""


def _overtaken(view: View, pool: PoolStatus, queue: str) -> Reason | None:
    """Say of which queues a pool takes all before it takes anything of this one."""
    before = pool.queues[: pool.queues.index(queue)] if pool.name in view.strict else ()
    ahead = [one for one in view.status.queues if one.name in before and one.ready and not nobody(view, one.name)]
    told = listed(f"{one.name} ({one.ready:,})" for one in ahead)
    return (f"at one priority, {pool.name} takes first what waits in {told}", "") if ahead else None


def at_work(view: View, worker: WorkerStatus) -> Reason:
    """Say what a worker does, or what keeps it from its work."""
    if worker.pid in view.stopped:
        return f"{worker.name} (pid {worker.pid}) is stopped by a signal", f"kill -CONT {worker.pid}"
    if worker.state != "ready" or worker.cause:
        what = "" if worker.state == "ready" else f" is {worker.state}"
        cause = f": {worker.cause.partition(chr(10))[0]}" if worker.cause else ""
        elsewhere = "@" in worker.name
        hint = "celeryfleet status --all" if elsewhere else f"celeryfleet logs {worker.name.rpartition('-')[0]}"
        return f"{worker.name}{what}{cause}", hint
    runs = view.runs(worker.name)
    if not runs:
        does = f"runs {counted(worker.active, 'task')}" if worker.active else "is free"
        return f"{worker.name} {does}", ""
    since = view.seconds(runs[0].started)
    lasts = f" for {age(since)}" if since is not None else ""
    more = f" and {counted(len(runs) - 1, 'other')}" if len(runs) > 1 else ""
    halted = f", which a signal has stopped (pid {runs[0].pid})" if runs[0].pid in view.stopped else ""
    return f"{worker.name} is busy with {runs[0].task}{lasts}{halted}{more}", ""


def turn(view: View, queue: str, ahead: int) -> tuple[float | None, str]:
    """Return the seconds until so many messages of a queue are done, at the rate of late, and say so."""
    rate = view.rates.get(queue)
    if not rate or nobody(view, queue):
        return None, ""
    seconds = round(ahead / rate, 1)
    return seconds, f"of {queue} {rate:.2g} a second are done of late: that takes about {age(seconds)}"


def of_queue(view: View, name: str) -> Answer:
    """Say how a queue stands."""
    queue = view.queue(name)
    none = 0 if name == view.status.backlog.parked else None  # which is shown only where something is parked
    ready, unacked = (queue.ready, queue.unacked) if queue else (none, None)
    oldest = queue.oldest_age_s if queue else None
    held = [one for one in view.held if one.queue == name and view.lives(one.worker)]
    have, does = max(unacked or 0, len(held)), [one.state for one in held]
    if ready is None:
        facts = [f"how much waits in {name} is not known"]
    else:
        waits = counted(ready, "message", "waits", "wait") if ready else "nothing waits"
        facts = [f"{waits} in {name}"]
        facts[0] += f", the oldest for {age(oldest)}" if oldest is not None and ready else ""
        facts[0] += f"; workers have {have:,}" if have else ""
        if later := [due for one in held if (due := view.due(one))]:
            first = "is due in" if len(later) == 1 else "are not due yet, the first in"
            facts.append(f"{len(later):,} of those {first} {age(min(later))}")
    reasons = list(held_up(view, name))
    eta, told = turn(view, name, ready or 0) if ready else (None, "")
    return Answer(
        state=WAITING if ready or not have else next((one for one in (RUNNING, TAKEN, *does) if one in does), RUNNING),
        because=(*facts, *(text for text, _ in reasons), *([told] if told else []), *view.troubles),
        hints=tuple(hint for _, hint in reasons if hint),
        queue=name,
        of=ready,
        since_s=oldest,
        eta_s=eta,
    )


def of_task(
    view: View,
    name: str,
    waiting: Mapping[str, tuple[int | None, int]],
    held: Sequence[Entry],
    ended: Sequence[Entry],
) -> Answer:
    """Say how the messages of a task stand.

    `waiting` has the queues where some wait, or that it goes to: how many are its own, None where the broker does not
    tell, of how many. `held` is what workers hold of it, `ended` what has ended of late, the latest first.
    """
    held = [one for one in held if one.state != WAITING or view.may_wait(one)]
    held = [replace(entry, state=RETRYING) if entry.state == SCHEDULED and entry.retries else entry for entry in held]
    texts: list[str] = []
    reasons: list[Reason] = []
    for entry in held[:_NAMED]:
        since = view.seconds(entry.started or entry.received)
        lasts = f" for {age(since)}" if since is not None else ""
        where = f" in {entry.queue}" if entry.state == WAITING else f" on {entry.worker}" if entry.worker else ""
        due = view.due(entry)
        texts.append(f"{entry.id} {entry.state}{where}{lasts}{f', due in {age(due)}' if due else ''}")
    if len(held) > _NAMED:
        texts.append(f"{counted(len(held) - _NAMED, 'other')} with workers")
    for queue, (own, total) in waiting.items():
        mine = "how many are its own is not told" if own is None else f"{own:,} {'is' if own == 1 else 'are'} its own"
        waits_there = f"{counted(total, 'message', 'waits', 'wait')} in {queue}: {mine}"
        texts.append(waits_there if total else f"nothing waits in {queue}")
        reasons += held_up(view, queue) if own != 0 else ()
    if view.status.state == "down" and not reasons:
        reasons.append(DOWN)
    latest = {entry.id: entry for entry in (*reversed(ended), *held)}
    failed = [entry for entry in ended if entry.state in (FAILED, LOST) and latest[entry.id] is entry][:_NAMED]
    for entry in failed:
        texts.append(f"{entry.id} {entry.state} {age(view.seconds(entry.ended) or 0)} ago: {entry.error}")
    if ended and ended[0] not in failed:
        texts.append(f"the latest to end, {age(view.seconds(ended[0].ended) or 0)} ago: {ended[0].id} {ended[0].state}")
    states = [entry.state for entry in held]
    unsure = view.status.broker.state == "down" or any(own is None for own, _ in waiting.values())
    waits = sum(own or 0 for own, _ in waiting.values())
    hints = [*(hint for _, hint in reasons if hint), *([f"celeryfleet failed --task {quote(name)}"] if failed else [])]
    likely = [*([RUNNING] if RUNNING in states else []), *([WAITING] if waits else []), *states]
    state = next(iter([*likely, *(entry.state for entry in ended)]), UNKNOWN)
    nothing = ["nothing is known of it", *([view.no_ledger] if view.no_ledger else [])]
    return Answer(
        state=state,
        because=(*(texts or nothing), *(text for text, _ in reasons), *view.troubles),
        hints=tuple(dict.fromkeys(hints)),
        task=name,
        of=None if unsure else waits,
        error=failed[0].error if failed else None,
    )
