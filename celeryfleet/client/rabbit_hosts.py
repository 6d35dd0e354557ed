"""The hosts of a fleet by way of a RabbitMQ: a queue of one message for a host's report, one for what it is asked.

The first is kept for an hour after its last report, which names the second, and which the broker moves aside when it
is old. The second is exclusive, and new with each connection: RabbitMQ may hold one that a cut network has ended for
long, and with it a queue of a fixed name. Answers come by direct reply-to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from celeryfleet.client.broker import attempt, opened
from celeryfleet.endpoint import BrokerError
from celeryfleet.hosts.messages import ASKED, KEPT, PAUSED, SILENT, Answer, Remote, Report, read_marks
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


class RabbitHosts:
    """A connection to the RabbitMQ that the hosts share; every method raises BrokerError where it fails."""

    def __init__(self, plan: Plan) -> None:
        self._base, self._where = f"celeryfleet.{plan.fleet}", plan.broker.shown
        self._connection: Any = opened(plan.broker.url, plan.settings)
        #: what has come of what is consumed, or was given back, since nobody reads it
        self._come: list[Any] = []
        self._listens = False
        #: the queue that we are asked by
        self._asked = ""
        self._channel: Any = self._do(lambda: self._connection.channel())

    def close(self) -> None:
        """Hang up."""
        self._connection.release()

    # --- Of a supervisor ----------------------------------------------------------------------------------

    def leave(self, host: str, report: Report) -> None:
        """Leave a report in the place of the one that was there."""
        fresh, last = self._reports(host)

        def leave() -> None:
            if not self._asked:
                self._asked = f"{self._base}.asked.{host}.{os.urandom(8).hex()}"
                self._channel.queue_declare(self._asked, exclusive=True, arguments={"x-max-length": _WAITING})
                self._channel.basic_consume(self._asked, no_ack=True, callback=self._come.append)
            to_last = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": last}
            # Each time: a queue expires that is neither declared nor read, whatever is sent to it.
            for queue, seconds, more in (
                (f"{self._base}.paused", PAUSED, {}),
                (last, KEPT, {}),
                (fresh, KEPT, {"x-message-ttl": SILENT * 1000, **to_last}),
            ):
                arguments = {"x-max-length": 1, "x-expires": seconds * 1000, **more}
                self._channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            self._publish(fresh, encode(report), reply_to=self._asked)

        self._do(leave)

    def marks(self) -> tuple[Mark, ...]:
        """Return what is kept of queues that are paused on all hosts; nothing also while another host reads it."""
        return read_marks(self._do(lambda: self._body(f"{self._base}.paused")))

    def share(self, marks: tuple[Mark, ...]) -> None:
        """Keep this in its place."""
        self._do(lambda: self._publish(f"{self._base}.paused", encode(Marks(marks))))

    def withdraw(self, host: str) -> None:
        """Remove a host's report: it has stopped on purpose."""
        self._do(lambda: [self._channel.queue_delete(queue) for queue in self._reports(host)])

    def take(self, host: str, seconds: float) -> tuple[str, Remote] | None:
        """Wait so long for a request; return who wants to know, and it. Raises ValueError for what is none."""
        message = self._wait(seconds)
        if message is None:
            return None
        asker = str(message.properties.get("reply_to", ""))
        if len(message.body) > ASKED or not asker.startswith(_REPLIES):
            raise ValueError("it is too long, or does not say who asks")
        return f"{asker} {message.properties.get('correlation_id', '')}", parse(Remote, message.body)

    def reply(self, asker: str, answer: Record) -> None:
        """Answer a request."""
        queue, _, asked = asker.partition(" ")
        self._do(lambda: self._publish(queue, encode(answer), correlation_id=asked))

    # --- Of whoever asks ----------------------------------------------------------------------------------

    def read(self, names: Iterable[str]) -> dict[str, tuple[Report, float]]:
        """Return the report of each of these hosts, and its age in seconds by the two machines' clocks.

        Whether it is older than SILENT is as the broker says, however far their clocks are apart.
        """
        found = {}
        for host in names:
            fresh, last = self._reports(host)
            if report := self._do(lambda queue=fresh: self._look(queue)):  # type: ignore[misc]
                found[host] = report, min(max(0.0, time.time() - report.at), SILENT)
            elif report := self._do(lambda queue=last: self._look(queue)):  # type: ignore[misc]
                found[host] = report, max(SILENT + 0.1, time.time() - report.at)
        return found

    def ask(self, host: str, request: Record, seconds: float) -> Answer | None:
        """Ask a host; None: it has not answered within so many seconds."""
        asked = os.urandom(16).hex()

        def send() -> None:
            if not self._listens:
                self._channel.basic_consume(_REPLIES, no_ack=True, callback=self._come.append)
                self._channel.events["basic_return"].add(lambda *_: self._come.append(None))
                self._listens = True
            told = self._message(self._reports(host)[0])
            queue = str(told.properties.get("reply_to", "")) if told else ""
            if not queue.startswith(f"{self._base}.asked.{host}."):
                self._come.append(None)
                return
            words = {"reply_to": _REPLIES, "correlation_id": asked, "expiration": str(int(seconds * 1000))}
            self._publish(queue, encode(request), mandatory=True, **words)

        self._do(send)
        until = time.monotonic() + seconds
        while (message := self._wait(until - time.monotonic())) is not None:
            if message.properties.get("correlation_id") == asked:  # else it comes too late
                answer: Answer = parse(Answer, message.body)
                return answer
        return None

    # --- Beneath ------------------------------------------------------------------------------------------

    def _reports(self, host: str) -> tuple[str, str]:
        """Name the queue of a host's report, and that to which the broker moves it when it is old."""
        return f"{self._base}.report.{host}", f"{self._base}.report.{host}.last"

    def _look(self, queue: str) -> Report | None:
        """Read a report."""
        try:
            report: Report = parse(Report, self._body(queue) or b"")
        except (ValueError, TypeError):  # there is none, or one of another version, or a stranger's
            return None
        return report

    def _body(self, queue: str) -> bytes | None:
        message = self._message(queue)
        body = b"" if message is None else message.body
        return body.encode() if isinstance(body, str) else bytes(body) or None

    def _message(self, queue: str) -> Any:
        """Read the message of a queue, and leave it there; None: there is none, also when looked for again."""
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                message = self._channel.basic_get(queue)
            except self._connection.channel_errors as error:
                if getattr(error, "reply_code", 0) != _ABSENT:
                    raise
                self._channel, self._listens = self._connection.channel(), False
                return None
            if message is not None:
                self._channel.basic_reject(message.delivery_tag, requeue=True)
                return message
        return None

    def _publish(self, queue: str, body: bytes, mandatory: bool = False, **properties: str) -> None:
        message = self._channel.prepare_message(body, content_type="application/json", properties=properties)
        self._channel.basic_publish(message, "", queue, mandatory=mandatory)

    def _wait(self, seconds: float) -> Any:
        """Return the next message that comes within so many seconds, or None."""
        until = time.monotonic() + seconds

        def drain() -> None:
            while not self._come and (left := until - time.monotonic()) > 0:
                try:
                    self._connection.drain_events(timeout=left)
                except TimeoutError:
                    return

        self._do(drain)
        return self._come.pop(0) if self._come else None

    def _do(self, work: Callable[[], Any]) -> Any:
        found, trouble = attempt(self._connection, lambda _: work())
        if trouble:
            raise BrokerError(self._where, trouble)
        return found
