"""Commands that change what runs: up, down, scale, restart, reload, pause, resume."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import GetStatus, Pause, Restart, Scale, Status
from celeryfleet.text import say

PANEL = "Run the fleet"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(up)
    app.command(rich_help_panel=PANEL)(down)
    app.command(rich_help_panel=PANEL)(scale)
    app.command(rich_help_panel=PANEL)(restart)
    app.command(rich_help_panel=PANEL)(reload)
    app.command(rich_help_panel=PANEL)(pause)
    app.command(rich_help_panel=PANEL)(resume)


def up(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Only these pools.")] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Leave the fleet running in the background.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every worker is ready (implies -d).")] = False,
    wait_timeout: Annotated[
        float | None, typer.Option("--wait-timeout", metavar="S", min=0, help="Seconds to wait at most; then exit 124.")
    ] = None,
    scales: Annotated[
        list[str] | None, typer.Option("--scale", metavar="POOL=N", help="Run N workers of a pool.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and why; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON document.")] = False,
) -> int:
    """Make it so: start the fleet, or bring a running one to what fleet.yaml says now.

    In the foreground it shows the merged logs; the first Ctrl-C stops warmly, a second one cold.

    Examples: [bold]celeryfleet up[/] · [bold]celeryfleet up -d --wait[/] · [bold]celeryfleet up --scale mail=4[/]
    """
    from celeryfleet.cli import launch

    session, only = context.obj, pools or []
    plan = launch.narrowed(session.startable, only, _replicas(scales or []))
    if dry_run:
        return launch.preview(plan, False, only, as_json)
    launch.warn(session, plan)
    if detach or wait:
        return launch.detached(plan, wait or wait_timeout is not None, wait_timeout, session.fleet, only)
    from celeryfleet.cli.foreground import foreground

    return foreground(plan, session.fleet, only)


def down(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Only these pools.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option("-t", "--timeout", metavar="S", min=0, help="Seconds for tasks to finish, then cold."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Do not wait for running tasks.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Also drop all queued messages.")] = False,
) -> int:
    """Stop everything and leave no process behind; queued work stays unless --purge.

    Examples: [bold]celeryfleet down[/] · [bold]celeryfleet down -t 10[/] · [bold]celeryfleet down mail[/]
    """
    from celeryfleet.cli import launch

    if pools:
        if cold or purge or timeout is not None:
            raise FleetError("-t, --cold and --purge are for the whole fleet.", hint="Name no pool, or none of them.")
        return launch.stop_pools(context.obj, pools)
    return launch.stop(context.obj, cold, timeout, purge)


def scale(
    context: typer.Context,
    counts: Annotated[list[str], typer.Argument(metavar="POOL=N", help="How many workers each pool should have.")],
    timeout: Annotated[
        float | None,
        typer.Option("-t", "--timeout", metavar="S", min=0, help="Seconds to wait at most; then exit 124."),
    ] = None,
) -> int:
    """Change how many workers pools have, until the next `up`; wait until that is so.

    Examples: [bold]celeryfleet scale mail=4 video=0[/] · [bold]celeryfleet scale mail=1 -t 10[/]
    """
    from celeryfleet.cli import launch

    wanted = _replicas(counts)
    with context.obj.connect() as client:
        client.do(Scale(wanted))
        return launch.await_ready(client, timeout)


def restart(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Default: all.")] = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="One worker of a pool after the other.")] = False,
) -> int:
    """Replace workers by fresh ones, each after it has finished its tasks.

    Examples: [bold]celeryfleet restart[/] · [bold]celeryfleet restart mail --rolling[/]
    """
    from celeryfleet.cli import launch

    with context.obj.connect() as client:
        client.do(Restart(tuple(pools or ()), rolling))
        return launch.await_ready(client, None)


def reload(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and why; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON document.")] = False,
) -> int:
    """Read fleet.yaml and the app's code anew and replace every worker by one that runs it.

    If the new code does not import, the old workers go on.
    """
    from celeryfleet.cli import launch

    if dry_run:
        return launch.preview(context.obj.startable, True, (), as_json)
    return launch.reload(context.obj)


def pause(
    context: typer.Context,
    queues: Annotated[list[str], typer.Argument(metavar="QUEUE", help="Queues to leave alone for now.")],
) -> int:
    """Have the fleet's workers stop taking messages from queues; what waits there stays.

    Example: [bold]celeryfleet pause mail[/]
    """
    return _set_paused(context, queues, True)


def resume(
    context: typer.Context,
    queues: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Default: all.")] = None,
) -> int:
    """Have the fleet's workers take messages from paused queues again."""
    return _set_paused(context, queues or [], False)


def _set_paused(context: typer.Context, queues: list[str], pause: bool) -> int:
    from celeryfleet.routing.queue import unknown

    with context.obj.connect() as client:
        status = client.ask(GetStatus(exact=False), Status)
        known = [queue.name for queue in status.queues]
        for name in queues:
            if name not in known:
                raise unknown(name, known)
        before = set(status.paused)
        paused = sorted(before | set(queues) if pause else before - set(queues or before))
        client.do(Pause(tuple(paused)))
    say(f"paused: {', '.join(paused)}" if paused else "no queue is paused", sys.stderr)
    return Exit.OK


def _replicas(words: list[str]) -> dict[str, int]:
    """Read `POOL=N` words."""
    found = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign or not number.isdecimal():
            raise FleetError(f'"{word}" is not POOL=N.', hint="Write for example `mail=4`.")
        found[name] = int(number)
    return found
