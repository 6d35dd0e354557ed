"""Ctrl-C, where work is done in steps that had better be whole."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C, so that it stops between two steps; the second one stops at once."""
    seen = False

    def on_interrupt(number: int, frame: object) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, before)
