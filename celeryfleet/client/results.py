"""Reads and awaits results: polls the backend for many ids at once, as nothing of Celery's does within 20 ms."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from celeryfleet.app import import_tasks
from celeryfleet.app.django import rows
from celeryfleet.client.outcome import READY, Outcome, Progress, Record, Standing, progress, standing
from celeryfleet.client.publish import shown_url
from celeryfleet.client.steps import Call, Group, Step, leaves
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
    backend = app.backend
    if backend.as_uri().startswith("disabled"):
        what = "This fleet keeps no results, so there is nothing to wait for."
        raise FleetError(what, hint="Set `results:` in fleet.yaml, or send with --no-wait.")
    read = _rows if rows.are_kept(app) else _many if reads_many(app) else _one_by_one

    def look(ids: Sequence[str]) -> dict[str, Record]:
        with unreachable(app):
            return read(app, ids)

    return look


def reads_many(app: Celery) -> bool:
    """Tell whether the backend gives many results at one request, as Redis and memcached do."""
    from celery.backends.base import BaseKeyValueStoreBackend

    return type(app.backend).mget is not BaseKeyValueStoreBackend.mget if hasattr(app.backend, "mget") else False


@contextmanager
def without_subscribing(app: Celery) -> Iterator[None]:
    """Ask for no notice of results while sending, since `follow` looks for itself.

    It saves a request to Redis per task, and 19 seconds of retries where Redis is down. The results of a chord's
    header subscribe by themselves, and would have to unsubscribe when Python is already shutting down.
    """
    from celery.result import denied_join_result

    if not reads_many(app):
        yield
        return
    backend: Any = app.backend
    backend.add_pending_result = lambda result, *_, **__: result
    try:
        with denied_join_result():
            yield
    finally:
        del backend.add_pending_result


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
        what = f"The result backend {shown_url(app.conf.result_backend)} cannot be reached: {error}"
        raise FleetError(what, hint="`celeryfleet status` says how the fleet is.", code=Exit.BROKER) from error


def follow(
    step: Step,
    look: Reader,
    timeout: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Standing, dict[str, Record]]:
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
        stands = standing(step, records)
        if stands.state in READY or now >= deadline:
            return stands, records
        pause(min(max(_pause(now - started), (now - looked) * (1 / LOAD - 1)), deadline - now))


def _pause(waited: float) -> float:
    return next(seconds for limit, seconds in PAUSES if waited < limit)


def look_up(app: Celery, task_id: str) -> Outcome:
    """Return what is known of a task, or of a group that was sent by `canvas`; PENDING also for an unknown id."""
    if app.backend_cls or "DJANGO_SETTINGS_MODULE" in os.environ:
        import_tasks(app)  # has Django set up, or else its models cannot be imported
    look, members = reader(app), None
    with unreachable(app), suppress(NotImplementedError):  # rpc:// knows no groups
        members = app.GroupResult.restore(task_id)
    if members is None:
        step: Step = Call("", id=task_id)
    else:
        step = Group(tuple(Call("", id=member) for member in _ids(members.results)))
    stands = standing(step, look([leaf.id for leaf in leaves(step)]))
    return Outcome(task_id, stands.state, stands.result, stands.failed)


def _ids(results: Iterable[Any]) -> Iterator[str]:
    for result in results:
        yield result.id


def _many(app: Any, ids: Sequence[str]) -> dict[str, Record]:
    if not ids:
        return {}
    backend = app.backend
    keys = [backend.get_key_for_task(task_id) for task_id in ids]
    found = backend.mget(keys)
    # Memcached gives a mapping of those it has.
    payloads = [found.get(key) for key in keys] if isinstance(found, dict) else found
    pairs = zip(ids, payloads, strict=True)
    return {task_id: record(backend.decode(payload)) for task_id, payload in pairs if payload}


def _one_by_one(app: Any, ids: Sequence[str]) -> dict[str, Record]:
    found = {task_id: record(app.backend.get_task_meta(task_id)) for task_id in ids}
    return {task_id: one for task_id, one in found.items() if one.state != "PENDING"}


def _rows(app: Any, ids: Sequence[str]) -> dict[str, Record]:
    return {task_id: record(meta) for task_id, meta in rows.read(app, ids).items() if meta["status"] != "PENDING"}


def record(meta: Mapping[str, Any]) -> Record:
    """Read what Celery stores of a task; the exception is told, and never made."""
    state, result, worker = str(meta["status"]), meta.get("result"), str(meta.get("worker") or "")
    if state not in READY or state in ("SUCCESS", "IGNORED"):
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
