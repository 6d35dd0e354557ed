"""Has a process of a worker write where each of its threads is, and reads that from the worker's log."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celeryfleet.errors import Exit, FleetError
from celeryfleet.worker_protocol import STACK_SIGNAL

#: where Celery calls a task
_CALLER = "/celery/app/trace.py"
#: seconds in which a process has answered, or does not; seconds between two looks
_PATIENCE, _LOOK = 2.0, 0.05


def stack_of(log: Path, pid: int, worker: int) -> list[str]:
    """Return where a process of this worker is in its task, the innermost call first. Raises FleetError."""
    try:
        if os.getsid(pid) != os.getsid(worker):
            raise ProcessLookupError
        before = log.stat().st_size
        os.kill(pid, STACK_SIGNAL)
    except OSError as error:
        what = f"the process {pid} cannot be asked where it is: {error.strerror or 'it has ended'}."
        raise FleetError(what, code=Exit.FAILURE) from None
    deadline = time.monotonic() + _PATIENCE
    found: list[str] = []
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        with log.open("rb") as file:
            file.seek(before)
            lines = file.read().decode(errors="replace").splitlines()
        stack = [line for line in lines if line.startswith("  File ") or line.endswith("(most recent call first):")]
        if stack and stack == found:
            return within_tasks(stack)
        found = stack
    raise FleetError(
        f"the process {pid} does not say where it is.",
        hint="Has a signal stopped it? Or it handles SIGWINCH by itself.",
        code=Exit.FAILURE,
    )


def within_tasks(lines: list[str]) -> list[str]:
    """Cut the stacks of threads to what tasks have called; all of it where no thread runs one."""
    found: list[str] = []
    thread: list[str] = []
    for line in lines:
        if line.endswith("first):"):
            thread = [line]
        elif _CALLER in line:
            found += thread
            thread = []
        elif thread:
            thread.append(line)
    return found or lines
