"""Commands about tasks that were set aside: failed, retry."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import age, clean, counted, say

if TYPE_CHECKING:
    from celeryfleet.client.parked import Parked

PANEL = "Send tasks"

_Since = Annotated[str | None, typer.Option("--since", metavar="T", help="10m, or 2026-11-20T10:00.")]
_Task = Annotated[str, typer.Option("--task", metavar="GLOB", help="Only tasks of this name, such as shop.mail.*")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(failed)
    app.command(rich_help_panel=PANEL)(retry)


def failed(
    context: typer.Context,
    since: _Since = None,
    task: _Task = "*",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the tasks that were parked, since they ended or hung their workers again and again.

    Tasks that raise an exception are not kept: their results say what became of them.

    Examples: [bold]celeryfleet failed[/] · [bold]celeryfleet failed --since 1h --task 'shop.mail.*'[/]
    """
    from celeryfleet.client import parked

    wanted = _filter(since, task)
    context.obj.require_broker()
    found = [one for one in parked.found(context.obj.followed) if wanted(one)]
    if as_json:
        say(json.dumps({"schema_version": 1, "tasks": [one.report for one in found]}, indent=2))
        return Exit.OK
    for one in found:
        when = f"{age(time.time() - one.at)} ago"
        say(clean(f"{one.id}  {one.task}  {one.queue}  {one.worker}  {when}"))
        say(f"    {clean(one.error)}")
    if not found:
        say("no task is parked.", sys.stderr)
    return Exit.OK


def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids that `failed` lists.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are parked.")] = False,
    since: _Since = None,
    task: _Task = "*",
) -> int:
    """Send parked tasks again, as the messages they were, to the queues that they came from.

    Examples: [bold]celeryfleet retry --all --task shop.mail.send[/]
    """
    from celeryfleet.client import parked

    if bool(ids) == everything:
        raise FleetError("retry which tasks?", hint="Name ids that `celeryfleet failed` lists, or write --all.")
    wanted = _filter(since, task)
    context.obj.require_broker()
    known = set(ids or ())
    sent = parked.retry(context.obj.followed, lambda one: (everything or one.id in known) and wanted(one))
    if missing := sorted(known - {one.id for one in sent}):
        raise FleetError(
            f"not parked: {clean(', '.join(missing))}."
            + (f" {counted(len(sent), 'other task')} {'is' if len(sent) == 1 else 'are'} sent again." if sent else ""),
            hint="`celeryfleet failed` lists what is. Not supported: to retry a task that raised an exception.",
            code=Exit.FAILURE,
        )
    say(f"{counted(len(sent), 'task')} {'is' if len(sent) == 1 else 'are'} sent again.", sys.stderr)
    return Exit.OK


def _filter(since: str | None, task: str) -> Callable[[Parked], bool]:
    from celeryfleet.logs.times import parse_since

    start = parse_since(since, time.time()) if since else 0.0
    return lambda one: one.at >= start and fnmatchcase(one.task, task)
