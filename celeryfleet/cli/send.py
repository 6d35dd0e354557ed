"""The command that sends a task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli import outcomes, progress_line
from celeryfleet.cli.meant import resolved, routers_of, wire_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.supervise.control import NotRunningError

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.send import Options, Sent

PANEL = "Send tasks"
#: seconds that workers elsewhere have to say which queues they read, where no supervisor runs here
_INSPECT = 1.0


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(send)


def send(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="An alias, a short name or a full one.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="ARG", help="4, Bob, [1, 2], key=value.")] = None,
    args_json: Annotated[str, typer.Option("-a", "--args", metavar="JSON", help="Arguments as a JSON list.")] = "",
    kwargs_json: Annotated[str, typer.Option("-k", "--kwargs", metavar="JSON", help="As a JSON object.")] = "",
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="Past the routes.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=9, help="9 runs first.")] = None,
    countdown: Annotated[float | None, typer.Option("--countdown", metavar="S", help="Not before S seconds.")] = None,
    eta: Annotated[datetime | None, typer.Option("--eta", metavar="T", help="Not before 2026-11-20T10:00:00.")] = None,
    expires: Annotated[float | None, typer.Option("--expires", metavar="S", help="Not after S seconds.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id, and leave.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="N times; with --no-wait.")] = None,
    source: Annotated[Path | None, typer.Option("--from", hidden=True)] = None,
    force: Annotated[bool, typer.Option("--force", help="Though unregistered, or read by nobody.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Send a task, wait for its result and print it; exit code 1 if the task fails.

    Examples: [bold]celeryfleet send add 4 4[/] · [bold]celeryfleet send notify Bob --no-wait[/]
    """
    from celeryfleet.client import send as client
    from celeryfleet.client.words import prepare

    if source is not None:
        raise FleetError("not supported yet: send --from.", hint="Call `celeryfleet send` once for each task.")
    if count is not None and not no_wait:
        raise FleetError("--count needs --no-wait: there is no one result to wait for.")
    session: Session = context.obj
    session.require_broker()
    app = session.app()
    name = resolved(session, app, task, force)
    args, kwargs = prepare(words or [], args_json, kwargs_json)
    options = client.Options(queue, priority, countdown, eta, expires)
    if not force:
        _refuse_unread(session, app, name, args, kwargs, options)
    one = partial(client.send, app, name, args, kwargs, options, wire_of(session), force, keep=not no_wait)
    if count is not None:
        return _send_many(one, count, as_json)
    sent = one()
    if no_wait:
        print(json.dumps(client.document(sent), indent=2) if as_json else sent.id)
        return Exit.OK
    with progress_line.waiting(f"{name} is in queue {sent.queue}"):
        outcome = client.wait(app, sent, timeout)
    if as_json:
        print(json.dumps(client.document(sent, outcome), indent=2, default=str))
        return outcomes.code(outcome)
    outcomes.narrate(f"{sent.task} ran in {outcome.runtime_s:.2f} s on {_where(app, sent)}", outcome)
    return outcomes.show(outcome, timeout)


# --- Refusing what nobody would run -----------------------------------------------------------------------


def _refuse_unread(
    session: Session, app: Any, name: str, args: list[Any], kwargs: dict[str, Any], options: Options
) -> None:
    """Raise FleetError if the task would lie in a queue that nobody reads."""
    from celeryfleet.plan.routing import resolve

    asked = options.queue or getattr(app.tasks.get(name), "queue", None)
    decision = resolve(
        session.fleet, session.plan, name, args, kwargs, {"queue": asked} if asked else None, routers_of(session)
    )
    read = _read_queues(session, app)
    if decision.queues and not set(decision.queues) & set(read):
        raise FleetError(
            f"{name} would go to the queue {', '.join(decision.queues)}, which no worker reads now.",
            hint="`celeryfleet status` shows who reads what; --force sends it anyway.",
            code=Exit.NOT_READY,
        )


def _read_queues(session: Session, app: Any) -> Collection[str]:
    """Return the queues that some worker reads, or will when it has started."""
    from celeryfleet.client.publish import publishing

    try:
        with session.connect() as client:
            status = client.ask("status")["status"]
    except NotRunningError:
        if session.plan.broker.argv:
            raise  # a killed supervisor's workers and broker are about to end
        with publishing(app):
            answers = app.control.inspect(timeout=_INSPECT).active_queues() or {}
        return {queue["name"] for found in answers.values() for queue in found}
    pools = [pool for pool in status["pools"] if any(worker["state"] != "failed" for worker in pool["workers"])]
    return {queue for pool in pools if pool["want"] for queue in pool["queues"]}


# --- Showing ----------------------------------------------------------------------------------------------


def _send_many(one: Callable[[], Sent], count: int, as_json: bool) -> int:
    began = time.monotonic()
    for _ in range(count):
        one()
    seconds = time.monotonic() - began
    document = {"schema_version": 1, "sent": count, "seconds": round(seconds, 3)}
    document["per_second"] = round(count / seconds, 1)
    print(json.dumps(document) if as_json else f"sent {count} in {seconds:.2f} s")
    return Exit.OK


def _where(app: Any, sent: Sent) -> str:
    """Say which worker ran a task, as far as the result tells."""
    worker = str(app.backend.get_task_meta(sent.id).get("worker") or "").partition("@")[0]
    return f"{worker} (queue {sent.queue})" if worker else f"queue {sent.queue}"
