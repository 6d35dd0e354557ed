"""The command that says where a task goes and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli.output import say_json, show
from celeryfleet.cli.sending import aliases, check_exchange
from celeryfleet.cli.usage import AsJson, read_argument
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import GetStatus, Status
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.facts import AppFacts
    from celeryfleet.routing.resolve import Decision


def route(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's name, short or full, or an alias.")] = "",
    words: Annotated[
        list[str] | None, typer.Argument(metavar="ARG", parser=read_argument, help="Arguments, for routers.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="If it is sent with queue=Q.")] = None,
    exchange: Annotated[str | None, typer.Option("--exchange", metavar="X", help="If with exchange=X.")] = None,
    routing_key: Annotated[
        str | None, typer.Option("--routing-key", metavar="K", help="If with routing_key=K.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="P", min=0, max=9, help="If with it; 9 runs first.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="If with it; may be given again.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A table of all registered tasks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name every route that was passed over.")] = False,
    as_json: AsJson = False,
) -> int:
    """Say where a task goes and why: the route that matches, those passed over, and who will take it.

    Examples: [bold]celeryfleet route add[/] · [bold]celeryfleet route add --queue default[/] ·
    [bold]celeryfleet route --all[/]
    """
    from celeryfleet.app.routers import askers
    from celeryfleet.client.options import read_headers
    from celeryfleet.client.words import parse_words
    from celeryfleet.render.route import decision_lines
    from celeryfleet.routing.resolve import resolve

    session: Session = context.obj
    given = {"queue": queue, "exchange": exchange, "routing_key": routing_key, "priority": priority}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if header:
        options["headers"] = read_headers(header)
    if every and (task or options):
        raise FleetError("--all goes without a task and without options.", hint="Say one task, or --all.")
    if not every and not task:
        raise FleetError("which task?", hint="`celeryfleet route TASK`, or --all for a table of all.")
    app, facts = session.examined()
    session.tell_left_out()
    if every:
        return _show_all(session, app, facts, as_json)
    check_exchange(session, exchange)
    name = _name(session, facts, task)
    args, kwargs = parse_words(words or [])
    routers = askers(session.fleet, app, options)
    own = facts.tasks.get(name)
    decision = resolve(session.fleet, session.plan.routing, name, args, kwargs, options, routers, own)
    status = session.ask(GetStatus(exact=False), Status)
    workers = _workers(status)
    paused = [queue for queue in decision.queues if status and queue in status.paused]
    drawn = (decision, session.plan.routing, session.path.name, _taking(decision, workers), paused, verbose)
    return show(as_json, _document(decision, workers), partial(decision_lines, *drawn))


# --- Deciding ---------------------------------------------------------------------------------------------


def _name(session: Session, facts: AppFacts, task: str) -> str:
    """Return a task's full name; one that is not registered passes, and that is said."""
    from celeryfleet.client.names import resolve_name

    try:
        return resolve_name(task, facts.tasks, aliases(session))
    except FleetError as error:
        name = resolve_name(task, facts.tasks, aliases(session), force=True)
        say(f"note: {error} It would go like this all the same.", sys.stderr)
        return name


def _workers(status: Status | None) -> dict[str, list[str]] | None:
    """Return the ready workers of the running fleet by each queue they take from; None: it does not run here."""
    if status is None:
        return None
    found: dict[str, list[str]] = {}
    for pool in status.pools:
        for worker in pool.workers:
            for queue in pool.queues if worker.state == "ready" else ():
                if queue not in status.paused:
                    found.setdefault(queue, []).append(worker.name)
    return found


def _taking(decision: Decision, workers: Mapping[str, list[str]] | None) -> list[str] | None:
    if workers is None:
        return None
    return list(dict.fromkeys(name for queue in decision.queues for name in workers.get(queue, ())))


def _document(decision: Decision, workers: Mapping[str, list[str]] | None) -> dict[str, Any]:
    return {**decision.to_json(), "workers": _taking(decision, workers)}


# --- All tasks --------------------------------------------------------------------------------------------


def _show_all(session: Session, app: Any, facts: AppFacts, as_json: bool) -> int:
    from celeryfleet.render.route import decision_table

    found = _decide_all(session, app, facts)
    if as_json:
        workers = _workers(session.ask(GetStatus(exact=False), Status))
        routes = [
            {"task": name, "error": str(one)} if isinstance(one, FleetError) else _document(one, workers)
            for name, one in found.items()
        ]
        bare = [{key: value for key, value in row.items() if key != "schema_version"} for row in routes]
        return say_json({"schema_version": 1, "routes": bare})
    show(False, {}, partial(decision_table, found, session.plan.routing, session.path.name))
    for error in dict.fromkeys(str(one) for one in found.values() if isinstance(one, FleetError)):
        say(error, sys.stderr)
    unread = sum(not isinstance(one, FleetError) and not one.pools for one in found.values())
    if unread and session.plan.pools:
        what = "task goes" if unread == 1 else "tasks go"
        say(f"{unread} {what} where no pool reads. `celeryfleet check` says more.", sys.stderr)
    return Exit.OK


def _decide_all(session: Session, app: Any, facts: AppFacts) -> dict[str, Decision | FleetError]:
    """Decide for every registered task, sent without arguments: a router that needs some fails for that task alone."""
    from celeryfleet.app.routers import askers
    from celeryfleet.routing.resolve import resolve

    routers, table = askers(session.fleet, app), session.plan.routing
    found: dict[str, Decision | FleetError] = {}
    for name, own in facts.tasks.items():
        try:
            found[name] = resolve(session.fleet, table, name, routers=routers, own=own)
        except FleetError as error:  # elsewhere it ends the command; here it is what is to be told of one row
            found[name] = error
    return found
