"""The command that lists tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from celeryfleet.cli.output import show
from celeryfleet.cli.sending import aliases
from celeryfleet.cli.usage import AsJson

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def tasks(context: typer.Context, as_json: AsJson = False) -> int:
    """List the registered tasks: how they are called, where they go and what they do.

    Examples: [bold]celeryfleet tasks[/] · [bold]celeryfleet tasks --json | jq '.tasks[].name'[/]
    """
    from celeryfleet.app.routers import askers
    from celeryfleet.client import inspect
    from celeryfleet.render.tasks import task_lines
    from celeryfleet.routing.resolve import resolve

    session: Session = context.obj
    found = inspect.tasks(session.app(), aliases(session))
    routers = askers(session.fleet)
    queue = {one.name: resolve(session.fleet, session.plan.routing, one.name, routers=routers).queues for one in found}
    rows = [
        {"name": one.name, "short": one.short, "aliases": list(one.aliases), "signature": one.signature}
        | {"queues": list(queue[one.name]), "summary": one.summary}
        for one in found
    ]
    return show(as_json, {"schema_version": 1, "tasks": rows}, partial(task_lines, found, queue))
