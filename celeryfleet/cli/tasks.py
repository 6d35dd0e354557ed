"""The command that lists tasks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.sending import aliases
from celeryfleet.errors import Exit
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def tasks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the registered tasks: how they are called, where they go and what they do.

    Examples: [bold]celeryfleet tasks[/] · [bold]celeryfleet tasks --json | jq '.tasks[].name'[/]
    """
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
    from celeryfleet.render.paint import screen
    from celeryfleet.render.tasks import task_lines

    for line in task_lines(found, queue, *screen(sys.stdout)):
        say(line)
    return Exit.OK
