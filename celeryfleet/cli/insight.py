"""Commands that look at what runs: status, ps, health, logs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli import lean
from celeryfleet.errors import Exit, FleetError
from celeryfleet.supervise.control_client import NotRunningError
from celeryfleet.text import ESC, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.protocol import Status

PANEL = "Look at it"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(status)
    app.command(rich_help_panel=PANEL)(ps)
    app.command(rich_help_panel=PANEL)(health)
    app.command(rich_help_panel=PANEL)(logs)


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second until Ctrl-C.")] = False,
) -> int:
    """Show pools, workers and queues.

    Examples: [bold]celeryfleet status[/] · [bold]celeryfleet status --json | jq .state[/]
    """
    if watch and as_json:
        raise FleetError("--watch and --json exclude each other.", hint="Call `status --json` in a loop.")
    if watch:
        return _watch(context.obj)
    lean.show(found(context.obj), "status", as_json)
    return Exit.OK


def ps(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the workers, a line each."""
    lean.show(found(context.obj), "ps", as_json)
    return Exit.OK


def health(
    context: typer.Context,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="Only this pool.")] = "",
) -> int:
    """Exit 0 if everything wanted is ready, else 3: made for probes.

    Examples: [bold]celeryfleet health[/] · [bold]celeryfleet health mail[/]
    """
    with context.obj.connect() as client:
        return lean.answer(client, "health", pool)


def logs(
    context: typer.Context,
    pools: Annotated[list[str] | None, typer.Argument(metavar="POOL", help="Default: all.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int | None, typer.Option("-n", "--lines", metavar="N", min=0, help="The last N lines.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help="10m, or 2026-11-20T10:00.")] = None,
    prefix: Annotated[bool, typer.Option("--log-prefix/--no-log-prefix", help="The worker before each line.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each line.")] = False,
) -> int:
    """Show the workers' logs, merged by time.

    Examples: [bold]celeryfleet logs -n 20[/] · [bold]celeryfleet logs mail -f[/]
    """
    from celeryfleet.logs.read import Follower
    from celeryfleet.logs.read import follow as follow_lines
    from celeryfleet.logs.times import parse_since
    from celeryfleet.render.log_prefixes import Prefixes
    from celeryfleet.render.paint import has_colour

    plan = context.obj.followed
    known = [pool.name for pool in plan.pools]
    for name in pools or []:
        if name not in [*known, "supervisor", "broker", "beat", "preload"]:
            raise FleetError(f'there is no pool "{name}".', hint=f"The pools are {', '.join(known)}.")
    folder = Path(plan.state_dir) / "logs"
    start = parse_since(since, time.time()) if since else None
    try:
        follower = Follower(folder, lambda name: _is_of(name, pools or known))
        backlog = list(follower.backlog(lines if lines is not None or since or not follow else 10, start))
    except PermissionError as error:
        what = f"{error.filename} cannot be read: {error.strerror}."
        raise FleetError(what, hint="Is it the fleet of another user?", code=Exit.FAILURE) from None
    prefixes = Prefixes([name for name, _ in backlog], has_colour(sys.stdout), prefix)
    shown = _as_json if as_json else prefixes
    for name, line in backlog:
        say(shown(name, line))
    if follow:
        sys.stdout.flush()
        if not Path(plan.control).exists():
            say(f"{plan.fleet} is not running; waiting for its logs (Ctrl-C ends).", sys.stderr)
        try:
            for name, line in follow_lines(follower, time.sleep):
                say(shown(name, line), flush=True)
        except KeyboardInterrupt:
            return Exit.OK
    elif not backlog:
        say(f"There is nothing in {folder} yet.", sys.stderr)
    return Exit.OK


def _is_of(name: str, pools: list[str]) -> bool:
    """Tell whether a log belongs to one of these pools (or is named itself)."""
    pool, _, number = name.rpartition("-")
    return name in pools or (pool in pools and number.isdecimal())


def _as_json(worker: str, line: str) -> str:
    return json.dumps({"worker": worker, "line": line})


def found(session: Session) -> Status:
    """Say how a fleet is, running or not."""
    try:
        with session.connect() as client:
            return lean.collect(client)
    except NotRunningError:
        from celeryfleet.supervise.decide.target import Target
        from celeryfleet.supervise.status import stopped

        status = stopped(Target.of(session.plan))
        # A broker that is not the fleet's own may be up without it.
        status, trouble = (status, "it is stopped") if status.broker.embedded else lean.with_depths(status)
        return status.but(broker=status.broker.but(state="down" if trouble else "up"))


def _watch(session: Session) -> int:
    with _second_screen():
        while True:
            from celeryfleet.render import tables as table
            from celeryfleet.render.paint import screen

            color, width = screen(sys.stdout)
            text = table.status(found(session), time.time(), color, width)
            say(f"{ESC}[H" + text.replace("\n", f"{ESC}[K\n") + f"{ESC}[J", end="", flush=True)
            try:
                time.sleep(1.0)
            except KeyboardInterrupt:
                return Exit.OK


@contextmanager
def _second_screen() -> Iterator[None]:
    """Draw on the terminal's alternate screen, so that what was there comes back."""
    if not sys.stdout.isatty():
        raise FleetError("--watch needs a terminal.", hint="Call `status` in a loop.")
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
