"""Commands about what runs, and how long tasks wait and run: active, and the table of `status --tasks`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from celeryfleet.cli.output import show
from celeryfleet.cli.usage import AsJson
from celeryfleet.text import age, brief, clean

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def active(context: typer.Context, as_json: AsJson = False) -> int:
    """Show what each worker does now, on all hosts, and for how long, the longest first.

    Examples: [bold]celeryfleet active[/]
    """
    from celeryfleet.cli import hosts
    from celeryfleet.hosts.messages import FindTasks
    from celeryfleet.ledger.entry import RUNNING
    from celeryfleet.render.grid import grid

    session: Session = context.obj
    session.connect().close()
    with session.ledger() as ledger:
        running, now = ledger.held(RUNNING), time.time()
    running += hosts.entries_elsewhere(session, FindTasks(state=RUNNING))
    running.sort(key=lambda one: one.started or 0)
    ages = [max(0.0, now - (one.started or 0) / 1000) for one in running]
    names = ("id", "task", "queue", "worker", "pid")
    tasks = [
        {**{name: getattr(one, name) for name in names}, "running_s": round(seconds, 3)}
        for one, seconds in zip(running, ages, strict=True)
    ]
    rows: list[Any] = [
        [(clean(text), "") for text in (one.worker, one.task, one.queue, age(seconds), str(one.pid or ""), one.id)]
        for one, seconds in zip(running, ages, strict=True)
    ]
    lines = partial(grid, ("WORKER", "TASK", "QUEUE", "FOR", "PID", "ID"), rows)
    return show(as_json, {"schema_version": 1, "tasks": tasks}, lines, "" if rows else "no task runs.")


def show_timed(session: Session, since: str, as_json: bool) -> int:
    """Show how long tasks have waited and run since then, by task and queue."""
    from celeryfleet.ledger.entry import FAILED, LOST
    from celeryfleet.logs.times import parse_since
    from celeryfleet.render.grid import grid
    from celeryfleet.render.paint import RED

    found: dict[tuple[str, str], list[tuple[str, float | None, float | None]]] = defaultdict(list)
    with session.ledger() as ledger:
        for task, queue, state, waited, ran in ledger.times(parse_since(since, time.time())):
            found[task, queue].append((state, waited, ran))
    tasks: list[dict[str, Any]] = [
        {
            "task": task,
            "queue": queue,
            "count": len(rows),
            "failed": sum(state in (FAILED, LOST) for state, _, _ in rows),
            **_percentiles("wait", (waited for _, waited, _ in rows)),
            **_percentiles("runtime", (ran for _, _, ran in rows)),
        }
        for (task, queue), rows in sorted(found.items())
    ]
    rows: list[Any] = [
        [
            (clean(one["task"]), ""),
            (clean(one["queue"]), ""),
            (f"{one['count']:,}", ""),
            (f"{one['failed']:,}", RED if one["failed"] else ""),
            *((brief(one[f"{name}_s"]), "") for name in ("wait_p50", "wait_p95", "runtime_p50", "runtime_p95")),
        ]
        for one in tasks
    ]
    titles = ("TASK", "QUEUE", "DONE", "FAILED", "WAIT P50", "WAIT P95", "RUN P50", "RUN P95")
    nothing = "" if rows else f"no task has ended in that time (--since {clean(since)})."
    return show(as_json, {"schema_version": 1, "tasks": tasks}, partial(grid, titles, rows), nothing)


def _percentiles(name: str, values: Iterable[float | None]) -> dict[str, float | None]:
    from celeryfleet.history import percentiles

    p50, p95 = percentiles(values) or (None, None)
    return {f"{name}_p50_s": p50, f"{name}_p95_s": p95}
