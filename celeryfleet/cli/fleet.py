"""Commands that change what runs: up, down, scale, restart, reload, pause, resume."""

from __future__ import annotations

import getpass
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import GetStatus, Pause, Restart, Scale, Status
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def up(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Only these pools.")] = None,
    pool: Annotated[list[str] | None, typer.Option("--pool", metavar="POOL", help="The same as POOL.")] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Leave the fleet running in the background.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every worker is ready (implies -d).")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not even wait for the app's import (implies -d).")
    ] = False,
    wait_timeout: Annotated[
        float | None, typer.Option("--wait-timeout", metavar="S", min=0, help="Seconds to wait at most; then exit 124.")
    ] = None,
    scales: Annotated[
        list[str] | None, typer.Option("--scale", metavar="POOL=N", help="Run N workers of a pool.")
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", metavar="HOST", help="Which of `hosts:` this is; default: as the machine is called."),
    ] = "",
    ui: Annotated[
        str | None, typer.Option("--ui", metavar="[ADDR]", help="Show it on a web page, too, as `celeryfleet ui` does.")
    ] = None,
    ui_token: Annotated[
        Path | None, typer.Option("--ui-token", metavar="FILE", help="The file of the page's token, as of `ui`.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Reload when code or fleet.yaml changes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and why; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON document.")] = False,
) -> int:
    """Make it so: start the fleet, or bring a running one to what fleet.yaml says now; or some pools of it alone.

    In the foreground it shows the merged logs; the first Ctrl-C stops warmly, a second one cold.
    With -d it returns when the app is imported, and exits 3 where that fails.

    Examples: [bold]celeryfleet up[/] · [bold]celeryfleet up -d --wait[/] · [bold]celeryfleet up -d mail[/] ·
    [bold]celeryfleet up --scale mail=4[/] · [bold]celeryfleet up --watch[/] ·
    [bold]celeryfleet up -d --ui[/]
    """
    from celeryfleet.cli import launch
    from celeryfleet.cli.ui import page_of

    only = tuple(dict.fromkeys([*(pools or ()), *(pool or ())]))
    session, wait = context.obj, wait or wait_timeout is not None
    if wait and no_wait:
        raise FleetError("--wait and --no-wait exclude each other.")
    if watch and (detach or wait or no_wait):
        hint = "Run `celeryfleet up --watch` in a terminal, also beside a fleet that runs in the background."
        raise FleetError("not supported: --watch in the background.", hint=hint)
    session.host = host
    if host and not session.fleet.hosts:
        say(f"note: fleet.yaml names no `hosts:`, so this one runs what it is told; it is called {host}.", sys.stderr)
    launch.require_here(session, session.startable.host, only, "Run `up` there, or name it in this host's pools, too.")
    plan = launch.narrowed(session.startable, only, replicas(scales or []))
    page = page_of(session, ui, ui_token)
    if dry_run:
        return launch.preview(plan, False, only, as_json)
    launch.warn(session, plan)
    if detach or wait or no_wait:
        until = "ready" if wait else "" if no_wait else "imported"
        return launch.detached(plan, until, wait_timeout, session.fleet, only, page)
    from celeryfleet.cli.foreground import foreground
    from celeryfleet.cli.watch import watching

    with watching(session, only) if watch else nullcontext():
        return foreground(plan, session.fleet, only, page)


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
    """Stop everything and leave no process behind; queued work stays unless --purge. Or stop some pools alone.

    Examples: [bold]celeryfleet down[/] · [bold]celeryfleet down -t 10[/] · [bold]celeryfleet down mail[/]
    """
    from celeryfleet.cli import launch

    if pools and purge:
        hint = "Name no pool; or drop what waits in some queues: `celeryfleet queues purge QUEUE`."
        raise FleetError("--purge is for the whole fleet.", hint=hint)
    return launch.stop(context.obj, tuple(pools or ()), cold, timeout, purge)


_Host = Annotated[
    str, typer.Option("--host", metavar="HOST", help="On another host, by way of the broker; it is not waited for.")
]


def scale(
    context: typer.Context,
    counts: Annotated[list[str], typer.Argument(metavar="POOL=N", help="How many workers each pool should have.")],
    timeout: Annotated[
        float | None,
        typer.Option("-t", "--timeout", metavar="S", min=0, help="Seconds to wait at most; then exit 124."),
    ] = None,
    host: _Host = "",
) -> int:
    """Change how many workers pools have, until the next `up`; wait until that is so.

    Examples: [bold]celeryfleet scale mail=4 video=0[/] · [bold]celeryfleet scale mail=1 -t 10[/] ·
    [bold]celeryfleet scale video=4 --host b[/]
    """
    return _done(context.obj, Scale(replicas(counts)), host, timeout)


def restart(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Default: all.")] = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="One worker of a pool after the other.")] = False,
    host: _Host = "",
) -> int:
    """Replace workers by fresh ones, each after it has finished its tasks.

    Examples: [bold]celeryfleet restart[/] · [bold]celeryfleet restart mail --rolling[/] ·
    [bold]celeryfleet restart video --host b[/]
    """
    return _done(context.obj, Restart(tuple(pools or ()), rolling), host, None)


def _done(session: Session, request: Scale | Restart, host: str, timeout: float | None) -> int:
    """Have pools scaled or restarted, here or on other hosts, and wait for those that are here."""
    from celeryfleet.cli import hosts, launch

    try:
        asked = hosts.do(session, request, host)
    except FleetError:
        own = () if host else request.replicas if isinstance(request, Scale) else request.pools
        launch.require_here(session, session.host_here, own, "Have it done there, with --host.")
        raise
    for where in filter(None, asked):
        say(f"host {where} follows; see `celeryfleet status --all`.", sys.stderr)
    match asked.get(""):
        case Scale(numbers):
            pools = [*numbers]
        case Restart(named):
            pools = [*named]
        case _:
            return Exit.OK
    with session.connect() as client:
        return launch.await_ready(client, timeout, pools)


def reload(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Default: all.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the import and the new workers.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and why; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON document.")] = False,
) -> int:
    """Read fleet.yaml and the app's code anew and replace every worker by one that runs it.

    If the new code does not import, the old workers go on.

    Examples: [bold]celeryfleet reload[/] · [bold]celeryfleet reload web[/] · [bold]celeryfleet reload --dry-run[/]
    """
    from celeryfleet.cli import launch

    only = tuple(pools or ())
    launch.require_here(context.obj, context.obj.startable.host, only, "Run `reload` there.")
    if dry_run:
        return launch.preview(launch.narrowed(context.obj.startable, only, {}), True, only, as_json)
    return launch.reload(context.obj, only, not no_wait)


_Here = Annotated[bool, typer.Option("--here", help="Only on this host.")]


def pause(
    context: typer.Context,
    queues: Annotated[list[str], typer.Argument(metavar="QUEUE", help="Queues to leave alone for now.")],
    here: _Here = False,
) -> int:
    """Have the fleet's workers stop taking messages from queues, on all hosts; what waits there stays.

    Examples: [bold]celeryfleet pause mail[/] · [bold]celeryfleet pause mail --here[/]
    """
    return _set_paused(context, queues, True, here)


def resume(
    context: typer.Context,
    queues: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Default: all.")] = None,
    here: _Here = False,
) -> int:
    """Have the fleet's workers take messages from paused queues again, on all hosts.

    Examples: [bold]celeryfleet resume mail[/] · [bold]celeryfleet resume[/]
    """
    return _set_paused(context, queues or [], False, here)


def _set_paused(context: typer.Context, queues: list[str], pause: bool, here: bool) -> int:
    from celeryfleet.hosts.messages import EVERY

    session: Session = context.obj
    paused = set_paused(session, queues, pause, here)
    others = len(session.followed.hosts) > 1
    where = " on this host" if here else f"; other hosts follow within {2 * EVERY} s" if others else ""
    say((f"paused: {', '.join(paused)}" if paused else "no queue is paused") + where, sys.stderr)
    return Exit.OK


def set_paused(session: Session, queues: list[str], pause: bool, here: bool = False) -> list[str]:
    """Pause queues, or resume these or all; return those that are paused now. Raises FleetError."""
    from celeryfleet.routing.queue import unknown

    with session.connect() as client:
        status = client.ask(GetStatus(exact=False), Status)
        known = [queue.name for queue in status.queues]
        for name in queues:
            if name not in known:
                raise unknown(name, known)
        before = set(status.paused)
        paused = sorted(before | set(queues) if pause else before - set(queues or before))
        client.do(Pause(tuple(paused), here, tuple(queues or known), _user()))
    return paused


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # of this number there is no user
        return ""


def replicas(words: list[str]) -> dict[str, int]:
    """Read `POOL=N` words."""
    found = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign or not number.isdecimal():
            raise FleetError(f'"{word}" is not POOL=N.', hint="Write for example `mail=4`.")
        found[name] = int(number)
    return found
