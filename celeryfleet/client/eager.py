"""Runs a task in this process, by the way on which Celery itself does so: `Task.apply`."""

from __future__ import annotations

import logging
import time
from bdb import BdbQuit
from collections.abc import Mapping, Sequence
from typing import Any

from celery import signals
from kombu.utils.uuid import uuid

from celeryfleet.app import apply, says
from celeryfleet.client.outcome import Failed, Outcome
from celeryfleet.client.send import check_arguments
from celeryfleet.plan.values import WorkerSpec


def settle(app: Any, spec: WorkerSpec, level: str) -> None:
    """Give an app the settings of a worker, and its log, on stderr."""
    unsaid = {key: value for key, value in spec.defaults.items() if not says(app, key)}
    apply(app, {**unsaid, **spec.conf})
    app.log.setup(level, redirect_stdouts=False)
    # A failure is told by whoever asked for the task.
    logging.getLogger("celery.app.trace").addFilter(lambda record: record.levelno < logging.ERROR)
    if app.conf.worker_pool == "prefork":
        signals.worker_process_init.send(sender=None)  # at which the user's code opens what its tasks need


def run(app: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], queue: str) -> Outcome:
    """Run a task to its end, retries at once.

    Raises FleetError for arguments that it cannot take, and KeyboardInterrupt where somebody quits a debugger in it.
    """
    task = app.tasks[name]
    check_arguments(task, args, kwargs)
    _ = task.backend  # whose import is no part of the run
    began = time.monotonic()
    result = task.apply(args, dict(kwargs), task_id=uuid(), throw=False, routing_key=queue)
    took = time.monotonic() - began
    if result.state == "SUCCESS":
        return Outcome(result.state, result.result, id=result.id, took_s=took)
    if isinstance(result.result, BdbQuit):
        raise KeyboardInterrupt
    error = f"{type(result.result).__name__}: {result.result}".removesuffix(": ")
    failed = Failed(result.id, name, result.state, error, str(result.traceback or ""))
    return Outcome(result.state, failed=(failed,), id=result.id, took_s=took)
