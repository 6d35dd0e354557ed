"""The command that says how many workers it takes."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli import insight, traffic
from celeryfleet.cli.fleet import replicas
from celeryfleet.cli.usage import one_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.values import Plan, PoolPlan
    from celeryfleet.protocol import PoolStatus, Status
    from celeryfleet.render.capacity import Outlook, Report
    from celeryfleet.simulate.forecast import Forecast, Traffic
    from celeryfleet.simulate.search import Target

PANEL = "Look at it"
_TARGET = re.compile(r"\s*(\S+)\s+p0?([1-9]\d?)\s*<\s*(\S.*)")


class Form(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    SVG = "svg"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(plan)


def plan(
    context: typer.Context,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="T", help="'mail p95 < 5s'; default: each queue's max_age.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option("--rate", metavar="QUEUE=N/s", help="Messages that come, not those measured.")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", metavar="QUEUE=T", help="What a task takes in the mean, not what was measured."),
    ] = None,
    what_if: Annotated[
        list[str] | None, typer.Option("--what-if", metavar="POOL=N", help="Show the same with N replicas.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="T", help="What has ended since then is measured: 10m, 1h, 10:00.")
    ] = "1h",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the random numbers.")] = 1,
    form: Annotated[Form, typer.Option("--format", **one_of(Form, "format"))] = Form.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Say how many workers it takes: what messages wait for with these, and how few will do, by simulation.

    Rates and runtimes are those of the ledger. Messages are thought to come at random, one by one.

    Examples: [bold]celeryfleet plan[/] · [bold]celeryfleet plan --target 'mail p95 < 5s'[/] ·
    [bold]celeryfleet plan --rate mail=200/s --runtime mail=80ms --what-if mail=8[/]
    """
    from celeryfleet.render import capacity as draw
    from celeryfleet.render.paint import screen

    report = _report(context.obj, target or [], rate or [], runtime or [], what_if or [], since, seed)
    if as_json:
        say(json.dumps(draw.document(report), indent=2))
    elif form is Form.SVG:
        say(draw.svg(report))
    else:
        for line in draw.lines(report, *screen(sys.stdout)):
            say(line)
    return Exit.OK


def _report(
    session: Session,
    targets: Sequence[str],
    rates: Sequence[str],
    runtimes: Sequence[str],
    what_if: Sequence[str],
    since: str,
    seed: int,
) -> Report:
    from celeryfleet import machine
    from celeryfleet.logs.times import parse_since
    from celeryfleet.render.capacity import Report
    from celeryfleet.simulate.search import by_turns, search

    wanted, other = [_target(session.plan, text) for text in targets], _changed(session.plan, what_if)
    status = insight.found(session)
    known = traffic.known(session, status, parse_since(since, time.time()), rates, runtimes)
    _bounded(sum(one.demand for one in known.traffic))
    seen = {one.queue for one in known.traffic}
    for queue in [one.queue for one in wanted] or [one.name for one in session.plan.queues[: not seen]]:
        if queue not in seen:
            raise traffic.nothing(queue)
    running = _running(session.plan, status)
    turns = by_turns(running)
    now = _outlook(running, known.traffic, seed)
    wanted = wanted or _targets(running, now.forecasts)
    return Report(
        now=now,
        known=known,
        searches=[one for one in (search(running, now.forecasts, one, seed) for one in wanted) if one],
        turns=_outlook(turns, known.traffic, seed) if turns else None,
        what_if=other,
        otherwise=_outlook(_fixed(running, other), known.traffic, seed) if other else None,
        processors=machine.processors(),
        memory=machine.memory(),
        worker=max((one.rss_bytes or 0 for pool in status.pools for one in pool.workers), default=0),
    )


def _outlook(plan: Plan, traffic: Sequence[Traffic], seed: int) -> Outlook:
    from celeryfleet.render.capacity import Outlook
    from celeryfleet.simulate.forecast import forecast

    _bounded(sum(pool.replicas * pool.concurrency for pool in plan.pools))
    return Outlook(plan, forecast(plan, traffic, seed))


def _bounded(tasks: float) -> None:
    """Refuse what would be simulated for minutes: most likely a typing error."""
    from celeryfleet.simulate.search import MOST

    if not tasks <= MOST:
        raise FleetError(
            f"more than {MOST:,} tasks at a time are too many to be simulated.",
            hint="Check the numbers; or plan a part: a tenth of the rate needs about a tenth of the workers.",
        )


def _running(plan: Plan, status: Status) -> Plan:
    """Return the plan with the replicas and the concurrency that run, if the fleet does."""
    pools = {pool.name: pool for pool in status.pools if status.state != "down"}
    return replace(plan, pools=tuple(_as_it_runs(pool, pools.get(pool.name)) for pool in plan.pools))


def _as_it_runs(pool: PoolPlan, known: PoolStatus | None) -> PoolPlan:
    if known is None:
        return pool
    return replace(pool, conf={**pool.conf, "worker_concurrency": known.concurrency}).sized(known.want)


def _fixed(plan: Plan, replicas: dict[str, int]) -> Plan:
    """Return the plan with these numbers of replicas, whatever an autoscaler says."""
    pools = (replace(pool, autoscale=None) if pool.name in replicas else pool for pool in plan.pools)
    return replace(plan, pools=tuple(pools)).scaled(replicas)


def _target(plan: Plan, text: str) -> Target:
    from celeryfleet.simulate.search import Target, first_reader

    match = _TARGET.fullmatch(text)
    if match is None:
        raise FleetError(
            f'"{text}" is not a target.',
            hint="Write a queue, a percentile from 1 to 99 and a time: 'mail p95 < 5s'.",
        )
    queue, seconds = plan.routing.queue(match[1]).name, traffic.span(match[3].strip())
    if not seconds:
        raise FleetError(f'"{text}": no message waits for less than nothing.', hint="Write a time, such as 50ms or 5s.")
    if first_reader(plan, queue) is None:
        raise FleetError(
            f'"{text}": no pool reads {queue}.', hint=f"Add it to the queues of a pool: queues: [{queue}]."
        )
    return Target(queue, int(match[2]), seconds)


def _targets(plan: Plan, found: Sequence[Forecast]) -> list[Target]:
    """Take max_age for what is wanted; else that all keep up which do not, or the busiest queue."""
    from celeryfleet.simulate.search import Target

    came = [one for one in found if one.traffic.rate]
    grow = {one.traffic.queue for one in came if not one.waits}
    ages = {queue.name: queue.max_age for queue in plan.queues if queue.max_age}
    queues = dict.fromkeys(one.traffic.queue for one in came)
    busiest = sorted(came, key=lambda one: one.load)[-1:]
    aimed = [queue for queue in queues if queue in grow or queue in ages] or [one.traffic.queue for one in busiest]
    return [Target(queue, seconds=ages.get(queue)) for queue in aimed]


def _changed(plan: Plan, texts: Sequence[str]) -> dict[str, int]:
    from celeryfleet.fleetfile.suggest import unknown

    changed = replicas([*texts])
    for name, number in changed.items():
        pool = plan.pool(name)
        if pool is None:
            raise unknown("pool", name, (pool.name for pool in plan.pools))
        _bounded(number * pool.concurrency)
    return changed
