"""Finds what `plan` says: simulates the fleet as it runs, with other numbers of replicas, and for what is wanted."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from celeryfleet import machine
from celeryfleet.cli import hosts, traffic
from celeryfleet.cli.fleet import replicas
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.suggest import unknown
from celeryfleet.logs.times import parse_since
from celeryfleet.plan.build import everywhere
from celeryfleet.render.capacity import Outlook, Report
from celeryfleet.simulate.forecast import forecast
from celeryfleet.simulate.search import MOST, Target, by_turns, first_reader, fixed, search

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.values import Plan
    from celeryfleet.protocol import PoolStatus, Status
    from celeryfleet.simulate.forecast import Forecast, Traffic

_TARGET = re.compile(r"\s*(\S+)\s+p0?([1-9]\d?)\s*<\s*(\S.*)")


def found(
    session: Session,
    targets: Sequence[str],
    rates: Sequence[str],
    runtimes: Sequence[str],
    what_if: Sequence[str],
    since: str,
    seed: int,
) -> Report:
    """Answer it; all but `session` and `seed` as they are typed. Raises FleetError."""
    plan = everywhere(session.fleet, session.plan)
    wanted, other = [_target(plan, text) for text in targets], _changed(plan, what_if)
    status = hosts.joined(session)
    known = traffic.known(session, status, parse_since(since, time.time()), rates, runtimes)
    _bounded(sum(one.demand for one in known.traffic))
    seen = {one.queue for one in known.traffic}
    for queue in [one.queue for one in wanted] or [one.name for one in session.plan.queues[: not seen]]:
        if queue not in seen:
            raise traffic.nothing(queue)
    running = _running(plan, status)
    turns = by_turns(running)
    now = _outlook(running, known.traffic, seed)
    wanted = wanted or _targets(running, now.forecasts)
    return Report(
        now=now,
        known=known,
        searches=[one for one in (search(running, now.forecasts, one, seed) for one in wanted) if one],
        turns=_outlook(turns, known.traffic, seed) if turns else None,
        what_if=other,
        otherwise=_outlook(fixed(running, other), known.traffic, seed) if other else None,
        processors=0 if any("@" in pool.name for pool in status.pools) else machine.processors(),
        memory=machine.memory(),
        worker=max((one.rss_bytes or 0 for pool in status.pools for one in pool.workers), default=0),
    )


def _outlook(plan: Plan, traffic: Sequence[Traffic], seed: int) -> Outlook:
    _bounded(sum(pool.replicas * pool.concurrency for pool in plan.pools))
    return Outlook(plan, forecast(plan, traffic, seed))


def _bounded(tasks: float) -> None:
    """Refuse what would be simulated for minutes: most likely a typing error."""
    if not tasks <= MOST:
        raise FleetError(
            f"more than {MOST:,} tasks at a time are too many to be simulated.",
            hint="Check the numbers; or plan a part: a tenth of the rate needs about a tenth of the workers.",
        )


def _running(plan: Plan, status: Status) -> Plan:
    """Return the plan with the replicas, of all hosts together, and the concurrency that run, if the fleet does."""
    known = defaultdict[str, list["PoolStatus"]](list)
    for one in status.pools if status.state != "down" else ():
        known[one.name.partition("@")[0]].append(one)
    pools = (
        replace(pool, conf={**pool.conf, "worker_concurrency": some[0].concurrency}).sized(
            sum(one.want for one in some)
        )
        if (some := known[pool.name])
        else pool
        for pool in plan.pools
    )
    return replace(plan, pools=tuple(pools))


def _target(plan: Plan, text: str) -> Target:
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
    came = [one for one in found if one.traffic.rate]
    grow = {one.traffic.queue for one in came if not one.waits}
    ages = {queue.name: queue.max_age for queue in plan.queues if queue.max_age}
    queues = dict.fromkeys(one.traffic.queue for one in came)
    busiest = sorted(came, key=lambda one: one.load)[-1:]
    aimed = [queue for queue in queues if queue in grow or queue in ages] or [one.traffic.queue for one in busiest]
    return [Target(queue, seconds=ages.get(queue)) for queue in aimed]


def _changed(plan: Plan, texts: Sequence[str]) -> dict[str, int]:
    changed = replicas([*texts])
    for name, number in changed.items():
        pool = plan.pool(name)
        if pool is None:
            raise unknown("pool", name, (pool.name for pool in plan.pools))
        _bounded(number * pool.concurrency)
    return changed
