"""Writes down which tasks run in a worker, where its supervisor can read it after the worker was killed.

Each process and thread that runs tasks writes into a place of its own, so nothing is locked and nothing is sent: a
task costs two small writes to a file that stays in the machine's memory.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from billiard.process import current_process
from celery import signals
from celery.utils.log import get_logger

from celeryfleet.worker_protocol import RUNNING_BYTES, Ran, running

logger = get_logger(__name__)


class Running:
    """The tasks that run in this worker, its pool's children included."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            Path(path).parent.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            logger.warning("which tasks run here will not be known if this worker is killed: %s", error)
            self._fd = os.open(os.devnull, flags)
        self._places: dict[str, int] = {}
        self._free: list[int] = []

    def connect(self) -> None:
        """Write down every task from now on."""
        signals.task_prerun.connect(self._begins, weak=False)
        signals.task_postrun.connect(self._ends, weak=False)

    def forget(self, task_id: str) -> None:
        """Drop a task whose process has ended with it."""
        for place, ran in running(os.pread(self._fd, os.fstat(self._fd).st_size, 0)).items():
            if ran.id == task_id:
                self._write(b"\0", place)

    def _begins(self, task_id: str, task: Any, **_: Any) -> None:
        if task.request.is_eager:
            return  # it runs within another task, which is the one that can be delivered again
        place = self._places[task_id] = self._free.pop() if self._free else self._next()
        self._write(Ran(task_id, task.name, bool(task.acks_late)).encode(), place)

    def _ends(self, task_id: str, **_: Any) -> None:
        place = self._places.pop(task_id, None)
        if place is not None:
            self._write(b"\0", place)
            self._free.append(place)

    def _next(self) -> int:
        """Return a new place: a child of prefork runs one task at a time, anything else runs all in one process."""
        return getattr(current_process(), "index", 0) + len(self._places)

    def _write(self, text: bytes, place: int) -> None:
        with contextlib.suppress(OSError):  # a full disk: no task may fail for it
            os.pwrite(self._fd, text, place * RUNNING_BYTES)
