"""Tasks that ran when their process was killed or hung: each is run apart from the others, and parked if it goes on.

A message that is acknowledged late comes back whenever its process dies. If it is the task that kills it, that would
go on for ever, and take all that runs beside it along. Which of several it was is not known: so those that come back
are run one at a time, beside tasks that are not suspected.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from billiard.exceptions import WorkerLostError
from celery.utils.log import get_logger
from celery.worker import state

from celeryfleet.ledger.entry import FAILED
from celeryfleet.protocol import PARKED_HEADER, PARKED_PROPERTIES
from celeryfleet.routing.match import takes
from celeryfleet.worker.running import Running
from celeryfleet.worker_protocol import Strikes

if TYPE_CHECKING:
    from celeryfleet.records import Record
    from celeryfleet.worker_protocol import Start

logger = get_logger(__name__)


class Suspects:
    """What one worker knows of them."""

    def __init__(self, app: Any, start: Start, send: Callable[[Record], None]) -> None:
        self.app = app
        self.worker = start.name
        self.limit = start.park_after
        self.queue = start.parked
        self.strikes = dict(start.strikes)
        self.running = Running(start.running)
        self._send = send
        #: asks soon whether a request may run
        self.run: Callable[[Any], object]
        #: the id of the one that runs, and those that wait for it
        self._alone = ""
        self._waiting: deque[Any] = deque()

    def learn(self, counts: dict[str, int]) -> None:
        """Take note of what the supervisor has heard of."""
        self.strikes |= counts

    def admit(self, request: Any) -> bool:
        """Tell whether a task may run now; else it is parked, or runs once the one that is tried has ended."""
        if not request.delivery_info["redelivered"]:
            return True  # a new message, or one that was sent again
        count = self.strikes[request.id]
        if 0 < self.limit <= count:
            self._park(request, f"it has ended or hung its process {count} times")
            return False
        if count and self._alone not in ("", request.id):
            self._waiting.append(request)
            return False
        self._alone = request.id if count else self._alone
        return True

    def ended(self, task_id: str) -> None:
        """Let the next one run."""
        if task_id == self._alone:
            self._alone = ""
        if self._waiting and not self._alone:
            self.run(self._waiting.popleft())

    def disconnected(self) -> None:
        """Forget those that wait: their messages come again."""
        self._alone = ""
        self._waiting.clear()

    def strike(self, request: Any, why: str) -> None:
        """Count that a task has ended its process, whose message is about to be requeued; park it if that is enough."""
        self.running.forget(request.id)
        if not self.limit or request.acknowledged:
            return
        count = self.strikes[request.id] = self.strikes.get(request.id, 0) + 1
        self._send(Strikes({request.id: count}))
        if count >= self.limit:
            try:
                self._park(request, f"it has ended its process {count} times, at last so: {why}")
            except self.app.connection_for_write().connection_errors as error:
                logger.warning("could not park %s now, but when it comes again: %r", request.humaninfo(), error)

    def _park(self, request: Any, why: str) -> None:
        """Move a message to the queue of parked ones, and say so to whoever waits for its result."""
        message, channel, delivery = request.message, request.message.channel, request.delivery_info
        about = {
            "queue": source(self.app, delivery["exchange"] or "", delivery["routing_key"] or ""),
            "priority": message.properties.get("priority") or 0,
            "worker": self.worker,
            "at": round(time.time(), 3),
            "error": why,
        }
        properties = {name: message.properties[name] for name in PARKED_PROPERTIES if name in message.properties}
        headers = {
            name: value for name, value in message.headers.items() if name != "compression"
        }  # kombu has undone it
        parked = channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers={**headers, PARKED_HEADER: about},
            properties=properties,
        )
        channel.queue_declare(queue=self.queue, durable=True, auto_delete=False)
        channel.basic_publish(parked, exchange="", routing_key=self.queue)
        state.task_ready(request)
        request.acknowledge()
        request.tell(FAILED, f"parked: {why}")
        self.strikes.pop(request.id, None)
        self._send(Strikes({request.id: 0}))
        logger.critical("parked %s: %s", request.humaninfo(), why)
        request.task.backend.mark_as_failure(
            request.id, WorkerLostError(f"parked: {why}"), request=request._context, store_result=request.store_errors
        )


def source(app: Any, exchange: str, key: str) -> str:
    """Find the queue that a message came from, by where it was sent."""
    broker = "redis" if app.connection_for_write().transport.driver_type == "redis" else "amqp"
    for name, queue in app.amqp.queues.consume_from.items():
        if queue.exchange.name == exchange and takes(queue.exchange.type, queue.routing_key, key, broker):
            return str(name)
    return str(key)
