"""Tells the supervisor, from the worker's own event loop, that it lives, whether it consumes, and what it does.

It beats when something has changed, at most once a second, and now and then if nothing has,
and answers a poke at once. When the supervisor is gone it stops warmly. A hung loop is silent, and so is found.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.control import revoke

from celeryfleet.records import Lines, Record, encode
from celeryfleet.worker.recorder import NoRecorder
from celeryfleet.worker_protocol import (
    Beat,
    Poke,
    Read,
    Ready,
    Restore,
    Restored,
    Revoke,
    Revoked,
    Strikes,
    TellAnew,
    Told,
)

if TYPE_CHECKING:
    from celeryfleet.worker.ownership import Ownership
    from celeryfleet.worker.suspects import Suspects

logger = get_logger(__name__)

#: seconds between two looks at whether something has changed, after one at which it had
TICK = 1.0
#: seconds between two looks while nothing changes: a wake-up is what an idle worker costs
IDLE_TICK = 5.0
#: seconds that a timer may fire early
_EARLY = 0.1
#: bytes that wait for a supervisor which does not read, roughly
_OUT = 200_000
#: ids of revoked tasks passed on, the latest ones
REVOKED_MAX = 2000


class Heartbeat:
    """The worker's end of the socket to its supervisor."""

    def __init__(self, app: Any, channel: socket.socket, keepalive: float) -> None:
        channel.setblocking(False)
        self.app = app
        self.channel = channel
        #: seconds of silence at most
        self.keepalive = keepalive
        #: seconds after which a child that can't work is killed
        self.patience: float
        self.consumer: Any = None
        self.suspects: Suspects
        self.recorder = NoRecorder()
        #: none where nobody else uses the broker, or it is no Redis
        self.ownership: Ownership | None = None
        self.pool_blocks = app.conf.worker_pool == "solo"
        self._out = b""
        #: timers and pools of threads beat too
        self._sending = threading.RLock()
        self.failed = 0
        self.connecting = True
        self.stopping = False
        self._listening = False
        #: neither an event loop nor a green thread waits for messages
        self._listens_by_ticking = False
        self._chain = 0
        self._revoked = len(state.revoked)
        self._lines = Lines(Told)
        self._last: Beat | None = None
        self._last_at = 0.0

    def beat(self) -> Beat:
        """Describe the worker now."""
        active = len(state.active_requests)  # to go through it would fail while another thread adds to it
        queues = self._queues()
        return Beat(
            active=active,
            reserved=len(state.reserved_requests),
            processed=sum(state.total_count.values()) - active,
            failed=self.failed,
            consuming=bool(queues) or self._reads_nothing(),
            connecting=self.connecting,
            queues=queues,
        )

    def send(self, message: Record) -> None:
        """Send one message; a supervisor that is gone, or too busy to read, is no reason to fail."""
        with self._sending:
            if len(self._out) < _OUT:  # else it has stood still for long; the next beat tells it all anyway
                self._out += encode(message)
        self._flush()

    def offer(self, message: Record) -> bool:
        """Send a message unless others wait to be read; tell whether it was taken."""
        self._flush()
        if self._out:
            return False
        self.send(message)
        return True

    def _flush(self) -> None:
        with self._sending:
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
        if not self._listening:
            self.listen()
        self.beat_if_changed()

    def keep_beating(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """Tick for as long as this connection lasts: often while things change, seldom while they don't."""
        self._chain += 1
        chain = self._chain

        def look() -> None:
            if chain == self._chain:  # else a newer connection has its own
                busy = self.beat_if_changed()
                if self.ownership is not None:
                    self.ownership.tick()
                if look_after := getattr(self.consumer.pool, "look_after", None):
                    look_after(time.monotonic(), self.patience)
                if self._listens_by_ticking:
                    self.listen()
                later(min(TICK if busy or self._listens_by_ticking else IDLE_TICK, self.keepalive), look)

        later(0, look)
        self.recorder.connected(later, self.consumer.call_soon)

    def listen_for_ever(self) -> None:
        """Listen in a green thread of its own, where there is no event loop that could."""
        self.channel.setblocking(True)
        while not self.stopping:
            self.listen()

    def beat_if_changed(self) -> bool:
        """Beat if something has changed since the last one, or the silence has been long; tell if it had changed."""
        self._tell_revoked()
        if self._out:
            self._flush()
        beat, now = self.beat(), time.monotonic()
        changed = beat != self._last
        if changed or now - self._last_at >= self.keepalive - _EARLY:
            self._last, self._last_at = beat, now
            self.send(beat)
        return changed

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
            try:
                self._do(message)
            except Exception:  # in the event loop it would end the worker
                logger.exception("celeryfleet: could not do what the supervisor asks: %s", message)

    def listen_without_loop(self, green: bool) -> None:
        """Have a green thread listen, once, or else each tick."""
        self._listens_by_ticking = not green
        if green and not self._listening:
            self._listening = True
            threading.Thread(target=self.listen_for_ever, name="celeryfleet-listen", daemon=True).start()

    def orphaned(self) -> None:
        """Stop warmly, once: the supervisor is gone."""
        if not self.stopping:
            self.stopping = True
            os.kill(os.getpid(), signal.SIGTERM)

    def task_starts_here(self, **_: Any) -> None:
        """Say what a pool that blocks the loop (solo) is about to do, since it can't say anything meanwhile."""
        self._last, self._last_at = None, 0.0
        self.recorder.flush()
        self.send(self.beat().but(active=1, loop_busy=True))

    def task_ended_here(self, **_: Any) -> None:
        """Say what has become of it as soon as the loop runs again."""
        if self.consumer is not None:
            self.consumer.call_soon(self.beat_if_changed)

    def first_task_starts(self, **_: Any) -> None:
        """Say at once that something runs: its task may hold the interpreter's lock, and be silent, from now on."""
        if self._last is None or not self._last.active:
            self.beat_if_changed()

    def task_failed(self) -> None:
        """Count a task that has failed."""
        self.failed += 1

    def _tell_revoked(self) -> None:
        """Pass on which tasks are revoked, for workers that start later: what mingle did."""
        if len(state.revoked) != self._revoked:
            self._revoked = len(state.revoked)
            self.send(Revoked(tuple(state.revoked)[-REVOKED_MAX:]))

    def _do(self, message: Told) -> None:
        match message:
            case Poke(number):
                self.recorder.flush()
                self._last, self._last_at = self.beat(), time.monotonic()
                self.send(self._last.but(poke=number))
            case TellAnew():
                self.recorder.tell_anew()
            case Restore(nodes):
                from celeryfleet.worker.redis_restore import bring_back

                self.send(Restored(tuple(bring_back(self.app, nodes, ownership=self.ownership))))
            case Read(queues):
                self.consumer.call_soon(self.consumer.read, queues)
            case Revoke(ids, terminate):
                self.consumer.call_soon(revoke, self, list(ids), terminate)
            case Strikes(counts):
                self.suspects.learn(counts)

    def _queues(self) -> tuple[str, ...]:
        """Name the queues that are read now: none while the worker connects or stops."""
        consumer = getattr(self.consumer, "task_consumer", None)
        if consumer is None or self.connecting:
            return ()
        return tuple(sorted(queue.name for queue in consumer.queues if consumer.consuming_from(queue)))

    def _reads_nothing(self) -> bool:
        """Tell whether no queue is left for it to read, and that is all that keeps it from reading."""
        connected = getattr(self.consumer, "task_consumer", None) is not None and not self.connecting
        return connected and not self.app.amqp.queues.consume_from


def install(app: Any, channel: socket.socket, keepalive: float) -> Heartbeat:
    """Make the app's worker tell the supervisor how it is, over this socket, at least every `keepalive` seconds."""
    heartbeat = Heartbeat(app, channel, keepalive)

    class FleetHeartbeat(bootsteps.StartStopStep):  # type: ignore[misc]
        """Beats from the consumer's loop; started anew with each connection, whose loss empties the loop."""

        requires = ("celery.worker.consumer.connection:Connection",)

        def start(self, consumer: Any) -> None:
            heartbeat.consumer = consumer
            hub = consumer.hub
            if hub is not None:
                hub.add_reader(channel, heartbeat.listen)
                heartbeat.keep_beating(hub.call_later)
                return
            heartbeat.listen_without_loop(green=app.conf.worker_pool in ("gevent", "eventlet"))
            heartbeat.keep_beating(consumer.timer.call_after)

    app.steps["consumer"].add(FleetHeartbeat)

    def on_ready(**_: Any) -> None:
        heartbeat.beat_if_changed()
        tasks = tuple(sorted(name for name in app.tasks if not name.startswith("celery.")))
        heartbeat.send(Ready(tasks, app.conf.worker_pool, int(heartbeat.consumer.controller.concurrency)))

    signals.worker_ready.connect(on_ready, weak=False)
    if heartbeat.pool_blocks:
        signals.task_prerun.connect(heartbeat.task_starts_here, weak=False)
        signals.task_postrun.connect(heartbeat.task_ended_here, weak=False)
    elif app.conf.worker_pool != "prefork":
        signals.task_prerun.connect(heartbeat.first_task_starts, weak=False)
    return heartbeat
