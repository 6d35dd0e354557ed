"""Reads and awaits results: polls the backend for many ids at once, as nothing of Celery's does within 20 ms."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery import signature

from celeryfleet.app import import_tasks
from celeryfleet.app.django import rows
from celeryfleet.client.outcome import GOOD, PENDING, READY, Outcome, Progress, Record, outcome, progress
from celeryfleet.client.publish import shown_url
from celeryfleet.client.seam import keeps_no_results, read_many, reads_many
from celeryfleet.client.signatures import Step, grouped, leaves
from celeryfleet.endpoint import explained_tls
from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celery import Celery

#: task ids → records of those that have one
Reader = Callable[[Sequence[str]], dict[str, Record]]
#: seconds between two looks, by seconds waited
PAUSES = ((0.1, 0.002), (2.0, 0.01), (float("inf"), 0.02))
#: seconds for a backend that has answered before to come back
PATIENCE = 3.0
#: a look may take this part of the time
LOAD = 0.5


def reader(app: Celery) -> Reader:
    """Return what reads the app's results; raises FleetError where none are kept."""
    if keeps_no_results(app):
        what = "This fleet keeps no results, so there is nothing to wait for."
        raise FleetError(what, hint="Set `results:` in fleet.yaml, or send with --no-wait.")
    read = rows.read if rows.are_kept(app) else read_many if reads_many(app) else _one_by_one

    def look(ids: Sequence[str]) -> dict[str, Record]:
        with unreachable(app):
            found = {task_id: record(meta) for task_id, meta in read(app, ids).items()}
        return {task_id: one for task_id, one in found.items() if one.state != PENDING}

    return look


@contextmanager
def unreachable(app: Celery) -> Iterator[None]:
    """Turn a lost connection to the backend into a FleetError."""
    from kombu.exceptions import OperationalError

    backend = app.backend
    named = (*getattr(backend, "connection_errors", ()), *getattr(backend, "channel_errors", ()))
    errors = (OSError, OperationalError, *named)
    try:
        with rows.reachable():
            yield
    except errors as error:
        told = explained_tls(str(error)) or error
        what = f"The result backend {shown_url(app.conf.result_backend)} cannot be reached: {told}"
        raise FleetError(what, hint="`celeryfleet status` says how the fleet is.", code=Exit.BROKER) from error


def follow(
    step: Step,
    look: Reader,
    timeout: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Outcome, dict[str, Record]]:
    """Wait until a canvas is over or `timeout` seconds have gone by; tell of each step forward."""
    started = clock()
    deadline = float("inf") if timeout is None else started + timeout
    waiting = [leaf.id for leaf in leaves(step)]
    records: dict[str, Record] = {}
    on_progress(progress(step, records))
    answered = clock()
    while True:
        looked = clock()
        try:
            records.update(look(waiting))
            answered = clock()
        except FleetError as error:
            # The fleet's own broker is back within a tenth of a second after a crash.
            if error.code is not Exit.BROKER or clock() - answered > PATIENCE:
                raise
        now = clock()
        left = [task_id for task_id in waiting if task_id not in records or records[task_id].state not in READY]
        if len(left) < len(waiting):
            waiting = left
            on_progress(progress(step, records))
        found = outcome(step, records)
        if found.ready or now >= deadline:
            return found, records
        pause(min(max(_pause(now - started), (now - looked) * (1 / LOAD - 1)), deadline - now))


def _pause(waited: float) -> float:
    return next(seconds for limit, seconds in PAUSES if waited < limit)


def look_up(app: Celery, task_id: str) -> Outcome:
    """Return what is known of a task, or of a group that was sent by `send.start`; PENDING also for an unknown id."""
    if app.backend_cls or "DJANGO_SETTINGS_MODULE" in os.environ:
        import_tasks(app)  # has Django set up, or else its models cannot be imported
    look, found = reader(app), None
    with unreachable(app), suppress(NotImplementedError):  # rpc:// knows no groups
        found = app.GroupResult.restore(task_id)
    tasks = [signature("", task_id=member.id, app=app) for member in (found.results if found else ())]
    step = grouped(tasks, app) if tasks else signature("", task_id=task_id, app=app)
    return replace(outcome(step, look([leaf.id for leaf in leaves(step)])), id=task_id)


def _one_by_one(app: Any, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    return {task_id: app.backend.get_task_meta(task_id) for task_id in ids}


def record(meta: Mapping[str, Any]) -> Record:
    """Read what Celery stores of a task; the exception is told, and never made."""
    state, result, worker = str(meta["status"]), meta.get("result"), str(meta.get("worker") or "")
    if state not in READY or state in GOOD:
        return Record(state, result if state in READY else None, worker=worker)
    return Record(state, None, _error(result), str(meta.get("traceback") or ""), worker)


def _error(result: Any) -> str:
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}".removesuffix(": ")
    if not isinstance(result, dict):
        return str(result)
    told = result.get("exc_message") or ""
    parts = told if isinstance(told, list | tuple) else [told]
    return f"{result.get('exc_type', 'Error')}: {', '.join(map(str, parts))}".removesuffix(": ")
