"""The command that says where a task goes and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli.headers import read_headers
from celeryfleet.errors import Exit, FleetError, Problem

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.facts import AppFacts
    from celeryfleet.routing.resolve import Decision

PANEL = "Write and check fleet.yaml"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(route)


def route(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's name, short or full, or an alias.")] = "",
    words: Annotated[list[str] | None, typer.Argument(metavar="ARG", help="Arguments, for routers.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="If it is sent with queue=Q.")] = None,
    exchange: Annotated[str | None, typer.Option("--exchange", metavar="X", help="If with exchange=X.")] = None,
    routing_key: Annotated[
        str | None, typer.Option("--routing-key", metavar="K", help="If with routing_key=K.")
    ] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=9, help="If with it; 9 runs first.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="If with it; may be given again.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A table of all registered tasks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name every route that was passed over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Say where a task goes and why: the route that matches, those passed over, and who will take it.

    Examples: [bold]celeryfleet route add[/] · [bold]celeryfleet route add --queue default[/] ·
    [bold]celeryfleet route --all[/]
    """
    from celeryfleet.client.words import parse_words

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
    if every:
        return _show_all(session, app, facts, as_json)
    _check_exchange(session, exchange)
    name = _name(session, facts, task)
    args, kwargs = parse_words(words or [])
    decision = _decide(session, app, facts, name, options, args, kwargs)
    workers = _workers(session)
    if as_json:
        print(json.dumps(_document(decision, workers), indent=2))
    else:
        print("\n".join(_lines(session, decision, workers, verbose)))
    return Exit.OK


# --- Deciding ---------------------------------------------------------------------------------------------


def _name(session: Session, facts: AppFacts, task: str) -> str:
    """Return a task's full name; one that looks full passes though it is not registered, and that is said."""
    from celeryfleet.cli.meant import aliases
    from celeryfleet.client.names import find, resolve_name

    found = find(task, facts.tasks, aliases(session))
    if isinstance(found, str):
        return found
    name = resolve_name(task, facts.tasks, aliases(session), force=not {".", ":"}.isdisjoint(task))
    print(f"note: {Problem(found.what, hint=found.hint)} It would go like this all the same.", file=sys.stderr)
    return name


def _check_exchange(session: Session, exchange: str | None) -> None:
    from celeryfleet.fleetfile.suggest import did_you_mean
    from celeryfleet.text import listed

    known = dict.fromkeys(queue.exchange for queue in session.plan.queues)
    if exchange is not None and exchange not in known:
        hint = did_you_mean(exchange, known) or f"The fleet's are {listed(known)}."
        raise FleetError(f'the exchange "{exchange}" is unknown.', hint=hint)


def _decide(
    session: Session,
    app: Any,
    facts: AppFacts,
    name: str,
    options: Mapping[str, Any],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Decision:
    from celeryfleet.app.routers import askers
    from celeryfleet.routing.resolve import resolve

    routers = askers(session.fleet, app, options)
    return resolve(session.fleet, session.plan.routing, name, args, kwargs, options, routers, facts.tasks.get(name))


def _workers(session: Session) -> dict[str, list[str]] | None:
    """Return the ready workers of the running fleet by each queue they read; None: it does not run here."""
    client = session.running()
    if client is None:
        return None
    with client:
        status = client.ask("status")["status"]
    found: dict[str, list[str]] = {}
    for pool in status["pools"]:
        for worker in pool["workers"]:
            for queue in pool["queues"] if worker["state"] == "ready" else ():
                found.setdefault(queue, []).append(worker["name"])
    return found


def _taking(decision: Decision, workers: Mapping[str, list[str]] | None) -> list[str] | None:
    if workers is None:
        return None
    return list(dict.fromkeys(name for queue in decision.queues for name in workers.get(queue, ())))


def _document(decision: Decision, workers: Mapping[str, list[str]] | None) -> dict[str, Any]:
    return {**decision.to_json(), "workers": _taking(decision, workers)}


# --- One task ---------------------------------------------------------------------------------------------


def _lines(
    session: Session, decision: Decision, workers: Mapping[str, list[str]] | None, verbose: bool
) -> Iterable[str]:
    """Write a decision for people."""
    from celeryfleet.render.grid import wrapped
    from celeryfleet.render.paint import AMBER, BOLD, DIM, paint, screen
    from celeryfleet.text import clean

    color, width = screen(sys.stdout)
    target = ", ".join(decision.queues)
    shown = paint(clean(target), BOLD, color) if target else paint(f"nowhere: {_nowhere(session)}", AMBER, color)
    yield f"{clean(decision.task)} → {shown}"
    last = ""
    for label, text in _facts(session, decision, workers, verbose):
        yield from wrapped(clean(text), (f"  {'' if label == last else label:<10}", DIM), color, width)
        last = label


def _nowhere(session: Session) -> str:
    """Say what becomes of a message that no queue takes."""
    return "sending it fails (NO_ROUTE)" if session.plan.routing.gives_back else "it is lost"


def _facts(
    session: Session, decision: Decision, workers: Mapping[str, list[str]] | None, verbose: bool
) -> Iterable[tuple[str, str]]:
    place = session.path.name
    if decision.rule:
        yield "rule", f"{place}:{decision.rule.line} {decision.rule.text}"
        _, _, besides = decision.because.partition("; ")
        if besides:
            yield "besides", besides
    else:
        yield "rule", f"none: {decision.because.removeprefix('no route matches: ')}"
    yield "exchange", _exchange(decision)
    if decision.wire_priority is not None:
        yield "priority", _priority(session, decision)
    yield "pools", _pools(session, decision)
    taking = _taking(decision, workers)
    if taking is not None:
        yield "workers", ", ".join(taking) or "none is ready"
    yield from (("passed", text) for text in _passed(place, decision, verbose))


def _exchange(decision: Decision) -> str:
    from celeryfleet.routing.table import headers_text

    if not decision.exchange:
        return (
            "the broker's own, straight to the queue" if decision.queues else "the broker's own, with no queue's name"
        )
    if decision.exchange_type == "headers":
        unwanted = "" if decision.queues else "; no queue of it wants such a message"
        return f"{decision.exchange} (headers), {headers_text(decision.headers) or 'no headers given'}{unwanted}"
    key = decision.routing_key
    lost = "" if decision.queues else "; no queue is bound to it by that key"
    return f"{decision.exchange} ({decision.exchange_type}), {f'key {key}' if key else 'no key'}{lost}"


def _priority(session: Session, decision: Decision) -> str:
    on_wire = f"{decision.wire_priority} on the wire"
    if session.plan.broker.kind == "redis":
        on_wire += ", where Redis has 0 first"
    said = "none, so it runs last" if decision.priority is None else f"{decision.priority} of 9, and 9 runs first"
    return f"{said} ({on_wire})"


def _pools(session: Session, decision: Decision) -> str:
    if decision.pools:
        return ", ".join(decision.pools)
    if not session.plan.pools:
        return "none in this file"
    return "none reads it: its tasks wait" if decision.queues else "none gets it"


#: routes that are named without --verbose
_SHOWN = 4


def _passed(place: str, decision: Decision, verbose: bool) -> Iterable[str]:
    """Tell of the routes passed over: those that match in any case, and else the first few."""
    passed = decision.passed_over
    matching = [one for one in passed if one.why.startswith("it matches")]
    few = passed if verbose or len(passed) <= _SHOWN + 1 else [*passed[:_SHOWN], *matching]
    yield from (f"{place}:{one.line} {one.why}" for one in dict.fromkeys(few))
    left = len(passed) - len(dict.fromkeys(few))
    if left:
        yield f"… and {left} more; --verbose names them"


# --- All tasks --------------------------------------------------------------------------------------------


def _show_all(session: Session, app: Any, facts: AppFacts, as_json: bool) -> int:
    from celeryfleet.render.paint import screen

    found = _decide_all(session, app, facts)
    if as_json:
        workers = _workers(session)
        routes = [
            {"task": name, "error": str(one)} if isinstance(one, FleetError) else _document(one, workers)
            for name, one in found.items()
        ]
        bare = [{key: value for key, value in row.items() if key != "schema_version"} for row in routes]
        print(json.dumps({"schema_version": 1, "routes": bare}, indent=2))
        return Exit.OK
    print("\n".join(_table(session, found, *screen(sys.stdout))))
    for error in dict.fromkeys(str(one) for one in found.values() if isinstance(one, FleetError)):
        print(error, file=sys.stderr)
    unread = sum(not isinstance(one, FleetError) and not one.pools for one in found.values())
    if unread and session.plan.pools:
        what = "task goes" if unread == 1 else "tasks go"
        print(f"{unread} {what} where no pool reads. `celeryfleet check` says more.", file=sys.stderr)
    return Exit.OK


def _decide_all(session: Session, app: Any, facts: AppFacts) -> dict[str, Decision | FleetError]:
    """Decide for every registered task, sent without arguments: a router that needs some fails for that task alone."""
    from celeryfleet.app.routers import askers
    from celeryfleet.routing.resolve import resolve

    routers = askers(session.fleet, app)
    found: dict[str, Decision | FleetError] = {}
    for name, own in facts.tasks.items():
        try:
            found[name] = resolve(session.fleet, session.plan.routing, name, routers=routers, own=own)
        except FleetError as error:  # elsewhere it ends the command; here it is what is to be told of one row
            found[name] = error
    return found


_COLUMNS = ("TASK", "QUEUE", "EXCHANGE", "PRIORITY", "ROUTE", "POOLS")
_NOTHING = "–"


def _table(session: Session, found: Mapping[str, Decision | FleetError], color: bool, width: int) -> Iterable[str]:
    """Write a line for each task: no column that says nothing, and short names where full ones are too long."""
    from celeryfleet.render.grid import grid
    from celeryfleet.text import clean, columns

    rows = [_cells(session, name, one) for name, one in found.items()]
    kept = [
        n for n, title in enumerate(_COLUMNS) if title in ("TASK", "QUEUE") or any(r[n][0] != _NOTHING for r in rows)
    ]
    needed = sum(max([len(_COLUMNS[n]), *(columns(row[n][0]) for row in rows)]) + 2 for n in kept) - 2
    if width and needed > width:
        short = _short(found)
        rows = [[(clean(short[name]), ""), *row[1:]] for name, row in zip(found, rows, strict=True)]
    return grid([_COLUMNS[n] for n in kept], [[row[n] for n in kept] for row in rows], color, width)


def _short(names: Iterable[str]) -> dict[str, str]:
    """Shorten names, but for those with a namespace: it is what `celeryfleet.routers.namespace` goes by."""
    from celeryfleet.client.names import short_names

    return {name: name if ":" in name else short for name, short in short_names(list(names)).items()}


def _cells(session: Session, name: str, found: Decision | FleetError) -> list[tuple[str, str]]:
    from celeryfleet.render.paint import AMBER, DIM
    from celeryfleet.text import clean

    nothing = (_NOTHING, DIM)
    missed = "NO_ROUTE" if session.plan.routing.gives_back else "lost"
    if isinstance(found, FleetError):
        return [(clean(name), ""), ("?", AMBER), nothing, nothing, ("it fails", AMBER), nothing]
    straight = found.exchange_type == "direct" and found.queue is not None
    if found.rule:
        rule = (f"{session.path.name}:{found.rule.line}", "")
    else:
        rule = ("default" if found.because.startswith("no route") else "its code", DIM)
    return [
        (clean(name), ""),
        (clean(", ".join(found.queues)), "") if found.queues else (missed, AMBER),
        nothing if straight else (clean(f"{found.exchange} {found.routing_key}".strip()), ""),
        nothing if found.priority is None else (str(found.priority), ""),
        rule,
        (", ".join(found.pools), "") if found.pools else ("nobody", AMBER),
    ]
