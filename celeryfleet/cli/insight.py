"""Commands that look at what runs: status, ps, health."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli import lean
from celeryfleet.cli.output import say_json
from celeryfleet.cli.usage import AsJson
from celeryfleet.errors import Exit, FleetError
from celeryfleet.records import public
from celeryfleet.supervise.control_client import NotRunningError
from celeryfleet.text import ESC, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.hosts.messages import HostStatus
    from celeryfleet.protocol import Status


def status(
    context: typer.Context,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second until Ctrl-C.")] = False,
    by_task: Annotated[bool, typer.Option("--tasks", help="How long tasks wait and run, by task and queue.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="Of --tasks: 10m, or 2026-11-20T10:00; default: 1h.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Of all hosts, as they have reported.")] = False,
) -> int:
    """Show pools, workers and queues, or how long tasks wait and run.

    Examples: [bold]celeryfleet status[/] · [bold]celeryfleet status --all[/] ·
    [bold]celeryfleet status --json | jq .state[/] · [bold]celeryfleet status --tasks --since 10m[/]
    """
    if everywhere and (watch or by_task):
        raise FleetError("--all goes with neither --watch nor --tasks.", hint="`celeryfleet top` shows all hosts live.")
    if everywhere:
        return _everywhere(context.obj, "status", as_json)
    if watch and by_task:
        raise FleetError("--watch and --tasks exclude each other.", hint="`celeryfleet top` shows rates live.")
    if by_task:
        from celeryfleet.cli.active import show_timed

        return show_timed(context.obj, since or "1h", as_json)
    if since is not None:
        raise FleetError("--since goes with --tasks.", hint="celeryfleet status --tasks --since 10m")
    if watch and as_json:
        raise FleetError("--watch and --json exclude each other.", hint="Call `status --json` in a loop.")
    if watch:
        return _watch(context.obj)
    lean.show(found(context.obj), "status", as_json)
    return Exit.OK


def ps(
    context: typer.Context,
    as_json: AsJson = False,
    everywhere: Annotated[bool, typer.Option("--all", help="Of all hosts, as they have reported.")] = False,
) -> int:
    """List the workers, a line each.

    Examples: [bold]celeryfleet ps[/] · [bold]celeryfleet ps --all[/] ·
    [bold]celeryfleet ps --json | jq '.workers[].pid'[/]
    """
    if everywhere:
        return _everywhere(context.obj, "ps", as_json)
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


def found(session: Session, exact: bool = True, timeout: float = 30.0) -> Status:
    """Say how a fleet is, running or not; `exact`: its workers are asked for it. `timeout` is seconds for a reply."""
    try:
        with session.connect(timeout) as client:
            return lean.collect(client, exact)
    except NotRunningError:
        from celeryfleet.supervise.decide.target import Target
        from celeryfleet.supervise.status import stopped

        status = stopped(Target.of(session.here))
        # A broker that is not the fleet's own may be up without it.
        status, trouble = (status, "it is stopped") if status.broker.embedded else lean.with_depths(status)
        return status.but(broker=status.broker.but(state="down" if trouble else "up"))


def _everywhere(session: Session, command: str, as_json: bool) -> int:
    """Show `status` or `ps` of all hosts."""
    from celeryfleet.cli import hosts
    from celeryfleet.render import tables
    from celeryfleet.render.paint import screen

    whole, seen = hosts.whole(session)
    if as_json:
        return say_json({**lean.document(whole, command), "hosts": [*map(on_host, seen)]})
    if command == "status" and seen:
        say(tables.hosts(seen, *screen(sys.stdout)))
    lean.show(whole, command, False)
    return Exit.OK


def on_host(found: HostStatus) -> dict[str, object]:
    """Return how a fleet is on one host, as JSON's types."""
    from celeryfleet.hosts.messages import state_of

    return {**public(found), **(lean.shown(found.status) if found.status else {}), "state": state_of(found)}


def _watch(session: Session) -> int:
    from celeryfleet.render import tables as table
    from celeryfleet.render.paint import screen

    with _second_screen(), suppress(KeyboardInterrupt):
        while True:
            color, width = screen(sys.stdout)
            height = os.get_terminal_size(sys.stdout.fileno()).lines - 1  # the cursor stands in the last one
            text = table.status(found(session), time.time(), color, width, height)
            say(f"{ESC}[H" + text.replace("\n", f"{ESC}[K\n") + f"{ESC}[J", end="", flush=True)
            time.sleep(1.0)
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
