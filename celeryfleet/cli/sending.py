"""What the commands that send tasks share: the task's full name, and the refusal of what no worker would take."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from celeryfleet.errors import Exit, FleetError, Problem
from celeryfleet.protocol import GetStatus, Status
from celeryfleet.supervise.control_client import NotRunningError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.routing.resolve import Ask, Decision

#: seconds that workers elsewhere have to say which queues they read, where no supervisor runs here
_INSPECT = 1.0
#: times that the ledger is asked about a task that is over, and seconds between two of them
_LOOKS, _LOOK = 10, 0.02

#: a task's full name, its arguments, and what the call says of where it goes: queue, headers
Wanted: TypeAlias = tuple[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]]


def aliases(session: Session) -> dict[str, str]:
    """Return the short names of fleet.yaml's `tasks`, and what they stand for."""
    return {alias: entry.task for alias, entry in session.fleet.tasks.items()}


def resolved(session: Session, app: Any, name: str, force: bool) -> str:
    """Return the full name of a task; raises FleetError unless `force` lets an unregistered one pass."""
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.names import resolve_name

    return resolve_name(name, {*registered(app), *session.tasks_of_others}, aliases(session), force)


def warn_of_priority(session: Session, priority: int | None) -> None:
    """Say on stderr that a priority has not its meaning, where this fleet on Redis declares none."""
    table = session.plan.routing
    if priority is not None and not table.ranks and table.broker == "redis":
        say(
            "warning: no queue or route of this fleet has a priority, so on Redis messages without one go first. "
            "Give the queue max_priority: 9, and they go last.",
            sys.stderr,
        )


def check_exchange(session: Session, exchange: str | None) -> None:
    """Raise FleetError, with a guess, for an exchange that is not the fleet's."""
    from celeryfleet.fleetfile.suggest import unknown

    known = dict.fromkeys(queue.exchange for queue in session.plan.queues)
    if exchange is not None and exchange not in known:
        raise unknown("exchange", exchange, known)


def refuse_unread(session: Session, app: Any, wanted: Iterable[Wanted], force: bool = False) -> None:
    """Raise FleetError for tasks that no worker would take, unless `force`d; say which wait in a paused queue."""
    from celeryfleet.app.routers import askers
    from celeryfleet.cli import hosts

    status = session.ask(GetStatus(exact=False), Status)
    paused = status.paused if status else ()
    if force and not paused:
        return
    read = () if force else _read_queues(session, app, status)
    elsewhere = cache(lambda: hosts.read_elsewhere(session, status))
    routers, table = askers(session.fleet), session.plan.routing
    unread: dict[str, None] = {}
    waits: dict[str, None] = {}
    for one in wanted:
        name, decision = one[0], decision_of(session, app, one, routers)
        if not force and not decision.queues and not table.gives_back:
            where = table.addressed(decision.exchange, decision.routing_key, decision.headers)
            raise FleetError(f"{name} would go nowhere: no queue takes what goes to {where}.")
        queues = set(decision.queues)
        if not force and queues and not queues & set(read) and not queues & elsewhere():
            unread[f"{name} would go to the queue {', '.join(decision.queues)}, which no worker reads now."] = None
        for queue in queues & set(paused):
            waits[f"{queue} is paused: {name} waits there until it is resumed. Go on: celeryfleet resume {queue}"] = (
                None
            )
    if unread:
        *first, last = unread
        hint = "`celeryfleet status` shows who reads what; --force sends it anyway."
        raise FleetError.of([*map(Problem, first), Problem(last, hint=hint)], Exit.NOT_READY)
    for line in waits:
        say(line, sys.stderr)


def decision_of(session: Session, app: Any, wanted: Wanted, routers: Mapping[str, Ask]) -> Decision:
    """Decide where a task would go."""
    from celeryfleet.client.inspect import own_options
    from celeryfleet.routing.resolve import resolve

    name, args, kwargs, asked = wanted
    own = own_options(app.tasks[name]) if name in app.tasks else {}
    return resolve(session.fleet, session.plan.routing, name, args, kwargs, asked, routers, own)


def times(session: Session, task_id: str) -> tuple[float | None, float | None]:
    """Return the seconds that a task which is over waited and ran, as its worker tells the ledger; None: not known."""
    from celeryfleet.ledger.entry import HELD

    here = session.plan.ledger is not None and Path(session.plan.control).exists()
    for _ in range(_LOOKS if here else 0):  # the result is stored a moment before the worker hears of the end
        found = session.entry(task_id)
        if found is not None and found.state not in HELD:
            return found.wait_s, found.runtime_s
        time.sleep(_LOOK)
    return None, None


def _read_queues(session: Session, app: Any, status: Status | None) -> Collection[str]:
    """Return the queues that some worker reads, or will when it has started."""
    from celeryfleet.client.publish import publishing

    if status is None:
        if session.plan.broker.argv:
            raise NotRunningError  # a killed supervisor's workers and broker are about to end
        with publishing(app):
            answers = app.control.inspect(timeout=_INSPECT).active_queues() or {}
        return {queue["name"] for found in answers.values() for queue in found}
    grows = {pool.name for pool in session.plan.pools if pool.autoscale}  # its first message starts a worker
    pools = [
        pool
        for pool in status.pools
        if (pool.name in grows and not pool.workers)
        or (pool.want and any(worker.state != "failed" for worker in pool.workers))
    ]
    return {queue for pool in pools for queue in pool.queues}
