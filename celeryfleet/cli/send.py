"""The command that sends a task, or many."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli import outcomes
from celeryfleet.cli.headers import read_headers
from celeryfleet.cli.sending import refuse_unread, resolved, warn_of_priority
from celeryfleet.errors import Exit, FleetError
from celeryfleet.render import progress_line

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.send import Sent

PANEL = "Send tasks"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(send)


def send(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="An alias, a short name or a full one.")] = "",
    words: Annotated[list[str] | None, typer.Argument(metavar="ARG", help="4, Bob, [1, 2], key=value.")] = None,
    args_json: Annotated[str, typer.Option("-a", "--args", metavar="JSON", help="Arguments as a JSON list.")] = "",
    kwargs_json: Annotated[str, typer.Option("-k", "--kwargs", metavar="JSON", help="As a JSON object.")] = "",
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="Past the routes.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=9, help="9 runs first.")] = None,
    countdown: Annotated[
        float | None, typer.Option("--countdown", metavar="S", min=0, help="Not before S seconds.")
    ] = None,
    eta: Annotated[datetime | None, typer.Option("--eta", metavar="T", help="Not before 2026-11-20T10:00:00.")] = None,
    expires: Annotated[float | None, typer.Option("--expires", metavar="S", min=0, help="Not after S seconds.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Of the message; may be given again.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id, and leave.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="N times; with --no-wait.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A task for each line of JSON; - is stdin. Waits for no result."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Though unregistered, or read by nobody.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Send a task, wait for its result and print it; exit code 1 if the task fails.

    A line of --from: {"args": [4, 4], "kwargs": {}}, with task, queue, priority, countdown, eta, expires, headers.

    All lines are checked before one is sent.

    Examples: [bold]celeryfleet send add 4 4[/] · [bold]celeryfleet send notify Bob --no-wait[/] ·
    [bold]celeryfleet send add 4 4 --count 100000 --no-wait[/] · [bold]celeryfleet send notify --from users.jsonl[/]
    """
    from celeryfleet.client import send as client
    from celeryfleet.client.words import prepare

    session: Session = context.obj
    if countdown is not None and eta is not None:
        raise FleetError("--countdown and --eta exclude each other.")
    options = client.Options(queue, priority, countdown, eta, expires, read_headers(header or []))
    warn_of_priority(session, priority)
    if source is not None:
        given = {"ARG": words, "-a": args_json, "-k": kwargs_json, "--count": count, "--timeout": timeout}
        _refuse("--from", given, "Arguments stand in the lines, and no result is waited for.")
        from celeryfleet.cli import bulk

        return bulk.send_file(session, task or None, source, options, force, as_json)
    if not task:
        raise typer.BadParameter("it is missing.", context, param_hint="'TASK'")
    if count is not None and not no_wait:
        raise FleetError("--count needs --no-wait: there is no one result to wait for.")
    session.require_broker()
    app = session.app()
    name = resolved(session, app, task, force)
    args, kwargs = prepare(words or [], args_json, kwargs_json)
    if not force:
        refuse_unread(session, app, [(name, args, kwargs, {"queue": queue, "headers": options.headers or None})])
    if count is not None:
        from celeryfleet.cli import bulk

        return bulk.send_count(app, name, args, kwargs, options, count, as_json)
    sent = client.send(app, name, args, kwargs, options, session.plan.routing.wire, force, keep=not no_wait)
    if no_wait:
        print(json.dumps(client.document(sent), indent=2) if as_json else sent.id)
        return Exit.OK
    return _await(app, sent, timeout, as_json)


def _refuse(option: str, given: dict[str, Any], hint: str) -> None:
    """Raise FleetError for what does not go together with an option."""
    wrong = next((name for name, value in given.items() if value), None)
    if wrong:
        raise FleetError(f"{wrong} does not go together with {option}.", hint=hint)


# --- Showing ----------------------------------------------------------------------------------------------


def _await(app: Any, sent: Sent, timeout: float | None, as_json: bool) -> int:
    """Wait for the result and print it."""
    from celeryfleet.client import send as client

    with progress_line.waiting(f"{sent.task} is in queue {sent.queue}"):
        outcome = client.wait(app, sent, timeout)
    if as_json:
        print(json.dumps(client.document(sent, outcome), indent=2, default=str))
        return outcomes.code(outcome)
    outcomes.narrate(f"{sent.task} ran in {outcome.runtime_s:.2f} s on {_where(app, sent)}", outcome)
    return outcomes.show(outcome, timeout)


def _where(app: Any, sent: Sent) -> str:
    """Say which worker ran a task, as far as the result tells."""
    worker = str(app.backend.get_task_meta(sent.id).get("worker") or "").partition("@")[0]
    return f"{worker} (queue {sent.queue})" if worker else f"queue {sent.queue}"
