"""Commands that change what runs: up, down, scale, restart, reload, pause, resume."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from celeryfleet.errors import Exit, FleetError

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run; start nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Not supported yet.", hidden=True)] = False,
) -> int:
    """Make it so: start the fleet, or bring a running one to what fleet.yaml says now.

    In the foreground it shows the merged logs; the first Ctrl-C stops warmly, a second one cold.

    Examples: [bold]celeryfleet up[/] · [bold]celeryfleet up -d --wait[/] · [bold]celeryfleet up --scale mail=4[/]
    """
    from celeryfleet.cli import launch
    from celeryfleet.render.plan import plan_text

    if watch:
        raise FleetError("not supported yet: up --watch.", hint="Run `celeryfleet reload` after a change.")
    session = context.obj
    plan = launch.narrowed(session.startable, pools or [], _replicas(scales or []))
    if dry_run:
        typer.echo(plan_text(plan), nl=False)
        return Exit.OK
    launch.warn(session, plan)
    if detach or wait:
        return launch.detached(plan, wait or wait_timeout is not None, wait_timeout, session.fleet)
    return launch.foreground(plan, session.fleet)


def down(
    context: typer.Context,
    timeout: Annotated[
        float | None,
        typer.Option("-t", "--timeout", metavar="S", min=0, help="Seconds for tasks to finish, then cold."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Do not wait for running tasks.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Also drop all queued messages.")] = False,
) -> int:
    """Stop everything and leave no process behind; queued work stays unless --purge.

    Examples: [bold]celeryfleet down[/] · [bold]celeryfleet down -t 10[/] · [bold]celeryfleet down --cold[/]
    """
    from celeryfleet.cli import launch

    return launch.stop(context.obj, cold, timeout, purge)


def scale(
    context: typer.Context,
    counts: Annotated[list[str], typer.Argument(metavar="POOL=N", help="How many workers each pool should have.")],
) -> int:
    """Change how many workers pools have, until the next `up`.

    Example: [bold]celeryfleet scale mail=4 video=0[/]
    """
    from celeryfleet.cli import launch

    wanted = _replicas(counts)
    with context.obj.connect() as client:
        client.ask("scale", replicas=wanted)
        return launch.await_ready(client, None)


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
        client.ask("restart", pools=pools or [], rolling=rolling)
        return launch.await_ready(client, None)


def reload(context: typer.Context) -> int:
    """Read fleet.yaml and the app's code anew and replace every worker by one that runs it.

    If the new code does not import, the old workers go on.
    """
    from celeryfleet.cli import launch

    return launch.reload(context.obj)


def pause(
    context: typer.Context,
    queues: Annotated[list[str], typer.Argument(metavar="QUEUE", help="Queues to leave alone for now.")],
) -> int:
    """Have the fleet's workers stop taking messages from queues; what waits there stays.

    Example: [bold]celeryfleet pause mail[/]
    """
    return _set_paused(context, lambda paused: paused | set(queues), queues)


def resume(
    context: typer.Context,
    queues: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Default: all.")] = None,
) -> int:
    """Have the fleet's workers take messages from paused queues again."""
    return _set_paused(context, lambda paused: paused - set(queues or paused), queues or [])


def _set_paused(context: typer.Context, change: object, queues: list[str]) -> int:
    from celeryfleet.routing.queue import unknown

    assert callable(change)
    with context.obj.connect() as client:
        status = client.ask("status")["status"]
        known = [queue["name"] for queue in status["queues"]]
        for name in queues:
            if name not in known:
                raise unknown(name, known)
        paused = sorted(change(set(status["paused"])))
        client.ask("pause", queues=paused)
    note(f"paused: {', '.join(paused)}" if paused else "no queue is paused")
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


def note(text: str) -> None:
    """Tell something that is not a result."""
    print(text, file=sys.stderr)
