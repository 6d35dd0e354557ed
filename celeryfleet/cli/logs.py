"""The command that shows logs."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.usage import Since
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import listed, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session

#: logs that are no worker's
_OTHERS = ("supervisor", "broker", "preload", "ui")
#: lines before those that `-f` waits for
_BEFORE = 10


def logs(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="POOL|WORKER", help="Default: all workers.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("-n", "--tail", "--lines", metavar="N", min=0, help="The last N lines, or records that match."),
    ] = None,
    since: Since = None,
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Only what is said of this task.")] = "",
    grep: Annotated[str, typer.Option("--grep", metavar="RE", help="Only what a regular expression finds.")] = "",
    prefix: Annotated[bool, typer.Option("--log-prefix/--no-log-prefix", help="The worker before each line.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each line.")] = False,
) -> int:
    """Show the workers' logs, and why each came and went, merged by time.

    There are also the logs supervisor, preload (the import of the app) and broker.

    Examples: [bold]celeryfleet logs -n 20[/] · [bold]celeryfleet logs mail web-1 -f[/] ·
    [bold]celeryfleet logs --grep 'Error|WARNING' --since 1h[/]
    """
    from celeryfleet.logs.choose import Choice, of_task
    from celeryfleet.logs.read import Follower
    from celeryfleet.logs.read import follow as follow_lines
    from celeryfleet.logs.times import parse_since
    from celeryfleet.render.log_prefixes import Prefixes

    plan = context.obj.followed
    folder = Path(plan.state_dir) / "logs"
    patterns = [*([of_task(task)] if task else []), *([_pattern(grep)] if grep else [])]
    chosen = Choice(_names(context.obj, folder, names or []), patterns)
    start = parse_since(since, time.time()) if since else None
    most = _BEFORE if follow and lines is None and not since and not patterns else lines
    try:
        follower = Follower(folder, chosen.opens)
        backlog = list(follower.backlog(most, start, chosen))
    except PermissionError as error:
        what = f"{error.filename} cannot be read: {error.strerror}."
        raise FleetError(what, hint="Is it the fleet of another user?", code=Exit.FAILURE) from None
    prefixes = Prefixes((name for name, _ in backlog), sys.stdout, prefix)
    shown = _as_json if as_json else prefixes
    for name, line in backlog:
        say(shown(name, line))
    if follow:
        sys.stdout.flush()
        if not Path(plan.control).exists():
            say(f"{plan.fleet} is not running; waiting for its logs (Ctrl-C ends).", sys.stderr)
        try:
            for name, line in chosen(follow_lines(follower, time.sleep)):
                say(shown(name, line), flush=True)
        except KeyboardInterrupt:
            return Exit.OK
    elif not backlog:
        nothing = (
            f"Nothing in {folder} matches." if patterns or names or since else f"There is nothing in {folder} yet."
        )
        say(nothing, sys.stderr)
    return Exit.OK


def _names(session: Session, folder: Path, asked: list[str]) -> list[str]:
    """Return the names of pools, workers and logs that are asked for; all pools if none. Raises FleetError."""
    from celeryfleet.fleetfile.suggest import did_you_mean
    from celeryfleet.logs.choose import is_of

    plan, written = session.followed, {file.name.partition(".log")[0] for file in folder.glob("*.log*")}
    pools = [*(pool.name for pool in plan.pools), *(["beat"] if plan.beat else [])]
    workers = {pool.worker_name(number) for pool in plan.pools for number in pool.numbers}
    known = [*pools, *sorted(workers | written), *_OTHERS]
    if absent := [name.partition("@")[0] for name in asked if not any(is_of(log, [name]) for log in written)]:
        from celeryfleet.cli.launch import require_here

        those = [name if name in pools else name.rpartition("-")[0] for name in absent]
        require_here(session, session.host_here, those, "Its logs are there: `celeryfleet logs` shows those of a host.")
    for name in asked:
        if name not in known:
            hint = (
                did_you_mean(name, known)
                or f"The pools are {listed(pools)}, their workers {listed(sorted(workers), most=3)}."
            )
            raise FleetError(f'there is no pool, worker or log "{name}".', hint=hint)
    return asked or pools


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        hint = "Signs such as ( [ * + ? . stand for themselves after a backslash."
        raise FleetError(f"--grep: {text!r} is no regular expression: {error}.", hint=hint) from None


def _as_json(worker: str, line: str) -> str:
    return json.dumps({"worker": worker, "line": line})
