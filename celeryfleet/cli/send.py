"""Commands that send a task, many, or a canvas, and show what became of them: send, canvas, result."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli.output import say_json
from celeryfleet.cli.sending import aliases, check_exchange, refuse_unread, resolved, times, warn_of_priority
from celeryfleet.cli.usage import AsJson, an_id, read_argument
from celeryfleet.errors import Exit, FleetError
from celeryfleet.render import progress
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.outcome import Outcome, Record
    from celeryfleet.ledger.entry import Entry


Countdown = Annotated[float | None, typer.Option("--countdown", metavar="S", min=0, help="Start in S seconds.")]
Eta = Annotated[datetime | None, typer.Option("--eta", metavar="T", help="Start at 2026-11-20T10:00:00.")]
Expires = Annotated[float | None, typer.Option("--expires", metavar="S", min=0, help="Not after S seconds.")]
Header = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Of the message; may be given again.")
]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="ARG", parser=read_argument, help="4, Bob, [1, 2], key=value.")
]
ArgsJson = Annotated[str, typer.Option("-a", "--args", metavar="JSON", help="Arguments as a JSON list.")]
KwargsJson = Annotated[str, typer.Option("-k", "--kwargs", metavar="JSON", help="As a JSON object.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the id, and leave.")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")]


def send(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="An alias, a short name or a full one.")] = "",
    words: Words = None,
    args_json: ArgsJson = "",
    kwargs_json: KwargsJson = "",
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="Past the routes.")] = None,
    exchange: Annotated[str | None, typer.Option("--exchange", metavar="X", help="Past the routes.")] = None,
    routing_key: Annotated[str | None, typer.Option("--routing-key", metavar="K", help="For the exchange.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", metavar="P", min=0, max=9, help="9 runs first.")] = None,
    countdown: Countdown = None,
    eta: Eta = None,
    expires: Expires = None,
    header: Header = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="N times; with --no-wait.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A task for each line of JSON; - is stdin. Waits for no result."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Though unregistered, or read by nobody.")] = False,
    as_json: AsJson = False,
) -> int:
    """Send a task, wait for its result and print it; exit code 1 if the task fails.

    A line of --from: {"args": [4, 4], "kwargs": {}}, with task, queue, priority, countdown, eta, expires, headers.

    All lines are checked before one is sent.

    Examples: [bold]celeryfleet send add 4 4[/] · [bold]celeryfleet send notify Bob --no-wait[/] ·
    [bold]celeryfleet send add 4 4 --count 100000 --no-wait[/] · [bold]celeryfleet send notify --from users.jsonl[/]
    """
    from celeryfleet.client.options import Options, read_headers
    from celeryfleet.client.words import prepare

    session: Session = context.obj
    options = Options(queue, priority, countdown, eta, expires, read_headers(header or []), exchange, routing_key)
    warn_of_priority(session, priority)
    check_exchange(session, exchange)
    if source is not None:
        given = {"ARG": words, "-a": args_json, "-k": kwargs_json, "--count": count, "--timeout": timeout}
        wrong = next((name for name, value in given.items() if value), None)
        if wrong:
            hint = "Arguments stand in the lines, and no result is waited for."
            raise FleetError(f"{wrong} does not go together with --from.", hint=hint)
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
    refuse_unread(session, app, [(name, args, kwargs, options.target)], force)
    if count is not None:
        from celeryfleet.cli import bulk

        return bulk.send_count(app, name, args, kwargs, options, count, as_json)
    from celeryfleet.client import send as client
    from celeryfleet.client.outcome import Outcome

    by_name = force or name in session.tasks_of_others
    sent = client.send(app, name, args, kwargs, options, session.plan.routing.wire, by_name, keep=not no_wait)
    about = {"task": name, "queue": sent.queue}
    if no_wait and as_json:
        print_document(Outcome("PENDING", id=sent.id), about, wait_s=None, runtime_s=None, took_s=None)
    elif no_wait:
        say(sent.id)
    if no_wait:
        return Exit.OK
    with progress.waiting(f"{name} is in queue {sent.queue}"):
        outcome, records = client.wait(app, sent, timeout)
    waited, ran = times(session, sent.id) if outcome.ready else (None, None)
    if as_json:
        took = round(outcome.took_s, 6) if outcome.ready else None
        return print_document(outcome, about, wait_s=waited, runtime_s=ran, took_s=took)
    worker = next((record.worker.partition("@")[0] for record in records.values()), "")
    place = f"queue {sent.queue}" if waited is None else f"queue {sent.queue}, waited {waited:.2f} s"
    did = f"took {outcome.took_s:.2f} s with its wait" if ran is None else f"ran in {ran:.2f} s"
    return show_outcome(
        outcome, timeout, f"{name} {did} on {worker} ({place})" if worker else f"{name} {did} ({place})"
    )


def canvas(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="CANVAS|EXPR", help="Of fleet.yaml, or as Celery writes it.")] = "",
    countdown: Countdown = None,
    eta: Eta = None,
    expires: Expires = None,
    header: Header = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> int:
    """Run a canvas and print its result; without an argument, list the named ones.

    Options go to every step, over its own; --countdown and --eta to the first ones alone.
    In Python, `chain.apply_async` gives them to the first alone.

    Examples: [bold]celeryfleet canvas chord[/] · [bold]celeryfleet canvas 'add.s(2, 2) | mul.s(8)'[/]
    """
    session: Session = context.obj
    if not what:
        return _list_canvases(session.fleet.canvases, as_json)
    from celeryfleet.client import send as client
    from celeryfleet.client.expression import Names, parse
    from celeryfleet.client.inspect import registered
    from celeryfleet.client.options import Options, read_headers
    from celeryfleet.client.signatures import leaves, set_options, task_of
    from celeryfleet.render.canvas import draw
    from celeryfleet.render.paint import has_colour

    options = Options(None, None, countdown, eta, None, read_headers(header or [])).given()
    if expires is not None:  # a step of a chain is sent later, so that seconds would be counted from then
        options["expires"] = (datetime.now() + timedelta(seconds=expires)).astimezone().isoformat()
    text = _canvas(session.fleet.canvases, what)
    session.require_broker()
    app = session.app()
    declared = [queue.name for queue in session.plan.queues]
    asked = parse(text, Names(registered(app), aliases(session), declared), app)
    set_options(asked.step, options)
    wanted = ((task_of(leaf), leaf.args, leaf.kwargs, leaf.options) for leaf in leaves(asked.step))
    refuse_unread(session, app, wanted, force=True)
    sent = client.start(app, asked.step, session.plan.routing.wire, keep=not no_wait)
    if no_wait:
        say(json.dumps({"schema_version": 1, "id": sent.id}) if as_json else sent.id)
        return Exit.OK
    limit = timeout if timeout is not None else asked.timeout
    with progress.progress_bar(what if what in session.fleet.canvases else "canvas") as on_progress:
        outcome, records = client.wait(app, sent, limit, on_progress)
    if as_json:
        failed = [{"id": one.id, "task": one.task, "error": one.error} for one in outcome.failed]
        return print_document(outcome, {"canvas": text}, runtime_s=round(outcome.took_s, 6), failed=failed)
    say(draw(sent.step, records, has_colour(sys.stderr)), sys.stderr)
    count = sum(1 for _ in leaves(sent.step))
    return show_outcome(outcome, limit, f"{count} tasks in {outcome.took_s:.2f} s{_spread(records)}")


def result(
    context: typer.Context,
    task_id: Annotated[
        str, typer.Argument(metavar="ID", help="As `send --no-wait` prints it, or how it begins.", parser=an_id)
    ],
    as_json: AsJson = False,
) -> int:
    """Show what became of a task or a canvas; exit code 1 if it failed, 124 if it is not over.

    Examples: [bold]celeryfleet result 7d1f64c5-6a1e-4e0c-9f52-2e1d6b3f1c0a[/]
    """
    from celeryfleet.client.outcome import as_told
    from celeryfleet.client.results import look_up

    session: Session = context.obj
    entry = session.entry(task_id)
    known = as_told(entry) if entry else None
    try:
        session.require_broker()
        outcome = look_up(session.app(), entry.id if entry else task_id)
    except FleetError as error:
        if known is None:
            raise
        say(f"note: {error.problems[0].what} This is what the ledger tells.", sys.stderr)
        outcome = known
    if known is not None and not outcome.ready:  # it is ignored, or dropped by now
        outcome = known
    if entry is not None and outcome.failed:
        outcome = replace(outcome, failed=tuple(replace(one, task=entry.task) for one in outcome.failed))
    if as_json:
        return print_document(outcome, _told(entry), traceback=outcome.failed[0].traceback if outcome.failed else None)
    if entry is not None and entry.started:
        ran = "" if entry.runtime_s is None else f", ran {entry.runtime_s:.2f} s"
        waited = "" if entry.wait_s is None else f", waited {entry.wait_s:.2f} s"
        say(f"{entry.task} on {entry.worker} (queue {entry.queue}){waited}{ran}", sys.stderr)
    if not outcome.ready:
        raise FleetError(
            f"{task_id} is not over, or not known: {outcome.state}.",
            hint=f"Results are kept for a day; an id that was never sent looks the same: celeryfleet why {task_id}",
            code=Exit.TIMEOUT,
        )
    if outcome is known and outcome.state == "SUCCESS":
        say("It succeeded; its result is not kept.", sys.stderr)
        return Exit.OK
    return show_outcome(outcome, None)


def _told(entry: Entry | None) -> dict[str, Any]:
    """Return what the ledger knows of a task, as JSON shows it."""
    names = ("task", "queue", "worker", "wait_s", "runtime_s")
    return {name: getattr(entry, name, None) for name in names}


# --- Showing ----------------------------------------------------------------------------------------------


def print_document(outcome: Outcome, about: Mapping[str, Any] | None = None, **more: Any) -> int:
    """Print an outcome as JSON; return the exit code: 0, 1 for a failure, 124 where it is not over."""
    found = {"schema_version": 1, "id": outcome.id, **(about or {}), "state": outcome.state, "result": outcome.result}
    say(_json({**found, **more, "error": outcome.error}))
    return Exit.OK if outcome.state == "SUCCESS" else Exit.FAILURE if outcome.ready else Exit.TIMEOUT


def show_outcome(outcome: Outcome, timeout: float | None, told: str = "") -> int:
    """Print a result, or say on stderr why there is none; `told` is how it ended. Return the exit code."""
    if outcome.ready and told:
        say(f"{'✓' if outcome.state == 'SUCCESS' else '✗'} {told}", sys.stderr)
    if outcome.state == "SUCCESS":
        found = outcome.result
        say(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str))
        return Exit.OK
    for failed in outcome.failed:
        name = f"{failed.task} ({failed.id})" if failed.task else failed.id
        how = f"was revoked: {failed.error}" if failed.state == "REVOKED" else f"failed: {failed.error}"
        say(f"error: {name} {how}", sys.stderr)
        for line in failed.traceback.rstrip().splitlines():
            say(f"  {line}", sys.stderr)
        if failed.error.startswith("NotRegistered"):
            say(
                "  The code of the workers has no such task. If it is newer than they are: celeryfleet reload",
                sys.stderr,
            )
    if outcome.ready:
        return Exit.FAILURE
    raise FleetError(
        f"{outcome.id} was not over after {timeout:g} s ({outcome.state}).",
        hint=f"It goes on; ask again: celeryfleet result {outcome.id}",
        code=Exit.TIMEOUT,
    )


def _json(value: Any) -> str:
    """Write JSON; a number that is none, such as NaN, is null there."""
    try:
        return json.dumps(value, default=str, allow_nan=False, indent=2)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value, default=str), parse_constant=lambda name: None), indent=2)


def _spread(records: Mapping[str, Record]) -> str:
    """Say how many tasks each worker has run."""
    counts = Counter(record.worker.partition("@")[0] for record in records.values() if record.worker)
    ran = ", ".join(f"{name} ran {number}" for name, number in sorted(counts.items()))
    return f": {ran}" if ran else ""


def _canvas(canvases: Mapping[str, str], what: str) -> str:
    """Return the expression that a name stands for, or what is none itself; a name that is misspelt is guessed."""
    from celeryfleet.fleetfile.suggest import closest, unknown

    if what.isidentifier() and what not in canvases and closest(what, canvases):
        raise unknown("canvas", what, canvases)
    return canvases.get(what, what)


def _list_canvases(canvases: Mapping[str, str], as_json: bool) -> int:
    if as_json:
        return say_json({"schema_version": 1, "canvases": dict(canvases)})
    if not canvases:
        say("fleet.yaml names no canvases; type one: celeryfleet canvas 'add.s(2, 2) | mul.s(8)'", sys.stderr)
    width = max(map(len, canvases), default=0)
    for name, text in canvases.items():
        say(f"{name:<{width}}  {' '.join(text.split())}")
    return Exit.OK
