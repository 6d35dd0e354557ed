"""What the page is told, as JSON's types. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeryfleet.client.messages import call
from celeryfleet.hosts.messages import state_of
from celeryfleet.ledger.message import arguments
from celeryfleet.records import public
from celeryfleet.render import why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeryfleet.client.messages import Message
    from celeryfleet.client.standing import Answer
    from celeryfleet.history import History
    from celeryfleet.hosts.messages import HostStatus
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.protocol import PoolStatus, QueueStatus, WorkerStatus

#: values of a trend
_TREND = 60


def moment(history: History) -> dict[str, Any]:
    """Return how a fleet is."""
    found = history.latest
    status = found.status
    runs: dict[str, list[dict[str, Any]]] = {}
    for entry in found.running:
        since = max(0.0, found.at - (entry.started or found.at * 1000) / 1000)
        runs.setdefault(entry.worker, []).append({"id": entry.id, "task": entry.task, "for_s": round(since, 1)})
    return {
        "at": found.at,
        "fleet": status.fleet,
        "state": status.state,
        "reason": status.reason,
        "notes": list(status.notes),
        "uptime_s": status.supervisor.uptime_s,
        "broker": {"url": status.broker.url, "state": status.broker.state, "trouble": status.broker.trouble},
        "rate": history.done("all"),
        "rates": [round(rate, 2) for rate in history.speeds()[-_TREND:]],
        "pools": [_pool(history, pool, runs) for pool in status.pools],
        "queues": [_queue(history, queue) for queue in status.queues],
        "ledger": found.ended is not None,
    }


def _pool(history: History, pool: PoolStatus, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    more = {name: getattr(pool, name) for name in pool.hidden}
    workers = [_worker(history, worker, runs.get(worker.name, [])) for worker in pool.workers]
    return {**public(pool), **more, "rate": history.done(f"pool:{pool.name}"), "workers": workers}


def _worker(history: History, worker: WorkerStatus, runs: list[dict[str, Any]]) -> dict[str, Any]:
    rate, memory = history.done(f"worker:{worker.name}"), history.memory.get(worker.pid)
    return {**public(worker), "cause": worker.cause, "rss_bytes": memory, "rate": rate, "tasks": runs[:5]}


def _queue(history: History, queue: QueueStatus) -> dict[str, Any]:
    status = history.latest.status
    came, left = history.traffic(queue.name)
    return {
        **public(queue),
        "max_age": queue.max_age,
        "paused": queue.name in status.paused,
        "parked": queue.name == status.backlog.parked,
        "in_s": came,
        "out_s": left,
        "trend": history.waiting(queue.name)[-_TREND:],
    }


def host(found: HostStatus) -> dict[str, Any]:
    """Return how one host of a fleet is, by its latest report."""
    pools = found.status.pools if found.status else ()
    ready, want = sum(pool.ready for pool in pools), sum(pool.want for pool in pools)
    return {**public(found), "state": state_of(found), "want": want, "ready": ready}


def answer(found: Answer) -> dict[str, Any]:
    """Return what `why` says."""
    return {**why.document(found), "hints": list(found.hints)}


def message(found: Message, now: float) -> dict[str, Any]:
    """Return a message that waits; its arguments as text, since JSON's types can't hold all that one may."""
    shown = {"id": found.id, "task": found.task, "call": found.call}
    return {**shown, "age_s": found.age(now), "priority": found.priority}


def row(entry: Entry) -> dict[str, Any]:
    """Return a task as a list shows it; times are unix milliseconds."""
    names = ("id", "task", "queue", "worker", "state", "sent", "started", "ended")
    return {**{name: getattr(entry, name) for name in names}, "wait_s": entry.wait_s, "runtime_s": entry.runtime_s}


def canvas(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the tasks of a canvas, each with the one that led to it; none where it is a task by itself."""
    return [{**row(one), "parent": one.parent} for one in entries] if len(entries) > 1 else []


def task(entry: Entry) -> dict[str, Any]:
    """Return all that the ledger knows of a task; what is hidden there is hidden here."""
    args, kwargs = arguments(entry.message)
    names = ("received", "eta", "pid", "error", "retried_as", "retries", "max_retries", "traceback")
    told = {name: getattr(entry, name) for name in names}
    return {**row(entry), **told, "call": None if entry.message is None else call(entry.task, args, kwargs)}
