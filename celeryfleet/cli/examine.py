"""Gathers what lint looks at: fleet.yaml, the app, this machine, and the broker where it tells something."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.cli.sending import aliases
from celeryfleet.errors import FleetError
from celeryfleet.plan.facts import AppFacts

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.errors import Problem
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.lint import Finding, Machine, RouterReport, Server
    from celeryfleet.plan.values import Plan
    from celeryfleet.redis_client import Reply

_DENIED = "the access list of the broker {} does not let the fleet's user do all that it needs: {}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `check` has to say."""

    #: what is to be told, the worst first
    told: list[Finding]
    #: what comments in the file silence
    silenced: list[Finding] = field(default_factory=list)
    #: None: fleet.yaml cannot be read
    plan: Plan | None = None
    routes: int = 0
    #: registered tasks; None: the app cannot be imported
    tasks: int | None = None
    #: why the broker was not asked; empty: it was, or has nothing to tell
    note: str = ""


def examine(session: Session) -> Verdict:
    """Look at all there is. What is wrong with fleet.yaml or the app is a finding here like any other."""
    from celeryfleet.app.router_check import check_routers
    from celeryfleet.app.routers import askers
    from celeryfleet.endpoint import Refusal
    from celeryfleet.errors import Problem
    from celeryfleet.lint import in_order, judged, lint
    from celeryfleet.lint.ignores import silence
    from celeryfleet.lint.registry import REFUSED

    try:
        fleet, plan = session.fleet, session.plan
    except FleetError as error:  # elsewhere it ends the command; here it is the result
        return Verdict(_errors(error.problems))
    errors: list[Finding] = []
    app: AppFacts | None = None
    routers: RouterReport | None = None
    try:
        loaded, app = session.examined()
        errors += app_errors(session)
        asked = askers(fleet, loaded)
        if asked:
            routers = check_routers(fleet, plan.routing, app.tasks, asked)
    except FleetError as error:
        errors += _errors(error.problems, fleet.where("apps" if fleet.apps else "app"))
    if session.left_out:
        app = None  # what is known of the others is not the whole
    if app is not None:
        errors += canvas_errors(session, app)
    machine = machine_facts(plan.settled((app or AppFacts()).says), app is not None)
    if plan.broker.transport == "amqp":
        server = None
        problems, note = definition_problems(plan, fleet)
        errors += _errors(problems)
    else:
        server, note = server_facts(plan)
    notes = {"broker": note, "results": results_note(plan)}
    refusals = {key: text for key, text in notes.items() if isinstance(text, Refusal)}
    hint = "Nothing can run until it does."
    errors += _errors([Problem(text, fleet.where(key), hint, REFUSED.code) for key, text in refusals.items()])
    note = "\n".join(text for key, text in notes.items() if text and key not in refusals)
    found = lint(fleet, plan, app, machine, server, routers)
    told, silenced = silence(found, files(session), judged(app, machine, server, routers))
    tasks = len(app.tasks) if app is not None else None
    return Verdict(in_order([*errors, *told]), silenced, plan, len(fleet.routes), tasks, note)


def _errors(problems: Iterable[Problem], where: str = "") -> list[Finding]:
    from celeryfleet.lint import Finding, Level
    from celeryfleet.lint.registry import CODES, INVALID

    rules = [(problem, CODES.get(problem.code, INVALID)) for problem in problems]
    return [
        Finding(rule.code, rule.name, Level.ERROR, problem.where or where, problem.what, problem.hint)
        for problem, rule in rules
    ]


def app_errors(session: Session) -> list[Finding]:
    """Say which apps could not be loaded beside those that were, and why the scheduler of beat can't be imported."""
    from celeryfleet.app import import_scheduler

    fleet, beat = session.fleet, session.plan.beat
    left_out = session.left_out.items()
    found = [one for name, error in left_out for one in _errors(error.problems, fleet.where("apps", name))]
    if beat is not None and beat.app in session.loaded:
        try:
            import_scheduler(session.loaded[beat.app], beat.scheduler)
        except FleetError as error:
            found += _errors(error.problems, fleet.where("beat", "scheduler"))
    return found


def canvas_errors(session: Session, app: AppFacts) -> list[Finding]:
    """Read the named canvases as `celeryfleet canvas` does, and say which it would refuse."""
    from celeryfleet.client.expression import Names, parse
    from celeryfleet.errors import Problem
    from celeryfleet.lint.registry import CANVAS

    fleet = session.fleet
    names = Names(tuple(app.tasks), aliases(session), [queue.name for queue in session.plan.queues])
    problems = []
    for name, text in fleet.canvases.items():
        try:
            parse(text, names)
        except FleetError as error:  # the next one may be wrong too
            told = error.problems[0]
            where = fleet.where("canvases", name)
            problems.append(Problem(f'canvas "{name}": {told.what}', where, told.hint, CANVAS.code))
    return _errors(problems)


def files(session: Session) -> dict[str, str]:
    """Return the text of fleet.yaml and of its override, by the names that findings have for them."""
    shown = Path(session.fleet.where().rsplit(":", 2)[0])
    names = (shown, shown.with_name(f"{shown.stem}.override{shown.suffix}"))
    return {str(name): name.read_text("utf-8-sig") for name in names if name.is_file()}


# --- This machine -----------------------------------------------------------------------------------------


def machine_facts(plan: Plan, loaded: bool) -> Machine:
    """Measure this machine; a process that has `loaded` the app is as large as a worker (48 MB and 42 MB measured)."""
    import psutil

    from celeryfleet.lint import Machine
    from celeryfleet.machine import memory, processors

    green = {pool.implementation for pool in plan.pools} & {"gevent", "eventlet"}
    return Machine(
        cpus=processors(),
        memory=memory(),
        process=psutil.Process().memory_info().rss if loaded else None,
        absent=frozenset(name for name in green if importlib.util.find_spec(name) is None),
    )


# --- The broker -------------------------------------------------------------------------------------------


def server_facts(plan: Plan) -> tuple[Server | None, str]:
    """Ask a Redis for its limits; return them, or why not. A RabbitMQ does not tell its limits to its clients."""
    from celeryfleet.cli.access import forbidden, unable
    from celeryfleet.endpoint import Refusal
    from celeryfleet.redis_client import BrokerError, connect

    if plan.broker.transport != "redis":
        return None, ""
    try:
        with connect(plan.broker.url, settings=plan.settings) as connection:
            clients, memory, configured = connection.pipeline(
                [["INFO", "clients"], ["INFO", "memory"], ["CONFIG", "GET", "maxclients"]]
            )
            missing, lacking = forbidden(connection, plan), unable(connection, plan.broker.key_prefix)
    except BrokerError as error:
        if plan.broker.argv:  # the fleet's own, which is not running
            return None, ""
        return None, _untold(plan, "limits", error.reason)
    denied = Refusal(_DENIED.format(plan.broker.shown, ", ".join(missing))) if missing else ""
    return server_of({**_told(clients), **_told(memory)}, configured, lacking), denied


def _untold(plan: Plan, asked: str, reason: str) -> str:
    """Say that a broker was not asked, or does not let us in."""
    from celeryfleet.endpoint import Refusal

    if isinstance(reason, Refusal):
        return Refusal(f"the broker {plan.broker.shown} does not let the fleet in: {reason}.")
    return f"the broker {plan.broker.shown} was not asked for its {asked}: {reason}."


def results_note(plan: Plan) -> str:
    """Ask a Redis that keeps the results alone to let us in; say why it does not, if so."""
    from celeryfleet.endpoint import Refusal
    from celeryfleet.plan.secrets import shown
    from celeryfleet.redis_client import BrokerError, connect
    from celeryfleet.routing.table import transport_of

    url, settings = plan.broker.results, plan.settings
    if url == plan.broker.url or transport_of(url) != "redis":
        return ""
    options = {
        "broker_use_ssl": settings.get("redis_backend_use_ssl"),
        "broker_transport_options": settings.get("result_backend_transport_options"),
    }
    try:
        connect(url, settings=options).close()
    except BrokerError as error:
        backend = f"the result backend {shown(url, 'result_backend', plan.origins, 'result_backend')}"
        if isinstance(error.reason, Refusal):
            return Refusal(f"{backend} does not let the fleet in: {error.reason}.")
        return f"{backend} does not answer: {error.reason}."
    return ""


def definition_problems(plan: Plan, fleet: Fleet) -> tuple[Sequence[Problem], str]:
    """Ask a RabbitMQ for the queues and exchanges that it has otherwise; return them, or why it was not asked."""
    from celeryfleet.client.broker import reach
    from celeryfleet.client.conflicts import conflicts_of
    from celeryfleet.routing.conflicts import problem

    reason = reach(plan.broker.url, plan.settings)
    if reason:
        return (), _untold(plan, "queues", reason)
    return [problem(conflict, fleet.where) for conflict in conflicts_of(plan)], ""


def _told(reply: Reply) -> dict[str, str]:
    """Read the lines of INFO; an access list that forbids it leaves none."""
    lines = reply.decode(errors="replace").splitlines() if isinstance(reply, bytes) else []
    return {key: value for key, colon, value in (line.partition(":") for line in lines) if colon}


def server_of(told: Mapping[str, str], configured: Reply, lacking: Sequence[str] = ()) -> Server:
    """Say what a server tells of itself; older ones have maxclients in CONFIG only, which hosted ones forbid."""
    from celeryfleet.lint import Server

    most = told.get("maxclients", "")
    if not most and isinstance(configured, list) and len(configured) == 2 and isinstance(configured[1], bytes):
        most = configured[1].decode(errors="replace")
    memory = told.get("maxmemory", "")
    return Server(
        max_clients=int(most) if most.isdecimal() else None,
        max_memory=int(memory) if memory.isdecimal() else None,
        policy=told.get("maxmemory_policy") or None,
        lacking=tuple(lacking),
    )
