"""Counts failed tasks where Celery handles them: in the worker's main process, whichever pool ran them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request


def count(failed: Callable[[], None]) -> None:
    """Call back for each task that has failed for good: not for one that is retried, given back or revoked."""
    handle_failure, handle_timeout = Request.on_failure, Request.on_timeout

    def on_failure(self: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        if failure(self, exc_info.exception):
            failed()
        return handle_failure(self, exc_info, *args, **kwargs)

    def on_timeout(self: Any, soft: bool, timeout: float) -> Any:
        if not soft:  # the child is killed; a soft limit is an exception in the task, and comes by on_failure
            failed()
        return handle_timeout(self, soft, timeout)

    Request.on_failure, Request.on_timeout = on_failure, on_timeout


def failure(request: Any, error: Any) -> bool:
    """Tell whether what ended this request is a failure, as Celery's Request.on_failure sorts it."""
    if isinstance(error, ExceptionWithTraceback):  # as it comes from pools that share our process
        error = error.exc
    if isinstance(error, Reject):
        return not error.requeue
    if isinstance(error, WorkerLostError):
        return not (request.task.acks_late and request.task.reject_on_worker_lost)
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return not (request._already_cancelled or request._already_revoked)
    # The hard time limit is counted by on_timeout.
    return not isinstance(error, Retry | Ignore | Terminated | TimeLimitExceeded)
