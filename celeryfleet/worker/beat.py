"""The one process that sends scheduled tasks: `celery beat` with the fleet's settings."""

from __future__ import annotations

import socket
from typing import Any

from celery import signals

from celeryfleet.protocol import Beat, Ready, Start
from celeryfleet.records import encode
from celeryfleet.worker.heartbeat import orphaned_when_closed


def run_beat(app: Any, start: Start, channel: socket.socket) -> None:
    """Send what is due until told to stop. Says that it is ready once its scheduler has read the schedule."""
    options: dict[str, Any] = start.options

    def on_ready(**_: Any) -> None:
        channel.sendall(encode(Ready(())))
        # Beat sleeps until the next task is due and has no loop to beat from: silence is what it does.
        channel.sendall(encode(Beat(consuming=True, loop_busy=True)))

    signals.beat_init.connect(on_ready, weak=False)
    orphaned_when_closed(channel)
    service = app.Beat(schedule=options["schedule"], loglevel=options["loglevel"], quiet=True)
    service.set_process_title = lambda: None
    service.run()
