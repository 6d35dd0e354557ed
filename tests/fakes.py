"""What tests share: waiting for a condition, and looking at processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

_never = threading.Event()


def eventually(condition: Callable[[], T], timeout: float = 20.0, pause: float = 0.02) -> T:
    """Return what the condition gives once that is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {timeout:g} s: {getattr(condition, '__name__', condition)}; last: {found!r}"
            )
        _never.wait(pause)


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
