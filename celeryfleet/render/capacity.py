"""What `plan` has found: a table, some sentences and a chart, as text, SVG and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from celeryfleet.render.grid import grid, wrapped
from celeryfleet.render.paint import AMBER, BOLD, CYAN, DIM, GREEN, RED, paint
from celeryfleet.simulate.search import Search, first_reader, wait
from celeryfleet.text import ESC, brief, clean, counted, listed, size

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan
    from celeryfleet.render.paint import Span
    from celeryfleet.simulate.forecast import Forecast, Known

_TITLES = ("QUEUE", "COME", "RUN", "LOAD", "WAIT P50", "WAIT P95", "BACKLOG", "GONE IN", "WORKERS")
#: columns of the longest bar; seconds and times by which another order must differ to be told
_BAR, _MATTERS, _TIMES = 40, 0.1, 1.5
#: a busiest minute with so many times the mean is told
_PEAK = 1.5


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan, and what is to be expected of it."""

    plan: Plan
    forecasts: Sequence[Forecast]

    @property
    def queues(self) -> dict[str, list[Forecast]]:
        """Return what is expected by queue, the most urgent first."""
        found: dict[str, list[Forecast]] = {}
        for one in sorted(self.forecasts, key=lambda each: -each.traffic.priority):
            found.setdefault(one.traffic.queue, []).append(one)
        return {name: found[name] for name in dict.fromkeys(one.traffic.queue for one in self.forecasts)}


@dataclass(frozen=True, slots=True)
class Report:
    """All that `plan` says."""

    now: Outlook
    known: Known
    searches: Sequence[Search] = ()
    #: the same with all queues read by turns; None: none is read in a strict order
    turns: Outlook | None = None
    #: other numbers of replicas, and what then comes about
    what_if: Mapping[str, int] = field(default_factory=dict)
    otherwise: Outlook | None = None
    #: of this machine, 0 where there are others; bytes, and those of the largest worker
    processors: int = 1
    memory: int | None = None
    worker: int = 0


def document(report: Report) -> dict[str, Any]:
    """Return what `plan --json` prints."""
    needed: dict[str, int | None] = {}
    for one in report.searches:
        before = needed.get(one.target.queue, 0)
        needed[one.target.queue] = None if one.needed is None or before is None else max(before, one.needed)
    found = {"schema_version": 1, "fleet": report.now.plan.fleet, "queues": _queues(report.now, needed)}
    found["targets"] = [
        {
            "queue": one.target.queue,
            "percent": one.target.percent,
            "under_s": one.target.seconds,
            "pool": one.pool.name,
            "replicas": one.needed,
            "wait_s": None if one.needed is None else one.tried[one.needed],
        }
        for one in report.searches
    ]
    if report.otherwise:
        found["what_if"] = {"pools": dict(report.what_if), "queues": _queues(report.otherwise, {})}
    return found


def _queues(outlook: Outlook, needed: Mapping[str, int | None]) -> list[dict[str, Any]]:
    return [
        {
            "name": queue,
            "rate_per_s": round(_come(some), 4),
            "runtime_s": round(_runtime(some), 4),
            "load": round(some[0].load, 3) if isfinite(some[0].load) else None,
            **{f"wait_p{n}_s": None if (s := wait(some, queue, n)) is None else round(s, 4) for n in (50, 95)},
            "backlog": sum(one.traffic.backlog for one in some),
            "drained_in_s": None if some[0].gone is None else round(some[0].gone, 1),
            "pool": pool.name if pool else None,
            "replicas": needed.get(queue, pool.replicas if pool else None),
            "concurrency": pool.concurrency if pool else None,
        }
        for queue, some in outlook.queues.items()
        for pool in [first_reader(outlook.plan, queue)]
    ]


def _come(some: Sequence[Forecast]) -> float:
    return sum(one.traffic.rate for one in some)


def _runtime(some: Sequence[Forecast]) -> float:
    return sum(one.traffic.demand for one in some) / (_come(some) or 1.0) or some[0].traffic.runtime


# --- For people -------------------------------------------------------------------------------------------


def svg(report: Report) -> str:
    """Draw all of it."""
    from celeryfleet.render.graph.svg import picture

    name, drawn = report.now.plan.fleet, [line for line in lines(report, True, 100) if line]
    words = " ".join(re.sub(f"{ESC}\\[[0-9]*m", "", line).strip() for line in drawn)
    return picture([list(_spans(line)) for line in drawn], name, f"How many workers {name} needs", words)


def _spans(line: str) -> Iterator[Span]:
    for style, painted, plain in re.findall(f"{ESC}\\[(\\d+)m(.*?){ESC}\\[0m|((?:(?!{ESC}).)+)", line):
        yield (painted, style) if painted else (plain, "")


def lines(report: Report, color: bool, width: int) -> Iterator[str]:
    """Write the table, what it amounts to, and the chart."""
    rows: list[Any] = [*_rows(report.now)]
    if report.otherwise:
        names = listed(f"{name}={number}" for name, number in report.what_if.items())
        rows += [paint(f"with {names}", BOLD, color), *_rows(report.otherwise)]
    yield from grid(_TITLES, rows, color, width)
    yield ""
    machine = [_machine(report)] if report.processors else []
    for text, style in (*_advice(report), *_order(report), *_peaks(report), *_silent(report), *machine):
        yield from wrapped(clean(text), ("•", style), color, width)
    for search in report.searches:
        yield ""
        yield from _chart(search, color)


def _rows(outlook: Outlook) -> Iterator[list[Span]]:
    for queue, some in outlook.queues.items():
        yield _row(outlook.plan, queue, some)
        for one in some if len(some) > 1 else ():
            cells = _row(outlook.plan, queue, [one])[1:6]
            yield [(f"  priority {one.traffic.priority}", DIM), *cells, *[("", "")] * 3]


def _row(plan: Plan, queue: str, some: Sequence[Forecast]) -> list[Span]:
    load, gone, backlog = some[0].load, some[0].gone, sum(one.traffic.backlog for one in some)
    waits = [wait(some, queue, percent) for percent in (50, 95)]
    readers = [pool for pool in plan.pools if queue in pool.queues]
    sizes = [f"{one.autoscale.min}-{one.autoscale.max}" if one.autoscale else one.replicas for one in readers]
    workers = [f"{number} × {pool.concurrency}" for number, pool in zip(sizes, readers, strict=True)]
    return [
        (clean(queue), ""),
        (_rate(_come(some)), ""),
        (brief(_runtime(some)), ""),
        (f"{load:.2f}" if isfinite(load) else "-", RED if None in waits else AMBER if load > 0.9 else ""),
        *(("grows" if one is None else brief(one), RED if one is None else "") for one in waits),
        (f"{backlog:,}", ""),
        ("-" if not backlog else "never" if gone is None else brief(gone), RED if backlog and gone is None else ""),
        (" + ".join(workers) or "none", ""),
    ]


def _rate(rate: float) -> str:
    if rate >= 1 or not rate:
        return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"
    return f"{rate * 60:.3g}/m" if rate * 60 >= 1 else f"{rate * 3600:.3g}/h"


def _advice(report: Report) -> Iterator[Span]:
    for one in report.searches:
        pool, queue, name = one.pool, one.target.queue, f"p{one.target.percent}"
        aim = f"keep {name} under {brief(one.target.seconds)}" if one.target.seconds else "keep up"
        wait_now = wait(report.now.forecasts, queue, one.target.percent)
        grows = sum(each.growth for each in report.now.forecasts if each.traffic.queue == queue)
        now = f"it grows by {_rate(grows)}" if wait_now is None else f"{name} is {brief(wait_now)}"
        if one.needed is None:
            yield f"{queue}: no number of workers of {pool.name} would {aim}; now {now}.", RED
            continue
        more = one.needed - (pool.autoscale.max if pool.autoscale else pool.replicas)
        workers = counted(abs(more) or one.needed, "worker")
        who = f"{workers} {'more' if more > 0 else 'fewer'} of" if more else f"the {workers} of"
        then = f"{one.needed} × {pool.concurrency} in all, {name} {brief(one.tried[one.needed])}"
        yield f"{queue}: {who} {pool.name} will {aim} ({then}); now {now}.", AMBER if more > 0 else GREEN


def _order(report: Report) -> Iterator[Span]:
    """Say what a strict order does to the queues that are read last."""
    several = [pool for pool in report.now.plan.pools if len(pool.queues) > 1]
    if several and report.now.plan.broker.transport == "amqp":
        names = listed(pool.name for pool in several)
        yield f"RabbitMQ hands out the messages of all queues as they come: {names} cannot read in an order.", CYAN
    for pool in several if report.turns else ():
        first, last = pool.queues[0], pool.queues[-1]
        if first_reader(report.now.plan, last) is not pool or last not in report.now.queues:
            continue
        both = [one.forecasts for one in (report.now, report.turns) if one]
        strict, turns = (wait(found, last, 95) for found in both)
        if turns is None or (strict is not None and strict < max(_MATTERS, turns * _TIMES)):
            continue
        before, after = (brief(wait(found, first, 95)) for found in both)
        text = f"{last} is read last by {pool.name}: p95 {'grows' if strict is None else brief(strict)}. With"
        yield f"{text} `order: round_robin` {brief(turns)}, and {first} {after} rather than {before}.", CYAN


def _peaks(report: Report) -> Iterator[Span]:
    known = report.known
    for queue, some in report.now.queues.items():
        mean, most = _come(some), known.busiest.get(queue, 0.0)
        if queue in known.bursts:
            yield (
                f"{queue}: {counted(known.bursts[queue], 'message')} came all at once, and are no part of its rate.",
                CYAN,
            )
        elif most > _PEAK * mean:
            text = (
                f"{queue}: {_rate(mean)} is the mean of {brief(known.span)}; in the busiest minute {_rate(most)} came."
            )
            yield f"{text} Plan for it: --rate {queue}={most:g}/s", CYAN


def _silent(report: Report) -> Iterator[Span]:
    for queue, ready in report.known.silent.items():
        waits = f"{counted(ready, 'message', 'waits', 'wait')} in {queue}, and none has ended of late."
        yield f"{waits} Say what they take: --rate {queue}=1/s --runtime {queue}=1s", AMBER


def _machine(report: Report) -> Span:
    """Say what the processors and the memory allow, of what runs and of what the targets need."""
    pools = {pool.name: pool for pool in report.now.plan.pools}
    for one in report.searches:
        pools[one.pool.name] = one.pool.sized(max(pools[one.pool.name].replicas, one.needed or 0))
    workers = sum(pool.replicas for pool in pools.values())
    tasks = sum(pool.replicas * pool.concurrency for pool in pools.values())
    text = f"This machine has {counted(report.processors, 'processor')} for {counted(tasks, 'task')} at a time"
    text += ", which is too few for tasks that compute" if tasks > report.processors else ""
    if not (report.memory and report.worker):
        return f"{text}.", DIM
    fits = report.memory // report.worker
    text += f"; its {size(report.memory)} hold about {fits:,} workers of {size(report.worker)}"
    return (f"{text}: too few for {workers:,}.", AMBER) if workers > fits else (f"{text}.", DIM)


def _chart(search: Search, color: bool) -> Iterator[str]:
    """Draw how long messages wait with so many workers: a bar each, those that grow for ever full."""
    goal, known = search.target.seconds or 0.0, [seconds for seconds in search.tried.values() if seconds is not None]
    most = max([seconds for seconds in known if seconds <= 10 * (goal or min(known))] + [goal]) or 1.0
    title = f"{clean(search.target.queue)}: wait p{search.target.percent} by workers of {search.pool.name}"
    yield paint(title, BOLD, color)
    for replicas, seconds in search.tried.items():
        full = seconds is None or seconds > most
        bar = "█" * (_BAR if full else round((seconds or 0.0) / most * _BAR)) or "▏"
        style = GREEN if seconds is not None and (not goal or seconds < goal) else RED
        signs = [name for name, n in (("now", search.pool.replicas), ("enough", search.needed)) if n == replicas]
        sign = f"  ◀ {listed(signs)}" if signs else ""
        yield f"{replicas:>6}  {paint(bar, style, color)} {'grows' if seconds is None else brief(seconds)}{sign}"
