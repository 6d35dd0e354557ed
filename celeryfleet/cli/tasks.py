"""Commands that run canvases and look at tasks, results and queues: canvas, result, tasks, queues."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli import outcomes
from celeryfleet.cli.headers import read_headers
from celeryfleet.cli.sending import aliases
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.outcome import Outcome, Record
    from celeryfleet.client.steps import Value

PANEL = "Send tasks"
#: seconds that workers elsewhere have to say which queues they read, where no supervisor runs here
_INSPECT = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(canvas)
    app.command(rich_help_panel=PANEL)(result)
    app.command(rich_help_panel=PANEL)(tasks)
    app.command(rich_help_panel=PANEL)(queues)


def canvas(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="NAME|EXPR", help="Of fleet.yaml, or as Celery writes it.")] = "",
    countdown: Annotated[
        float | None, typer.Option("--countdown", metavar="S", min=0, help="Its first steps not before S seconds.")
    ] = None,
    eta: Annotated[
        datetime | None, typer.Option("--eta", metavar="T", help="Its first steps not before 2026-11-20T10:00:00.")
    ] = None,
    expires: Annotated[
        float | None, typer.Option("--expires", metavar="S", min=0, help="No step after S seconds from now.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Of every message; may be given again.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id, and leave.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Run a canvas and print its result; without an argument, list the named ones.

    Options go to every step, over its own. In Python, `chain.apply_async` gives them to the first alone.

    Examples: [bold]celeryfleet canvas chord[/] · [bold]celeryfleet canvas 'add.s(2, 2) | mul.s(8)'[/]
    """
    session: Session = context.obj
    if not what:
        return _list_canvases(session.fleet.canvases, as_json)
    from celeryfleet.client import canvas as client
    from celeryfleet.client.expression import parse
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.kinds import Names
    from celeryfleet.client.steps import with_options
    from celeryfleet.render import progress
    from celeryfleet.render.paint import has_colour

    text = session.fleet.canvases.get(what, what)
    session.require_broker()
    app = session.app()
    declared = [queue.name for queue in session.plan.queues]
    launched = parse(text, Names(registered(app), aliases(session), declared))
    step = with_options(launched.step, _options(countdown, eta, expires, header or []))
    running = client.start(app, step, session.plan.routing.wire, keep=not no_wait)
    if no_wait:
        print(json.dumps({"schema_version": 1, "id": running.id}) if as_json else running.id)
        return Exit.OK
    limit = timeout if timeout is not None else launched.timeout
    with progress.progress_bar(what if what in session.fleet.canvases else "canvas") as on_progress:
        outcome, records = client.wait(app, running, limit, on_progress)
    if as_json:
        print(json.dumps(_canvas_document(text, outcome), indent=2, default=str))
        return outcomes.code(outcome)
    print(progress.picture(running.step, records, has_colour(sys.stderr)), file=sys.stderr)
    outcomes.narrate(f"{client.count(running.step)} tasks in {outcome.runtime_s:.2f} s{_spread(records)}", outcome)
    return outcomes.show(outcome, limit)


def _options(
    countdown: float | None, eta: datetime | None, expires: float | None, header: list[str]
) -> dict[str, Value]:
    """Return the options of all steps; a step of a chain is sent later, so what expires does so at one moment."""
    if countdown is not None and eta is not None:
        raise FleetError("--countdown and --eta exclude each other.")
    last = None if expires is None else (datetime.now() + timedelta(seconds=expires)).astimezone().isoformat()
    first = None if eta is None else eta.astimezone().isoformat()
    options: dict[str, Value] = {"countdown": countdown, "eta": first, "expires": last, "headers": read_headers(header)}
    return {name: value for name, value in options.items() if value not in (None, {})}


def result(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="As `send --no-wait` prints it.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Show what became of a task or a canvas; exit code 1 if it failed, 124 if it is not over."""
    from celeryfleet.client.results import look_up

    session: Session = context.obj
    session.require_broker()
    outcome = look_up(session.app(), task_id)
    if as_json:
        document = {"schema_version": 1, "id": task_id, "state": outcome.state, "result": outcome.result}
        print(json.dumps({**document, "error": outcome.error}, indent=2, default=str))
        return outcomes.code(outcome)
    if not outcome.ready:
        raise FleetError(
            f"{task_id} is not over, or not known: {outcome.state}.",
            hint="Results are kept for a day; an id that was never sent looks the same.",
            code=Exit.TIMEOUT,
        )
    return outcomes.show(outcome, None)


def tasks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the registered tasks: how they are called, where they go and what they do."""
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
        print(json.dumps({"schema_version": 1, "tasks": rows}, indent=2))
        return Exit.OK
    called = {one.name: f"{one.aliases[0] if one.aliases else one.short}{one.signature}" for one in found}
    width = max(map(len, called.values()), default=0)
    place = max((len(", ".join(names)) for names in queue.values()), default=0)
    for one in found:
        print(f"{called[one.name]:<{width}}  {', '.join(queue[one.name]):<{place}}  {one.name}")
    return Exit.OK


def queues(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="purge", help="purge: drop what waits.")] = "",
    names: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Queues to purge.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Show depth, age and consumers of the queues, or drop what waits in some of them.

    Examples: [bold]celeryfleet queues[/] · [bold]celeryfleet queues purge mail[/]
    """
    session: Session = context.obj
    if action not in ("", "purge"):
        raise FleetError(f'queues cannot "{action}".', hint="Write `celeryfleet queues` or `queues purge QUEUE`.")
    if not action:
        from celeryfleet.cli import insight, lean

        session.require_broker()
        lean.show(insight.found(session), "queues", as_json)
        return Exit.OK
    from celeryfleet.client.broker import purge
    from celeryfleet.routing.queue import unknown

    known = [queue.name for queue in session.plan.queues]
    if not names:
        raise FleetError("purge which queue?", hint=f"The queues are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise unknown(name, known)
    session.require_broker()
    dropped = purge(session.plan, names)
    if as_json:
        print(json.dumps({"schema_version": 1, "dropped": dropped}))
        return Exit.OK
    print(f"dropped {counted(dropped, 'message')}.", file=sys.stderr)
    return Exit.OK


# --- Showing ----------------------------------------------------------------------------------------------


def _spread(records: Mapping[str, Record]) -> str:
    """Say how many tasks each worker has run."""
    counts = Counter(record.worker.partition("@")[0] for record in records.values() if record.worker)
    if not counts:
        return ""
    return f": {', '.join(f'{name} ran {number}' for name, number in sorted(counts.items()))}"


def _canvas_document(text: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "id": outcome.id,
        "canvas": text,
        "state": outcome.state,
        "result": outcome.result,
        "runtime_s": round(outcome.runtime_s, 6),
        "failed": [{"id": one.id, "task": one.task, "error": one.error} for one in outcome.failed],
        "error": outcome.error,
    }


def _list_canvases(canvases: Mapping[str, str], as_json: bool) -> int:
    if as_json:
        print(json.dumps({"schema_version": 1, "canvases": dict(canvases)}, indent=2))
        return Exit.OK
    if not canvases:
        print("fleet.yaml names no canvases; type one: celeryfleet canvas 'add.s(2, 2) | mul.s(8)'", file=sys.stderr)
    width = max(map(len, canvases), default=0)
    for name, text in canvases.items():
        print(f"{name:<{width}}  {' '.join(text.split())}")
    return Exit.OK
