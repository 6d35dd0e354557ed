"""What tests share: waiting for a condition, and looking at processes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, AnyStr, TypeVar

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

_never = threading.Event()


def eventually(condition: Callable[[], T], timeout: float = 60.0, pause: float = 0.02) -> T:
    """Return what the condition gives once that is true; fail after `timeout` seconds.

    Between two looks it pauses at least as long as one takes: what is waited for needs the processor too.
    """
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        found = condition()
        if found:
            return found
        ended = time.monotonic()
        if ended > deadline:
            raise AssertionError(
                f"not within {timeout:g} s: {getattr(condition, '__name__', condition)}; last: {found!r}"
            )
        _never.wait(max(pause, ended - began))


@contextmanager
def ending(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """End a program with the block: `with Popen(…)` alone waits for it for ever where the block fails."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(folder: Path) -> dict[int, str]:
    """Return the live processes whose command, environment or working folder names this folder, by pid."""
    found = {}
    needle = str(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            where = str((entry / "cwd").readlink())
        except OSError:
            continue
        if command and (needle in command or where == needle or where.startswith(f"{needle}/")):
            found[int(entry.name)] = command
    return found


def forget_pools(app: Celery) -> None:
    """Close an app's connection pools: kombu keeps them for all apps, and `pools.reset()` closes those of others."""
    from kombu import pools

    connection = app.connection_for_write()
    for group in (pools.producers, pools.connections):
        group[connection].force_close_all()
        del group[connection]
