"""Commands that send tasks and look at what became of them: send, canvas, result, tasks, queues."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli import progress_line
from celeryfleet.errors import Exit, FleetError
from celeryfleet.supervise.control import NotRunningError

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.outcome import Failed, Outcome, Record
    from celeryfleet.client.send import Options, Sent

PANEL = "Send tasks"
#: seconds that workers elsewhere have to say which queues they read, where no supervisor runs here
_INSPECT = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(send)
    app.command(rich_help_panel=PANEL)(canvas)
    app.command(rich_help_panel=PANEL)(result)
    app.command(rich_help_panel=PANEL)(tasks)
    app.command(rich_help_panel=PANEL)(queues)


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
    name = _resolved(session, app, task, force)
    args, kwargs = prepare(words or [], args_json, kwargs_json)
    options = client.Options(queue, priority, countdown, eta, expires)
    if not force:
        _refuse_unread(session, app, name, args, kwargs, options)
    one = partial(client.send, app, name, args, kwargs, options, _wire(session), force, keep=not no_wait)
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
        return _code(outcome)
    _narrate(f"{sent.task} ran in {outcome.runtime_s:.2f} s on {_where(app, sent)}", outcome)
    return _show(outcome, timeout)


def canvas(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="NAME|EXPR", help="Of fleet.yaml, or as Celery writes it.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id, and leave.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Run a canvas and print its result; without an argument, list the named ones.

    Examples: [bold]celeryfleet canvas chord[/] · [bold]celeryfleet canvas 'add.s(2, 2) | mul.s(8)'[/]
    """
    session: Session = context.obj
    if not what:
        return _list_canvases(session.fleet.canvases, as_json)
    from celeryfleet.cli import progress
    from celeryfleet.client import canvas as client
    from celeryfleet.client.expression import parse
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.kinds import Names

    text = session.fleet.canvases.get(what, what)
    session.require_broker()
    app = session.app()
    declared = [queue.name for queue in session.plan.queues]
    launched = parse(text, Names(registered(app), _aliases(session), declared))
    running = client.start(app, launched.step, _wire(session), keep=not no_wait)
    if no_wait:
        print(json.dumps({"schema_version": 1, "id": running.id}) if as_json else running.id)
        return Exit.OK
    limit = timeout if timeout is not None else launched.timeout
    with progress.progress_bar(what if what in session.fleet.canvases else "canvas") as on_progress:
        outcome, records = client.wait(app, running, limit, on_progress)
    if as_json:
        print(json.dumps(_canvas_document(text, outcome), indent=2, default=str))
        return _code(outcome)
    print(progress.picture(running.step, records, progress.has_colour(sys.stderr)), file=sys.stderr)
    _narrate(f"{client.count(running.step)} tasks in {outcome.runtime_s:.2f} s{_spread(records)}", outcome)
    return _show(outcome, limit)


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
        return _code(outcome)
    if not outcome.ready:
        raise FleetError(
            f"{task_id} is not over, or not known: {outcome.state}.",
            hint="Results are kept for a day; an id that was never sent looks the same.",
            code=Exit.TIMEOUT,
        )
    return _show(outcome, None)


def tasks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """List the registered tasks: how they are called, where they go and what they do."""
    from celeryfleet.client import inspect
    from celeryfleet.plan.routing import resolve

    session: Session = context.obj
    found = inspect.tasks(session.app(), _aliases(session))
    routers = _routers(session)
    queue = {one.name: resolve(session.fleet, session.plan, one.name, routers=routers).queues for one in found}
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
        lean.show(insight.found(session), "queues", False)
        return Exit.OK
    from celeryfleet.client.purge import purge

    known = [queue.name for queue in session.plan.queues]
    if not names:
        raise FleetError("purge which queue?", hint=f"The queues are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise FleetError(f'there is no queue "{name}".', hint=f"The queues are {', '.join(known)}.")
    session.require_broker()
    dropped = purge(session.plan, names)
    print(f"dropped {dropped} {'message' if dropped == 1 else 'messages'}.", file=sys.stderr)
    return Exit.OK


# --- Names ------------------------------------------------------------------------------------------------


def full_name(session: Session, name: str) -> str:
    """Return the full name of a task that is registered or at least named in full."""
    return _resolved(session, session.app(), name, force="." in name)


def _resolved(session: Session, app: Any, name: str, force: bool) -> str:
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.names import resolve_name

    return resolve_name(name, registered(app), _aliases(session), force)


def _aliases(session: Session) -> dict[str, str]:
    return {alias: entry.task for alias, entry in session.fleet.tasks.items()}


def _wire(session: Session) -> Callable[[int], int | None]:
    from celeryfleet.plan.routing import wire

    return partial(wire, session.plan.broker.kind)


def _routers(session: Session) -> dict[str, Any]:
    from celeryfleet.app import ask_router

    return {route.router: ask_router(route.router) for route in session.fleet.routes if route.router}


# --- Refusing what nobody would run -----------------------------------------------------------------------


def _refuse_unread(
    session: Session, app: Any, name: str, args: list[Any], kwargs: dict[str, Any], options: Options
) -> None:
    """Raise FleetError if the task would lie in a queue that nobody reads."""
    from celeryfleet.plan.routing import resolve

    asked = options.queue or getattr(app.tasks.get(name), "queue", None)
    decision = resolve(
        session.fleet, session.plan, name, args, kwargs, {"queue": asked} if asked else None, _routers(session)
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


def _spread(records: Mapping[str, Record]) -> str:
    """Say how many tasks each worker has run."""
    counts = Counter(record.worker.partition("@")[0] for record in records.values() if record.worker)
    if not counts:
        return ""
    return f": {', '.join(f'{name} ran {number}' for name, number in sorted(counts.items()))}"


def _narrate(text: str, outcome: Outcome) -> None:
    if outcome.ready:
        print(f"{'✓' if outcome.state == 'SUCCESS' else '✗'} {text}", file=sys.stderr)


def _show(outcome: Outcome, timeout: float | None) -> int:
    """Print a result, or tell why there is none."""
    if outcome.state == "SUCCESS":
        found = outcome.result
        print(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str))
        return Exit.OK
    for failed in outcome.failed:
        _show_failed(failed)
    if outcome.ready:
        return Exit.FAILURE
    raise FleetError(
        f"{outcome.id} was not over after {timeout:g} s ({outcome.state}).",
        hint=f"It goes on; ask again: celeryfleet result {outcome.id}",
        code=Exit.TIMEOUT,
    )


def _show_failed(failed: Failed) -> None:
    print(f"error: {failed.task} ({failed.id}) failed: {failed.error}", file=sys.stderr)
    for line in failed.traceback.rstrip().splitlines():
        print(f"  {line}", file=sys.stderr)


def _code(outcome: Outcome) -> int:
    if outcome.state == "SUCCESS":
        return Exit.OK
    return Exit.FAILURE if outcome.ready else Exit.TIMEOUT


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
