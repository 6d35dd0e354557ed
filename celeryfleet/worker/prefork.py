"""Stops a prefork pool warmly: what its children finish is heard to the end, and what they have begun is theirs.

Celery's pool stops listening once it knows of no running task. But a child may just have been given one of which it
had not yet said that it has begun: Celery forgets that task, and the message goes to another worker, while the child
runs it and then waits for 30 s to be heard (seen in Celery 5.7.0 and billiard 4.3; a plain worker does the same).
tests/unit/worker/test_seam.py fails when what is leaned on here changes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from inspect import isgenerator
from pathlib import Path
from typing import Any

from billiard.pool import EX_FAILURE, EX_OK, RUN, WorkersJoined
from celery.concurrency import asynpool, prefork
from celery.utils.log import get_logger
from kombu.asynchronous import get_event_loop

from celeryfleet.worker.stacks import dump_stack

logger = get_logger(__name__)

#: seconds between two looks for children whose end nothing else has told
_LOOK = 0.25


class Child(asynpool.Worker):  # type: ignore[misc]
    """A child that ends at once: what it wrote stays in its pipe, and its parent sees its end."""

    def _do_exit(self, pid: int, exitcode: int | None, exc: BaseException | None = None) -> None:
        """Exit as billiard's does, without asking to be killed and waiting a second for that."""
        code = exitcode if exitcode is not None else EX_FAILURE if exc else EX_OK
        if self.on_exit is not None:
            self.on_exit(pid, code)
        os._exit(code)


class Pool(asynpool.AsynPool):  # type: ignore[misc]
    """Knows which tasks a child has been given, and listens until the last child has ended."""

    Worker = Child

    def __init__(self, *args: Any, **options: Any) -> None:
        #: since when a child, by its pid, can't work, in seconds of the monotonic clock
        self._ailing: dict[int, float] = {}
        super().__init__(*args, **options)

    def look_after(self, now: float, patience: float) -> None:
        """End children that have been stopped by a signal, or have not begun a task they were given, for so long.

        Nothing else would: a time limit counts from the moment a task has begun.
        """
        given = {job._write_to.pid for job in tuple(self._cache.values()) if job._write_to and not job._accepted}
        told = {pid: _ails(pid, pid in given) for pid in [process.pid for process in self._pool]}
        self._ailing = {pid: self._ailing.get(pid, now) for pid, why in told.items() if why}
        for pid, since in self._ailing.items():
            if now - since >= patience:
                logger.error("child %d %s for %.0f s: it is killed", pid, told[pid], now - since)
                dump_stack(pid)
                os.kill(pid, signal.SIGKILL)

    def flush(self) -> None:
        """Give up what was not started; before a stop that is what no child has been given."""
        if self._state == RUN:  # the connection is lost, and the pool goes on
            super().flush()
            return
        for job in tuple(self._cache.values()):
            if not job._accepted and job._write_to is None:
                job.discard()
        self.outbound_buffer.clear()

    def finish(self, hub: Any) -> None:
        """Tell the children to end, and do what they and their tasks ask for until they have."""
        if not self._registered_with_event_loop:  # the broker has never been reached
            self.register_with_event_loop(hub)
        told = False
        with contextlib.suppress(WorkersJoined):  # by a signal's handler, which stops the pool within our turn
            while self._pool:
                if not told and not self._active_writers:
                    self._stop_task_handler(self._task_handler)
                    told = True
                self._turn(hub, min(hub.fire_timers(), _LOOK))
                self._join_exited_workers(shutdown=True)
                while self.outbound_buffer:  # its child has ended without having begun it
                    self.outbound_buffer.popleft().discard()
                prefork._run_ready_callbacks(hub)

    def process_flush_queues(self, proc: Any) -> None:
        """Hear what a child wrote before it ended, from where we are in it, and wait for no more."""
        self._result_handler._finish_partial_read(proc.outqR_fd, proc)
        reader = proc.outq._reader
        if not reader.closed and reader.poll(0):
            super().process_flush_queues(proc)

    def _turn(self, hub: Any, timeout: float) -> None:
        """Read and write what can be, once, as Celery's loop would; that loop would read the broker, too."""
        listening = set(self._fileno_to_outq)
        ends = {process._popen.sentinel for process in self._pool}
        writing = {fd: on[0] for fd, on in hub.writers.items() if on is not None and on[0] in self._active_writers}
        readable, writable, again = asynpool._select(listening | ends, set(writing), timeout=timeout)
        if again:
            return
        for fd in writable.intersection(writing):
            _resume(writing[fd])
        for fd in readable & listening:
            reading, _ = hub.readers.get(fd) or (None, ())
            if isgenerator(reading):  # a message of which a part has been read
                _resume(reading)
            else:
                self.handle_result_event(fd)


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """Celery's prefork pool, but for its end."""

    Pool = Pool
    _pool: Any

    def look_after(self, now: float, patience: float) -> None:
        """Look after the children."""
        if isinstance(self._pool, Pool):
            self._pool.look_after(now, patience)

    def on_stop(self) -> None:
        """Wait for the children here, not in a thread of its own that looks twice a second."""
        pool, hub = self._pool, get_event_loop()
        if hub is None or not isinstance(pool, Pool):
            super().on_stop()
            return
        pool.close()
        pool.finish(hub)
        pool.join()
        self._pool = None


def _ails(pid: int, given: bool) -> str:
    """Say what keeps a child from work; empty if nothing does."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:  # it has ended, or the platform does not tell
        state = b""
    return "has been stopped" if state == b"T" else "has not begun the task that it was given" if given else ""


def _resume(step: Any) -> None:
    with contextlib.suppress(StopIteration, EOFError, OSError):
        next(step)
