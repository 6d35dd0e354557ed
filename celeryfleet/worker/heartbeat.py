"""Tells the supervisor, from the worker's own event loop, that it lives, whether it consumes, and what it does.

A worker speaks when something has changed, at most once a second, and every `KEEPALIVE` seconds if nothing has;
it answers a poke at once. When the supervisor is gone it stops warmly. A hung loop is silent, and so is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.worker import state
from celery.worker.consumer import consumer as consumer_module
from celery.worker.request import Request

from celeryfleet.wire import Lines, encode
from celeryfleet.worker.restore import bring_back

if TYPE_CHECKING:
    from celeryfleet.wire import Message

#: seconds between two looks at whether something has changed
TICK = 1.0
#: seconds of silence at most
KEEPALIVE = 10.0
#: ids of revoked tasks passed on, the latest ones
REVOKED_MAX = 2000


class Heartbeat:
    """The worker's end of the socket to its supervisor."""

    def __init__(self, app: Any, channel: socket.socket) -> None:
        channel.setblocking(False)
        self.app = app
        self.channel = channel
        self.consumer: Any = None
        self.pool_blocks = app.conf.worker_pool == "solo"
        self._out = b""
        self.failed = 0
        self.paused: set[str] = set()
        self.connecting = True
        self.stopping = False
        self._listening = False
        self._revoked = len(state.revoked)
        self._lines = Lines()
        self._last: Message = {}
        self._last_at = 0.0

    def beat(self) -> Message:
        """Describe the worker now."""
        active = list(state.active_requests)
        return {
            "t": "beat",
            "active": len(active),
            "reserved": len(state.reserved_requests),
            "processed": sum(state.total_count.values()) - len(active),
            "failed": self.failed,
            "consuming": self._consumes(),
            "connecting": self.connecting,
            "paused": sorted(self.paused),
        }

    def say(self, message: Message) -> None:
        """Send one message; a supervisor that is gone, or too busy to read, is no reason to fail."""
        self._out += encode(message)
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self.channel.send(self._out) if self._out else 0
        except BlockingIOError:
            return  # the rest goes with the next message
        except OSError:
            self._out = b""
            self.orphaned()
        else:
            self._out = self._out[sent:]

    def tick(self) -> None:
        """Beat and listen where no event loop runs."""
        self.listen()
        self.beat_if_changed()

    def listen_for_ever(self) -> None:
        """Listen in a green thread of its own, where there is no event loop that could."""
        self.channel.setblocking(True)
        while not self.stopping:
            self.listen()

    def beat_if_changed(self) -> None:
        """Beat if something has changed since the last one, or the silence has been long."""
        self._tell_revoked()
        if self._out:
            self._flush()
        beat, now = self.beat(), time.monotonic()
        if beat != self._last or now - self._last_at >= KEEPALIVE:
            self._last, self._last_at = beat, now
            self.say(beat)

    def listen(self) -> None:
        """Do what the supervisor asks."""
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.orphaned()
            return
        for message in self._lines.feed(data):
            self._obey(message)

    def start_listening(self) -> None:
        """Have a green thread listen, once."""
        if not self._listening:
            self._listening = True
            threading.Thread(target=self.listen_for_ever, name="celeryfleet-listen", daemon=True).start()

    def orphaned(self) -> None:
        """Stop warmly, once: the supervisor is gone."""
        if not self.stopping:
            self.stopping = True
            os.kill(os.getpid(), signal.SIGTERM)

    def task_starts_here(self) -> None:
        """Say what a pool that blocks the loop (solo) is about to do, since it can't say anything meanwhile."""
        self._last, self._last_at = {}, 0.0
        self.say({**self.beat(), "active": 1, "blocks": True})

    def task_ended_here(self) -> None:
        """Say what has become of it as soon as the loop runs again."""
        if self.consumer is not None:
            self.consumer.call_soon(self.beat_if_changed)

    def _tell_revoked(self) -> None:
        """Pass on which tasks are revoked, for workers that start later: what mingle did."""
        if len(state.revoked) != self._revoked:
            self._revoked = len(state.revoked)
            self.say({"t": "revoked", "ids": list(state.revoked)[-REVOKED_MAX:]})

    def _obey(self, message: Message) -> None:
        match message["do"]:
            case "poke":
                self._last, self._last_at = self.beat(), time.monotonic()
                self.say({**self._last, "poke": message["poke"]})
            case "restore":
                bring_back(self.app, message["nodes"])
            case "pause":
                for queue in message["queues"]:
                    self.consumer.call_soon(self.consumer.cancel_task_queue, queue)
                self.paused |= set(message["queues"])
            case "resume":
                for queue in message["queues"]:
                    self.consumer.call_soon(self.consumer.add_task_queue, queue)
                self.paused -= set(message["queues"])

    def _consumes(self) -> bool:
        task_consumer = getattr(self.consumer, "task_consumer", None)
        return task_consumer is not None and not self.connecting


def install(app: Any, channel: socket.socket, restore: Sequence[str]) -> None:
    """Make the app's worker tell the supervisor how it is, over this socket.

    Whenever it connects to the broker, it first brings back what the dead nodes of `restore` had taken.
    """
    heart = Heartbeat(app, channel)

    class FleetHeartbeat(bootsteps.StartStopStep):  # type: ignore[misc]
        """Beats from the consumer's loop; started anew with each connection, whose loss empties the loop."""

        requires = ("celery.worker.consumer.connection:Connection",)

        def start(self, consumer: Any) -> None:
            heart.consumer = consumer
            hub = consumer.hub
            if hub is not None:
                hub.call_repeatedly(TICK, heart.beat_if_changed)
                hub.add_reader(channel, heart.listen)
            elif app.conf.worker_pool in ("gevent", "eventlet"):
                consumer.timer.call_repeatedly(TICK, heart.beat_if_changed)
                heart.start_listening()
            else:
                consumer.timer.call_repeatedly(TICK, heart.tick)

    app.steps["consumer"].add(FleetHeartbeat)
    _count_failures(heart)
    _watch_connecting(heart, restore)

    def on_ready(**_: Any) -> None:
        heart.say({"t": "ready", "tasks": sorted(name for name in app.tasks if not name.startswith("celery."))})
        heart.beat_if_changed()

    def on_prerun(**_: Any) -> None:
        heart.task_starts_here()

    def on_postrun(**_: Any) -> None:
        heart.task_ended_here()

    signals.worker_ready.connect(on_ready, weak=False)
    if heart.pool_blocks:
        signals.task_prerun.connect(on_prerun, weak=False)
        signals.task_postrun.connect(on_postrun, weak=False)


def orphaned_when_closed(channel: socket.socket) -> None:
    """Stop this process warmly when the supervisor closes the channel; for a process without an event loop."""

    def wait() -> None:
        channel.setblocking(True)
        while True:
            try:
                if not channel.recv(4096):
                    break
            except OSError:
                break
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="celeryfleet-orphan-watch", daemon=True).start()


def _count_failures(heart: Heartbeat) -> None:
    """Count failed tasks where Celery handles them: in the main process, whichever pool ran them."""
    handle_failure = Request.on_failure

    def on_failure(self: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        if type(exc_info.exception).__name__ not in ("Retry", "Ignore", "Reject"):
            heart.failed += 1
        return handle_failure(self, exc_info, *args, **kwargs)

    Request.on_failure = on_failure


def _watch_connecting(heart: Heartbeat, restore: Sequence[str]) -> None:
    """Keep beating while Celery tries to reach the broker, when its event loop does not run."""
    check_shutdown = consumer_module.maybe_shutdown
    connect_by_celery = consumer_module.Consumer.connect

    def maybe_shutdown() -> None:
        heart.tick()
        check_shutdown()

    def connect(self: Any) -> Any:
        heart.connecting = True
        heart.beat_if_changed()
        if not self.first_connection_attempt:
            _try_quickly(heart)
        connection = connect_by_celery(self)
        heart.connecting = False
        heart.beat_if_changed()
        running = {request.message.delivery_tag for request in state.active_requests}
        bring_back(heart.app, restore, running, own=connection)
        return connection

    consumer_module.maybe_shutdown = maybe_shutdown
    consumer_module.Consumer.connect = connect


def _try_quickly(heart: Heartbeat) -> None:
    """Give the broker a second to come back: the fleet's own does so in 50 ms, and Celery first waits for 2 s."""
    connection = heart.app.connection_for_read()
    with contextlib.suppress(*connection.recoverable_connection_errors):
        connection.ensure_connection(
            max_retries=8, interval_start=0.01, interval_step=0.04, callback=consumer_module.maybe_shutdown
        )
    connection.release()
