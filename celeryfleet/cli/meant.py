"""What a command line means by a task: its name, and how the fleet's priorities and routers are asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def resolved(session: Session, app: Any, name: str, force: bool) -> str:
    """Return the full name of a task; raises FleetError unless `force` lets an unregistered one pass."""
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.names import resolve_name

    return resolve_name(name, registered(app), aliases(session), force)


def aliases(session: Session) -> dict[str, str]:
    """Return the short names of fleet.yaml's `tasks`, and what they stand for."""
    return {alias: entry.task for alias, entry in session.fleet.tasks.items()}


def wire_of(session: Session) -> Callable[[int], int | None]:
    """Return what makes of a priority, 9 first, the number that this fleet's broker gets."""
    from celeryfleet.routing.table import wire

    return partial(wire, session.plan.broker.kind)


def warn_of_priority(session: Session, priority: int | None) -> None:
    """Say on stderr that a priority has not its meaning, where this fleet on Redis declares none."""
    routes = session.plan.settings["task_routes"]
    ranked = any("priority" in item.get("options", item) for item in routes)
    if priority is None or ranked or session.plan.broker.kind != "redis":
        return
    print(
        "warning: no queue or route of this fleet has a priority, so on Redis messages without one go first. "
        "Give the queue max_priority: 9, and they go last.",
        file=sys.stderr,
    )
