"""What the commands that send tasks share: the task's full name, and the refusal of what no worker would take."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from celeryfleet.errors import Exit, FleetError, Problem
from celeryfleet.protocol import GetStatus, Status
from celeryfleet.supervise.control_client import NotRunningError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session

#: seconds that workers elsewhere have to say which queues they read, where no supervisor runs here
_INSPECT = 1.0

#: a task's full name, its arguments, and what the call says of where it goes: queue, headers
Wanted: TypeAlias = tuple[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]]


def aliases(session: Session) -> dict[str, str]:
    """Return the short names of fleet.yaml's `tasks`, and what they stand for."""
    return {alias: entry.task for alias, entry in session.fleet.tasks.items()}


def resolved(session: Session, app: Any, name: str, force: bool) -> str:
    """Return the full name of a task; raises FleetError unless `force` lets an unregistered one pass."""
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.names import resolve_name

    return resolve_name(name, registered(app), aliases(session), force)


def warn_of_priority(session: Session, priority: int | None) -> None:
    """Say on stderr that a priority has not its meaning, where this fleet on Redis declares none."""
    table = session.plan.routing
    ranked = any("priority" in item.get("options", item) for item in table.routes)
    if priority is not None and not ranked and table.broker == "redis":
        say(
            "warning: no queue or route of this fleet has a priority, so on Redis messages without one go first. "
            "Give the queue max_priority: 9, and they go last.",
            sys.stderr,
        )


def refuse_unread(session: Session, app: Any, wanted: Iterable[Wanted]) -> None:
    """Raise FleetError for tasks that would lie in a queue that nobody reads; the fleet is asked once."""
    from celeryfleet.app.routers import askers
    from celeryfleet.client.inspect import own_options
    from celeryfleet.routing.resolve import resolve

    routers = askers(session.fleet)
    read = _read_queues(session, app)
    problems: dict[str, None] = {}
    for name, args, kwargs, asked in wanted:
        task = app.tasks.get(name)
        own = own_options(task) if task is not None else {}
        decision = resolve(session.fleet, session.plan.routing, name, args, kwargs, asked, routers, own)
        if decision.queues and not set(decision.queues) & set(read):
            problems[f"{name} would go to the queue {', '.join(decision.queues)}, which no worker reads now."] = None
    if problems:
        *first, last = problems
        hint = "`celeryfleet status` shows who reads what; --force sends it anyway."
        raise FleetError.of([*map(Problem, first), Problem(last, hint=hint)], Exit.NOT_READY)


def _read_queues(session: Session, app: Any) -> Collection[str]:
    """Return the queues that some worker reads, or will when it has started."""
    from celeryfleet.client.publish import publishing

    try:
        with session.connect() as client:
            status = client.ask(GetStatus(exact=False), Status)
    except NotRunningError:
        if session.plan.broker.argv:
            raise  # a killed supervisor's workers and broker are about to end
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
