"""Finds out what `why` decides by: the fleet's status, the ledger, the queues, what workers noted down, the results."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.cli import hosts, lean
from celeryfleet.client.standing import View, of_task
from celeryfleet.client.told import Facts, Hold, Place
from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import FindTasks
from celeryfleet.ledger.entry import HELD, RETRYING, RUNNING, SCHEDULED, TAKEN, UNKNOWN, WAITING, Entry
from celeryfleet.ledger.message import follower, follower_of
from celeryfleet.protocol import GetTasks, IsRevoked, Tasks, Verdict
from celeryfleet.redis_client import BrokerError, connect
from celeryfleet.text import clean, listed
from celeryfleet.worker_protocol import running

if TYPE_CHECKING:
    from celeryfleet.cli.hosts import Told
    from celeryfleet.cli.session import Session
    from celeryfleet.client.messages import Message
    from celeryfleet.client.outcome import Record
    from celeryfleet.client.standing import Answer
    from celeryfleet.ledger.read import Ledger
    from celeryfleet.plan.values import Plan
    from celeryfleet.protocol import Status
    from celeryfleet.redis_client import Connection

#: how Celery names tasks by itself
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: seconds over which it is counted how many tasks end
_OF_LATE = 60.0
#: seconds over which it is told what became of a task, and tasks that are looked at
_LATELY, _MOST = 86_400.0, 1000
#: messages of a queue that are looked through for those of a task
_LOOKED_AT = 10_000
#: queues in which RabbitMQ keeps what is due later, beside quorum queues
_DELAYED = tuple(f"celery_delayed_{level}" for level in range(28))


def view(
    session: Session,
    ledger: Ledger | None,
    no_ledger: str,
    now: float | None = None,
    status: Status | None = None,
    others: Told | None = None,
) -> View:
    """Find out how the fleet is, and what its other hosts know, if that is not known from before."""
    now, status = now or time.time(), status or hosts.joined(session)
    _, elsewhere, told = others or hosts.tasks(session, FindTasks(state=RUNNING))
    told = [*told]
    if status.broker.state != "up" and not (status.broker.embedded and status.state == "down"):
        why = status.broker.trouble or "it is stopped"
        told.append(f"the broker {session.followed.broker.shown} cannot be asked: {why}")
    runs = _running(session.followed, ledger, status.state != "down")
    named = [(one.name, one.pid) for pool in status.pools for one in pool.workers]
    pids = [pid for name, pid in (*named, *((one.worker, one.pid) for one in runs)) if "@" not in name]
    return View(
        now=now,
        status=status,
        running=(*runs, *elsewhere),
        held=ledger.held(TAKEN, SCHEDULED, RUNNING) if ledger else (),
        strict={pool.name for pool in session.followed.pools if pool.strict},
        declared={queue: pool.name for pool in session.followed.pools[::-1] for queue in pool.queues},
        rates=ledger.rates(_OF_LATE, now) if ledger else {},
        stopped={pid for pid in pids if pid and _is_stopped(pid)},
        alive={entry.pid for entry in runs if entry.pid and _is_celery(entry.pid)}
        | {one.pid for one in elsewhere if one.pid},
        troubles=tuple(told),
        no_ledger=no_ledger,
    )


@contextlib.contextmanager
def opened(session: Session) -> Iterator[tuple[Ledger | None, str]]:
    """Give the ledger, or None and why there is none."""
    try:
        ledger = session.ledger()
    except FleetError as error:
        yield None, error.problems[0].what.rstrip(".")
        return
    with ledger:
        yield ledger, ""


def facts(session: Session, task_id: str) -> Facts:
    """Find out where a task is."""
    now, status = time.time(), hosts.joined(session)
    place, hold, maybe = _on_broker(session.followed, status, task_id)
    others = hosts.tasks(session, FindTasks(id=task_id))
    with opened(session) as (ledger, lack):  # last: what it has learnt since goes before what was seen in a queue
        own = ledger.find(task_id) if ledger else None
        seen = view(session, ledger, lack, now, status, others)
    entry = max([*others[0], *([own] if own else [])], key=lambda one: one.latest, default=None)
    if not (place or hold) and entry is not None and entry.state in (RETRYING, WAITING):
        place, hold, maybe = _on_broker(session.followed, status, task_id)  # it went from one to the other meanwhile
    held = entry is not None and entry.state in HELD
    dropped = session.ask(IsRevoked(task_id), Verdict) if place or hold or held or maybe else None
    revoked = dropped is not None and dropped.yes
    found = Facts(id=task_id, view=seen, entry=entry, place=place, hold=hold, revoked=revoked, maybe=maybe)
    told = entry or found.running
    cut_off = told is not None and told.state == RUNNING and not (seen.lives(told.worker) or told.pid in seen.alive)
    if place or hold or (told is not None and told.state != UNKNOWN and not cut_off):
        return found
    there = seen.status.broker.state == "up" or session.followed.broker.results != session.followed.broker.url
    record, trouble = _result(session, task_id) if there else (None, "")
    if trouble:
        found = replace(found, view=replace(seen, troubles=(*seen.troubles, trouble)))
    if record or told is not None:
        return replace(found, record=record)
    with opened(session) as (ledger, _):
        canvas = [*_canvas(session.followed, status, ledger, task_id)]
    return replace(
        found,
        members=tuple(one for one, name in canvas if name is None),
        steps=tuple(one for one, name in canvas if name is not None),
        follows_as=next((name for _, name in canvas if name), ""),
    )


def task_names(session: Session) -> tuple[str, ...]:
    """Return the names of the app's tasks, of a running fleet without importing it; none where it does not import."""
    tasks = session.ask(GetTasks(), Tasks)
    if tasks and tasks.names:
        return tasks.names
    from celeryfleet.client.inspect import registered

    with contextlib.suppress(FleetError):
        return tuple(registered(session.app()))
    return ()


def whole_id(session: Session, word: str) -> str:
    """Return the id that begins so, if the ledger knows just one, or a queue on a Redis. Raises FleetError."""
    if UUID.fullmatch(word):
        return word
    with opened(session) as (ledger, _):
        found = ledger.named(word) if ledger else None
    found = found or session.entry_elsewhere(word)
    ids = {found.id} if found else _waiting(session.followed, word)
    if len(ids) > 1 and word not in ids:
        raise FleetError(f"several tasks begin with {clean(word)}: {listed(map(clean, sorted(ids)), most=10)}.")
    return ids.pop() if len(ids) == 1 else word


def _waiting(plan: Plan, word: str) -> set[str]:
    """Return the ids that begin so of what waits, as far as the broker tells without taking it."""
    from celeryfleet.client import redis_queue

    if plan.broker.transport != "redis":
        return set()
    with contextlib.suppress(BrokerError), connect(plan.broker.url, settings=plan.settings) as connection:
        return {one for queue in _queues(plan) for one in redis_queue.ids(connection, plan.broker, queue, word)}
    return set()  # it can't be asked, as the status tells


def task(session: Session, name: str) -> Answer:
    """Find out how the messages of a task stand, and say so; `name` may be a glob."""
    from celeryfleet.client import in_hand
    from celeryfleet.routing.resolve import resolve

    with opened(session) as (ledger, lack):
        seen = view(session, ledger, lack)
        held = [one for one in ledger.held() if fnmatchcase(one.task, name)] if ledger else []
        ended = ledger.ended(seen.now - _LATELY, task=name, limit=_MOST) if ledger else []
    held += [one for one in seen.running if fnmatchcase(one.task, name) and one not in held]
    plan, waiting = session.followed, dict[str, tuple[int | None, int]]()
    goes = () if "*" in name else resolve(session.fleet, plan.routing, name).queues
    for queue in seen.status.queues:
        if plan.broker.transport != "redis":
            if queue.name in goes:
                waiting[queue.name] = (None if queue.ready else 0, queue.ready or 0)
        elif queue.ready:
            found = in_hand.peek(plan, queue.name, _LOOKED_AT)
            own = sum(fnmatchcase(one.task, name) for one in found)
            if own or queue.name in goes:
                waiting[queue.name] = (own, queue.ready)
    return of_task(seen, name, waiting, sorted(held, key=lambda one: one.state != RUNNING), ended)


# --- The broker -------------------------------------------------------------------------------------------


def _on_broker(
    plan: Plan, status: Status, task_id: str
) -> tuple[Place | None, Hold | None, tuple[tuple[str, int], ...]]:
    """Look for a message; where there is no looking without taking, count what it may be among."""
    asked = status.backlog
    if plan.broker.transport != "redis":
        quorum = any(queue.arguments.get("x-queue-type") == "quorum" for queue in plan.queues)
        others = tuple({**asked.queues[0], "name": name} for name in (_DELAYED if quorum else ()))
        depths, trouble = lean.depths_of(asked.but(queues=(*asked.queues, *others)))
        return None, None, () if trouble else tuple((name, int(depth["ready"] or 0)) for name, depth in depths.items())
    from celeryfleet.client import redis_queue

    with contextlib.suppress(BrokerError), connect(plan.broker.url, settings=plan.settings) as connection:
        for queue in _queues(plan):
            if (found := redis_queue.find(connection, plan.broker, queue, task_id)) is not None:
                return Place(queue, *found), None, ()
        held = next((one for one in _taken(plan, status, connection) if one.message.id == task_id), None)
        for queue in () if held else redis_queue.unread(connection, plan.broker, _queues(plan)):
            if (found := redis_queue.find(connection, plan.broker, queue, task_id)) is not None:
                return Place(queue, *found), None, ()
        return None, held, ()
    return None, None, ()  # it can't be asked, as the status tells


def _canvas(plan: Plan, status: Status, ledger: Ledger | None, task_id: str) -> Iterator[tuple[Entry, str | None]]:
    """Yield the tasks of a group, and those that one of a canvas follows, with its name."""
    known = {}
    for one in ledger.related(task_id) if ledger else ():
        known[one.id] = one
        if not one.retried_as and (one.group_id == task_id or follower_of(one.message, task_id) is not None):
            yield one, None if one.group_id == task_id else follower_of(one.message, task_id)
    if plan.broker.transport != "redis":
        return
    from celeryfleet.client import redis_queue

    def entry(message: Message, queue: str, worker: str = "") -> Entry:
        group = message.headers.get("group")
        state = TAKEN if worker else WAITING
        return Entry(worker, message.id, message.task, queue, state, group_id=group if isinstance(group, str) else None)

    with contextlib.suppress(BrokerError), connect(plan.broker.url, settings=plan.settings) as connection:
        taken = [(one.message, entry(one.message, one.queue, one.worker)) for one in _taken(plan, status, connection)]
        for queue in _queues(plan):
            waiting = redis_queue.waiting(connection, plan.broker, queue, _LOOKED_AT)
            taken += [(message, entry(message, queue)) for message in waiting]
        for message, one in taken:
            name = follower(message.embedded, task_id)
            if one.id not in known and (name is not None or one.group_id == task_id):
                yield one, name


def _queues(plan: Plan) -> tuple[str, ...]:
    return (*(queue.name for queue in plan.queues), plan.parked)


def _taken(plan: Plan, status: Status, connection: Connection) -> Iterator[Hold]:
    """Yield what workers have of the fleet's queues, and have not acknowledged."""
    from celeryfleet.client import redis_queue

    prefix = plan.broker.key_prefix
    keys = [prefix + key for key in (*status.backlog.unacked, "unacked")]
    for key, exchange, routing_key, message in redis_queue.taken(connection, keys):
        queue = next(iter(plan.routing.reached(exchange, routing_key)), routing_key)
        worker, _, node = key.removeprefix(f"{prefix}unacked:").partition("@")
        host = node.removeprefix(f"{plan.fleet}.")
        yield Hold(f"{worker}@{host}" if node and host != status.host else worker, queue, message)


# --- This machine -----------------------------------------------------------------------------------------


def _running(plan: Plan, ledger: Ledger | None, written: bool) -> tuple[Entry, ...]:
    """Return what runs: as the ledger has it, and else as the workers have noted it down for the case of their end.

    What was noted a moment later is left out of workers of which the ledger, as it is `written` now, tells.
    """
    told = ledger.held(RUNNING) if ledger else []
    known = {entry.id for entry in told}
    workers = {entry.worker for entry in told if written}
    noted = []
    with contextlib.suppress(OSError):
        for file in sorted((Path(plan.state_dir) / "running").iterdir()):
            noted += [
                Entry(worker=file.name, id=ran.id, task=ran.task, queue="", state=RUNNING, late=int(ran.late))
                for ran in running(file.read_bytes()).values()
                if ran.id not in known and file.name not in workers
            ]
    return (*told, *noted)


def _is_celery(pid: int) -> bool:
    """Tell whether there is a process of Celery's with this pid; where that can't be known, there is none."""
    try:
        return b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process; where that can't be known, it is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False


# --- Results ----------------------------------------------------------------------------------------------


def _result(session: Session, task_id: str) -> tuple[Record | None, str]:
    """Look whether there is a result; return also why that can't be known, if so."""
    from celeryfleet.client.results import reader

    if not session.followed.broker.results:
        return None, "this fleet keeps no results"
    try:
        return reader(session.app())([task_id]).get(task_id), ""
    except FleetError as error:
        return None, error.problems[0].what.rstrip(".")
