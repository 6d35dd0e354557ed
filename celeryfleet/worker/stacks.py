"""Has processes write where each of their threads is into their log when they are asked, or crash.

The handler is C: it answers while some call holds the interpreter's lock, which is when it is wanted.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import time

from celeryfleet.worker_protocol import STACK_SIGNAL

#: seconds in which a process is likely to have answered
_ANSWER = 0.05


def write_stacks() -> None:
    """Answer from now on, in this process and those forked from it."""
    faulthandler.enable(2)
    faulthandler.register(STACK_SIGNAL, 2, all_threads=True)


def dump_stack(pid: int) -> None:
    """Ask a process, which is about to be killed, and give it a moment."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACK_SIGNAL)
        time.sleep(_ANSWER)
