"""The command that runs a task in this process, for a debugger."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from celeryfleet.cli.lean import unreachable
from celeryfleet.cli.send import ArgsJson, KwargsJson, Words, print_document, show_outcome
from celeryfleet.cli.sending import decision_of, resolved
from celeryfleet.cli.usage import AsJson
from celeryfleet.errors import FleetError
from celeryfleet.text import listed, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.values import PoolPlan


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="An alias, a short name or a full one.")],
    words: Words = None,
    args_json: ArgsJson = "",
    kwargs_json: KwargsJson = "",
    pool: Annotated[str, typer.Option("--pool", metavar="POOL", help="Default: the one that would run it.")] = "",
    as_json: AsJson = False,
) -> int:
    """Run a task here, in this process, with the settings and the environment of its pool, so that breakpoint() works.

    No worker takes part, and no broker, unless the task itself sends something. Exit code 1 if the task fails.

    Examples: [bold]celeryfleet run add 4 4[/] · [bold]celeryfleet run notify Bob --pool mail[/]
    """
    from celeryfleet.app.routers import askers
    from celeryfleet.client import eager
    from celeryfleet.client.words import prepare

    session: Session = context.obj
    plan = session.plan
    args, kwargs = prepare(words or [], args_json, kwargs_json)
    chosen = _pool(session, pool) if pool else None
    if chosen is not None:
        _enter(session, chosen)
    app = session.app() if chosen is None else session.apps([chosen.app])[0]
    name = resolved(session, app, task, force=False)
    queues = decision_of(session, app, (name, args, kwargs, {}), askers(session.fleet)).queues
    if chosen is None:
        chosen = _reader(session, name, queues)
        if chosen.env or len(plan.apps) > 1:
            given = [*(["-a", args_json] if args_json else []), *(["-k", kwargs_json] if kwargs_json else [])]
            _start_anew(session, chosen, [*given, *(["--json"] if as_json else []), "--", task, *(words or [])])
        _enter(session, chosen)
    eager.settle(app, plan.worker(chosen, 1), str(chosen.options.get("loglevel", "INFO")))
    outcome = eager.run(app, name, args, kwargs, queues[0] if queues else "")
    if as_json:
        about = {"task": name, "queue": queues[0] if queues else None}
        return print_document(outcome, about, runtime_s=round(outcome.took_s, 6))
    code = show_outcome(outcome, None, f"{name} ran in {outcome.took_s:.2f} s here, as in pool {chosen.name}")
    if code and (reason := unreachable(plan.broker.url, plan.broker.transport, plan.settings)):
        say(f"The broker does not answer: {reason}. A task that sends nothing needs none.", sys.stderr)
    return code


def _pool(session: Session, name: str) -> PoolPlan:
    from celeryfleet.fleetfile.suggest import unknown

    found = session.plan.pool(name)
    if found is None:
        raise unknown("pool", name, [pool.name for pool in session.plan.pools])
    return found


def _reader(session: Session, name: str, queues: tuple[str, ...]) -> PoolPlan:
    """Return the first pool that reads a queue that the task goes to. Raises FleetError."""
    for pool in session.plan.pools:
        if set(queues) & set(pool.queues):
            return pool
    where = f"the queue {listed(queues)}, which no pool reads" if queues else "no queue"
    raise FleetError(f"{name} goes to {where}.", hint="Say with --pool which pool it is to run as in.")


def _enter(session: Session, pool: PoolPlan) -> None:
    """Take the place of one of a pool's workers: its folder and its environment."""
    os.environ.update({**session.plan.env, **pool.env})
    os.chdir(Path(session.plan.file).parent)


def _start_anew(session: Session, pool: PoolPlan, words: list[str]) -> NoReturn:
    """Be this command once more, with the pool named: its environment must be there before its app is imported."""
    argv = [sys.executable, "-P", "-m", "celeryfleet", *session.words(), "run", "--pool", pool.name, *words]
    sys.stdout.flush()
    os.execv(sys.executable, argv)
