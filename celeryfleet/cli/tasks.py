"""Commands that look at tasks and queues."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.sending import aliases
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session

PANEL = "Send tasks"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(tasks)
    app.command(rich_help_panel=PANEL)(queues)


def tasks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the registered tasks: how they are called, where they go and what they do."""
    from celeryfleet.app.routers import askers
    from celeryfleet.client import inspect
    from celeryfleet.routing.resolve import resolve

    session: Session = context.obj
    found = inspect.tasks(session.app(), aliases(session))
    routers = askers(session.fleet)
    queue = {one.name: resolve(session.fleet, session.plan.routing, one.name, routers=routers).queues for one in found}
    if as_json:
        rows = [
            {"name": one.name, "short": one.short, "aliases": list(one.aliases), "signature": one.signature}
            | {"queues": list(queue[one.name]), "summary": one.summary}
            for one in found
        ]
        say(json.dumps({"schema_version": 1, "tasks": rows}, indent=2))
        return Exit.OK
    called = {one.name: f"{one.aliases[0] if one.aliases else one.short}{one.signature}" for one in found}
    width = max(map(len, called.values()), default=0)
    place = max((len(", ".join(names)) for names in queue.values()), default=0)
    for one in found:
        say(f"{called[one.name]:<{width}}  {', '.join(queue[one.name]):<{place}}  {one.name}")
    return Exit.OK


def queues(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="purge", help="purge: drop what waits.")] = "",
    names: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Queues to purge.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Show depth, age and consumers of the queues, or drop what waits in some of them.

    Examples: [bold]celeryfleet queues[/] · [bold]celeryfleet queues purge mail[/]
    """
    session: Session = context.obj
    if action not in ("", "purge"):
        raise FleetError(f'queues cannot "{action}".', hint="Write `celeryfleet queues` or `queues purge QUEUE`.")
    if not action:
        from celeryfleet.cli import insight, lean

        session.require_broker()
        lean.show(insight.found(session), "queues", as_json)
        return Exit.OK
    from celeryfleet.client.broker import purge
    from celeryfleet.routing.queue import unknown

    known = [*(queue.name for queue in session.plan.queues), session.plan.parked]
    if not names:
        raise FleetError("purge which queue?", hint=f"The queues are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise unknown(name, known)
    session.require_broker()
    dropped = purge(session.plan, names)
    if as_json:
        say(json.dumps({"schema_version": 1, "dropped": dropped}))
        return Exit.OK
    say(f"dropped {counted(dropped, 'message')}.", sys.stderr)
    return Exit.OK
