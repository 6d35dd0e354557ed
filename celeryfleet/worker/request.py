"""What is changed of Celery's Request, by a subclass: it counts what fails, tells the ledger what becomes of each task,
and lets suspects run one at a time.

What is leaned on was seen in Celery 5.7.0; tests/unit/worker/test_seam.py fails when it changes.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.request import Request as CeleryRequest

from celeryfleet.ledger.entry import EXPIRED, FAILED, RETRYING, REVOKED, SUCCEEDED, WAITING
from celeryfleet.text import cut
from celeryfleet.worker.stacks import dump_stack

if TYPE_CHECKING:
    from celeryfleet.worker.heartbeat import Heartbeat

#: what Celery says where the process that ran a task has ended with it
_LOST = WorkerLostError | SystemExit | KeyboardInterrupt
#: columns of an error's line
_LONGEST = 1000


class Request(CeleryRequest):  # type: ignore[misc]
    """Tells what becomes of tasks where Celery handles that: in the worker's main process, whichever pool ran them."""

    heartbeat: Heartbeat
    #: unix seconds
    received: float
    #: seconds that its function took
    runtime: float | None = None
    #: what the ledger has been told of it last
    told = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.received = time.time()
        super().__init__(*args, **options)

    def tell(self, how: str, error: str = "", trace: str = "", eta: float | None = None) -> None:
        """Tell the ledger what has become of it."""
        self.heartbeat.recorder.ended(self, how, error, trace, eta)

    def __init_subclass__(cls, **options: Any) -> None:
        """Wrap the `on_success` of the class that Celery derives for each task: it calls none above it."""
        super().__init_subclass__(**options)
        theirs = cls.__dict__.get("on_success")
        if theirs is None:
            return

        def on_success(self: Request, failed__retval__runtime: Any, **options: Any) -> Any:
            failed, _, self.runtime = failed__retval__runtime
            done = theirs(self, failed__retval__runtime, **options)
            if not failed:
                self.tell(SUCCEEDED)
            return done

        cls.on_success = on_success

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a task that has failed for good: not one that is retried, given back or revoked."""
        error = _bare(exc_info.exception)
        how = self._became(error)
        if how == FAILED:
            self.heartbeat.task_failed()
        if how == WAITING and isinstance(error, _LOST) and not self._stopped():
            self.heartbeat.suspects.strike(self, str(error))
        done = super().on_failure(exc_info, *args, **kwargs)
        trace = str(exc_info.traceback)
        if how == SUCCEEDED:
            self.tell(how)
        elif how == RETRYING:
            when = error.when if isinstance(error, Retry) else self.task.default_retry_delay
            eta = when.timestamp() if isinstance(when, datetime) else time.time() + (when or 0)
            self.tell(how, cut(getattr(error, "excs", None) or str(error), _LONGEST), trace, eta)
        elif how is not None:
            self.tell(how, _named(error), trace)
        return done

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Count a task whose child is killed; a soft limit is an exception in the task, and comes by `on_failure`."""
        if not soft:
            self.heartbeat.task_failed()
            if self.worker_pid not in (None, os.getpid()):
                dump_stack(self.worker_pid)  # it is killed next
            if not self.task.acks_on_timeout:
                self.heartbeat.suspects.strike(self, f"its hard time limit, {timeout:g} s, was over")
        done = super().on_timeout(soft, timeout)
        if not soft:
            comes_again = self.task.acks_late and not self.task.acks_on_timeout
            self.tell(WAITING if comes_again else FAILED, _named(TimeLimitExceeded(timeout)))
        return done

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)
        self.tell(EXPIRED if expired else REVOKED, reason)

    def acknowledge(self) -> None:
        """Let the next suspect run."""
        super().acknowledge()
        self.heartbeat.suspects.ended(self.id)

    def reject(self, requeue: bool = False) -> None:
        """Let the next suspect run."""
        super().reject(requeue)
        self.heartbeat.suspects.ended(self.id)

    def _stopped(self) -> bool:
        """Tell whether its process was ended on purpose."""
        return bool(self._already_cancelled or self._already_revoked or state.should_terminate not in (None, False))

    def _became(self, error: BaseException) -> str | None:
        """Sort what has ended a task as Celery's `on_failure` does; None: it is told, and counted, elsewhere."""
        if isinstance(error, Terminated | TimeLimitExceeded):
            return None
        if isinstance(error, Retry):
            return RETRYING
        if isinstance(error, Reject):
            return WAITING if error.requeue else FAILED
        if isinstance(error, Ignore):
            return SUCCEEDED
        return self._became_without_process(error) if isinstance(error, _LOST) else FAILED

    def _became_without_process(self, error: BaseException) -> str:
        """Tell whether a task whose process has ended with it was done, or comes again."""
        task = self.task
        if (self._already_cancelled or self._already_revoked) and not isinstance(error, WorkerLostError):
            return WAITING  # not acknowledged; of a revoked one _announce_revoked has told
        if self._success_was_stored():
            return SUCCEEDED
        if task.retry_on_worker_lost:
            exhausted = task.max_retries is not None and self._context.retries >= task.max_retries
            return FAILED if exhausted else RETRYING
        return WAITING if task.acks_late and task.reject_on_worker_lost else FAILED


def _bare(error: Any) -> Any:
    """Return an error as it was raised: from pools that share our process it comes wrapped."""
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _named(error: BaseException) -> str:
    """Say in a line what an error is."""
    name, told = type(error).__name__, str(error)
    if told.startswith(f"{name}("):  # billiard's write themselves as code
        told = ", ".join(map(str, error.args))
    return cut(f"{name}: {told[:_LONGEST]}".rstrip(": ").partition("\n")[0], _LONGEST)
