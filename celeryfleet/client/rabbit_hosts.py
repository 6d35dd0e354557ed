"""The hosts of a fleet by way of a RabbitMQ: a queue of one message for a host's report, one for what it is asked.

The first is kept for an hour after its last report, which names the second, and which the broker moves aside when it
is old. The second is exclusive, and new with each connection: RabbitMQ may hold one that a cut network has ended for
long, and with it a queue of a fixed name. Answers come by direct reply-to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celeryfleet.client.broker import attempt, opened
from celeryfleet.endpoint import BrokerError
from celeryfleet.hosts.broker import Hosts, left
from celeryfleet.hosts.messages import ASKED, KEPT, PAUSED, SILENT, Answer, Remote, Report
from celeryfleet.protocol import Mark, Marks
from celeryfleet.records import Record, encode, parse

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan

_REPLIES = "amq.rabbitmq.reply-to"
#: AMQP's code of a queue that there is not
_ABSENT = 404
#: seconds before each look at a message, which another reader may have in its hands for a moment
_PAUSES = (0.0, 0.01, 0.02, 0.04, 0.08)
#: requests that wait at most
_WAITING = 100


class RabbitHosts(Hosts):
    """A connection to the RabbitMQ that the hosts share."""

    def __init__(self, plan: Plan) -> None:
        self._base, self._where = f"celeryfleet.{plan.fleet}", plan.broker.shown
        self._connection: Any = opened(plan.broker.url, plan.settings)
        #: the queue that we are asked by, and what has come of it
        self._asked, self._requests = "", list[Any]()
        self._channel: Any = self._do(self._connection.channel)

    def close(self) -> None:
        self._connection.release()

    # --- Of a supervisor ----------------------------------------------------------------------------------

    def leave(self, host: str, report: Report) -> Report | None:
        fresh, last = self._reports(host)

        def leave() -> Any:
            if not self._asked:
                self._asked = f"{self._base}.asked.{host}.{os.urandom(8).hex()}"
                self._channel.queue_declare(self._asked, exclusive=True, arguments={"x-max-length": _WAITING})
                self._channel.basic_consume(self._asked, no_ack=True, callback=self._requests.append)
            to_last = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": last}
            # Each time: a queue expires that is neither declared nor read, whatever is sent to it.
            for queue, seconds, more in (
                (f"{self._base}.paused", PAUSED, {}),
                (last, KEPT, {}),
                (fresh, KEPT, {"x-message-ttl": SILENT * 1000, **to_last}),
            ):
                arguments = {"x-max-length": 1, "x-expires": seconds * 1000, **more}
                self._channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            before = self._left(Report, fresh)
            self._publish(self._channel, fresh, report, reply_to=self._asked)
            return before

        before: Report | None = self._do(leave)
        return before

    def marks(self) -> tuple[Mark, ...]:
        found = self._do(self._left, Marks, f"{self._base}.paused")
        return found.marks if found else ()

    def share(self, marks: tuple[Mark, ...]) -> None:
        self._do(self._publish, self._channel, f"{self._base}.paused", Marks(marks))

    def withdraw(self, host: str) -> None:
        self._do(lambda: [self._channel.queue_delete(queue) for queue in self._reports(host)])

    def take(self, host: str, seconds: float) -> tuple[str, Remote] | None:
        message = self._do(self._next, self._requests, seconds)
        if message is None:
            return None
        asker = str(message.properties.get("reply_to", ""))
        if len(message.body) > ASKED or not asker.startswith(_REPLIES):
            raise ValueError("it is too long, or does not say who asks")
        return asker, parse(Remote, message.body)

    def reply(self, asker: str, answer: Record) -> None:
        self._do(self._publish, self._channel, asker, answer)

    # --- Of whoever asks ----------------------------------------------------------------------------------

    def read(self, names: Iterable[str]) -> dict[str, tuple[Report, float]]:
        """Return the report of each of these hosts, and its age in seconds by the two machines' clocks.

        Whether it is older than SILENT is as the broker says, however far their clocks are apart.
        """
        found = {}
        for host in names:
            fresh, last = self._reports(host)
            if report := self._do(self._left, Report, fresh):
                found[host] = report, min(max(0.0, time.time() - report.at), SILENT)
            elif report := self._do(self._left, Report, last):
                found[host] = report, max(SILENT + 0.1, time.time() - report.at)
        return found

    def ask(self, host: str, request: Record, seconds: float) -> Answer | None:
        def answered() -> Any:
            report = self._message(self._reports(host)[0])
            queue = str(report.properties.get("reply_to", "")) if report else ""
            if not queue.startswith(f"{self._base}.asked.{host}."):
                return None
            come: list[Any] = []  # the answer, or None: the request was given back, since nobody reads it
            with self._connection.channel() as channel:
                channel.basic_consume(_REPLIES, no_ack=True, callback=come.append)
                channel.events["basic_return"].add(lambda *_: come.append(None))
                words = {"reply_to": _REPLIES, "expiration": str(int(seconds * 1000))}
                self._publish(channel, queue, request, mandatory=True, **words)
                return self._next(come, seconds)

        message = self._do(answered)
        return None if message is None else parse(Answer, message.body)

    # --- Beneath ------------------------------------------------------------------------------------------

    def _reports(self, host: str) -> tuple[str, str]:
        """Name the queue of a host's report, and that to which the broker moves it when it is old."""
        return f"{self._base}.report.{host}", f"{self._base}.report.{host}.last"

    def _left(self, kind: type[Record], queue: str) -> Any:
        message = self._message(queue)
        return None if message is None else left(kind, message.body)

    def _message(self, queue: str) -> Any:
        """Read the message of a queue, and leave it there; None: there is none, also when looked for again."""
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                message = self._channel.basic_get(queue)
            except self._connection.channel_errors as error:
                if getattr(error, "reply_code", 0) != _ABSENT:
                    raise
                self._channel = self._connection.channel()
                return None
            if message is not None:
                self._channel.basic_reject(message.delivery_tag, requeue=True)
                return message
        return None

    def _publish(self, channel: Any, queue: str, record: Record, mandatory: bool = False, **properties: str) -> None:
        message = channel.prepare_message(encode(record), content_type="application/json", properties=properties)
        channel.basic_publish(message, "", queue, mandatory=mandatory)

    def _next(self, come: list[Any], seconds: float) -> Any:
        """Return the first of what comes within so many seconds, or None."""
        until = time.monotonic() + seconds
        while not come and (rest := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=rest)
        return come.pop(0) if come else None

    def _do(self, work: Callable[..., Any], *about: Any) -> Any:
        found, trouble = attempt(self._connection, lambda _: work(*about))
        if trouble:
            raise BrokerError(self._where, trouble)
        return found
