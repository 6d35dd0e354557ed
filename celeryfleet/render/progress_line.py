"""One line on a terminal that says what is being waited for; nothing where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner beside the text while the body runs."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_spin, args=(text, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _spin(text: str, done: threading.Event) -> None:
    number = 0
    while not done.wait(0.08):
        sys.stderr.write(f"\r{_FRAMES[number % len(_FRAMES)]} {text} ")
        sys.stderr.flush()
        number += 1
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
