"""What a command line means by a task: its name, and how the fleet's priorities and routers are asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def full_name(session: Session, name: str) -> str:
    """Return the full name of a task that is registered or at least named in full."""
    return resolved(session, session.app(), name, force="." in name)


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
    from celeryfleet.plan.routing import wire

    return partial(wire, session.plan.broker.kind)


def routers_of(session: Session) -> dict[str, Any]:
    """Return what asks each `router:` of fleet.yaml, by its path."""
    from celeryfleet.app import ask_router

    return {route.router: ask_router(route.router) for route in session.fleet.routes if route.router}
