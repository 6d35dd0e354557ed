"""A fleet's beat: Celery's own, which keeps the fleet's process title and ends between two tasks.

Celery's answer to a signal closes the schedule and the connection under whatever is being done: a task that was about
to be sent is noted as sent and is not, and what goes on with the closed ones ends beat with an error. Seen in 5.7.0.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from celeryfleet.app import import_scheduler
from celeryfleet.errors import FleetError
from celeryfleet.records import encode
from celeryfleet.worker import lease, redbeat_lock
from celeryfleet.worker_protocol import Beat, Ready

#: seconds that a task which is being sent is given to end when beat is to end: the broker may not answer
_PATIENCE = 1.0


def send_what_is_due(app: Any, options: Mapping[str, Any], channel: socket.socket) -> None:
    """Be `celery beat`. Says that it is ready once its scheduler has read the schedule."""
    ending = contextlib.ExitStack()

    def begin(scheduler: Any) -> None:
        redbeat_lock.inherit(scheduler, Path(f"{options['schedule']}.lock"))
        # Beat sleeps until the next task is due and has no loop to beat from: silence is what it does.
        channel.sendall(encode(Beat(consuming=True, loop_busy=True)))
        if options.get("lease") and not getattr(scheduler, "lock_key", None):  # RedBeat's lock is one already
            guard = lease.guard(scheduler, options, lambda message: channel.sendall(encode(message)))
            ending.callback(guard.close)
        channel.sendall(encode(Ready(())))

    def stop_when_closed() -> None:
        with contextlib.suppress(OSError):
            while channel.recv(4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    class FleetBeat(app.Beat):  # type: ignore[misc]
        def set_process_title(self) -> None:
            """Do nothing: it is set."""

        def install_sync_handler(self, service: Any) -> None:
            begin(service.scheduler)
            service.scheduler.tick = _end_between_ticks(service.scheduler.tick)

    try:
        import_scheduler(app)
    except FleetError as error:
        sys.exit(str(error))
    if not app.conf.beat_sync_every:
        # What was sent is written down at once, or else beat would send it again after it was killed.
        app.conf.beat_sync_every = 1
    channel.setblocking(True)
    threading.Thread(target=stop_when_closed, name="celeryfleet-orphan-watch", daemon=True).start()
    with ending:
        FleetBeat(schedule=options["schedule"], loglevel=options["loglevel"], quiet=True).run()
    sys.exit()  # it has ended warmly: a signal makes it return


def _end_between_ticks(tick: Callable[[], float]) -> Callable[[], float]:
    """Have TERM and INT end beat while it sleeps; where it sends a task, after that, or after a second in vain.

    To end is to raise SystemExit, at which Celery's service writes the schedule down and returns.
    """
    ticking, asked = False, False

    def end(number: int, _: Any) -> None:
        nonlocal asked
        if ticking and not asked:
            asked = True
            # Again and again: what is raised where a destructor runs, or in a callback from C, is lost.
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE, _PATIENCE)
            return
        raise SystemExit

    def whole_tick() -> float:
        nonlocal ticking
        ticking = True
        try:
            wait = tick()
        finally:
            ticking = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if asked:
            raise SystemExit
        return wait

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, end)
    return whole_tick
