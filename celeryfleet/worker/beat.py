"""The one process that sends scheduled tasks: `celery beat` with the fleet's settings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from celery import signals

from celeryfleet.protocol import encode
from celeryfleet.worker.heartbeat import orphaned_when_closed

if TYPE_CHECKING:
    from celeryfleet.protocol import Message


def run_beat(app: Any, start: Message, channel: socket.socket) -> None:
    """Send what is due until told to stop. Says that it is ready once its scheduler has read the schedule."""
    options = start["spec"]["options"]

    def on_ready(**_: Any) -> None:
        channel.sendall(encode({"t": "ready", "tasks": []}))
        # Beat sleeps until the next task is due and has no loop to beat from: silence is what it does.
        channel.sendall(encode({"t": "beat", "active": 0, "consuming": True, "blocks": True, "paused": []}))

    signals.beat_init.connect(on_ready, weak=False)
    orphaned_when_closed(channel)
    service = app.Beat(schedule=options["schedule"], loglevel=options["loglevel"], quiet=True)
    service.set_process_title = lambda: None
    service.run()
