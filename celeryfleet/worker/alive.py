"""Tells an engine that a worker lives: by the age of a file, and systemd by the socket that it names.

A worker that waits for its broker, or whose task holds the loop (solo), can't tell anything meanwhile: before that it
says that it is not to be waited for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import bootsteps, signals

#: names the file that is touched
FILE_VARIABLE = "CELERYFLEET_ALIVE"
#: seconds between two signs of life, at most
_TICK = 5.0
#: seconds for which nothing need be heard of a worker that says so
_LONG = 10 * 365 * 86400


class Signs:
    """Where signs of life go."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._file = environ.get(FILE_VARIABLE, "")
        self._socket = environ.get("NOTIFY_SOCKET", "")
        #: microseconds within which systemd wants to hear something; 0: never
        self._watchdog = int(environ.get("WATCHDOG_USEC", 0))

    @property
    def wanted(self) -> bool:
        """Tell whether anybody waits for them."""
        return bool(self._file or self._socket)

    @property
    def every(self) -> float:
        """Return the seconds between two."""
        return min(_TICK, self._watchdog / 4e6) if self._watchdog else _TICK

    def live(self) -> None:
        """Say that it lives."""
        self._touch(time.time())
        self.notify(f"WATCHDOG=1\nWATCHDOG_USEC={self._watchdog}" if self._watchdog else "")

    def silent(self) -> None:
        """Say that it will be silent for as long as it takes."""
        self._touch(time.time() + _LONG)
        self.notify(f"WATCHDOG_USEC={_LONG * 1_000_000}" if self._watchdog else "")

    def _touch(self, when: float) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                os.close(os.open(self._file, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                os.utime(self._file, (when, when))

    def notify(self, state: str) -> None:
        """Tell systemd; nothing happens where it does not ask."""
        if not (self._socket and state):
            return
        address = f"\0{self._socket[1:]}" if self._socket.startswith("@") else self._socket
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)


def install(app: Any, signs: Signs) -> None:
    """Have the app's worker give signs of life from its event loop, or its timer where it has none."""

    class Alive(bootsteps.StartStopStep):  # type: ignore[misc]
        """Started anew with each connection, and stopped when that is lost."""

        requires = ("celery.worker.consumer.connection:Connection",)
        _entry: Any = None

        def start(self, consumer: Any) -> None:
            signs.live()
            repeat: Callable[..., Any] = (consumer.hub or consumer.timer).call_repeatedly
            self._entry = repeat(signs.every, signs.live)

        def stop(self, consumer: Any) -> None:
            if self._entry is not None:
                self._entry.cancel()
                self._entry = None
            signs.silent()

    app.steps["consumer"].add(Alive)
    signals.worker_ready.connect(lambda **_: signs.notify("READY=1"), weak=False)
    signals.worker_shutting_down.connect(lambda **_: signs.notify("STOPPING=1"), weak=False)
    if app.conf.worker_pool == "solo":
        signals.task_prerun.connect(lambda **_: signs.silent(), weak=False)
        signals.task_postrun.connect(lambda **_: signs.live(), weak=False)
