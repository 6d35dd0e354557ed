"""The lease of beat in a RabbitMQ: a message that one consumer at a time is given, by the connection that sends.

Who has the message unacknowledged holds the lease. RabbitMQ gives it to the next one only when it has closed the
connection of the last one, and takes nothing by that any more. It closes one that has been silent for two to three
heartbeats.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from celeryfleet.worker.lease import WAIT, DeniedError, Lease

logger = get_logger(__name__)

#: AMQP's code of what a user may not do
_REFUSED = 403


class RabbitLease(Lease):
    """A lease by the scheduler's own connection; what was sent is told to those who stand by, and kept in a queue."""

    def __init__(self, scheduler: Any, fleet: str, host: str, seconds: float) -> None:
        self._scheduler, self._host = scheduler, host
        self._base = f"celeryfleet.{fleet}.beat"
        self._heartbeat = int(seconds / 3)
        #: RabbitMQ looks once each heartbeat, and closes what was silent at two looks
        self.lasts = 2.0 * self._heartbeat
        self._channel: Any = None
        #: delivery tags of the message that is the lease, and of that which says what was sent
        self._token: str | int | None = None
        self._kept: str | int | None = None
        #: when each entry was last sent, and whether we know what the holder before us has kept of it
        self._sent: dict[str, float] = {}
        self._resumed = False
        connection = scheduler.connection
        self.errors = (OSError, OperationalError, *connection.connection_errors, *connection.channel_errors)

    def take(self) -> bool:
        if self._channel is None:
            self._open()
        if self._token is None:  # wait a little for it
            with contextlib.suppress(TimeoutError):
                self._scheduler.connection.drain_events(timeout=WAIT)
        self._channel.queue_declare(self._base, passive=True)  # does the broker still know us?
        if self._resumed:
            self._tell()
        return self._token is not None

    def sent(self) -> Mapping[str, float]:
        message = self._channel.basic_get(f"{self._base}.sent")
        if message is not None:
            self._kept = message.delivery_tag
            with contextlib.suppress(ValueError, LookupError, TypeError):
                self._sent = dict(json.loads(message.body)["sent"])
        self._resumed = True
        self._tell()
        return self._sent

    def has_sent(self, name: str) -> None:
        if self._channel is not None:  # else none can be had
            self._sent[name] = round(time.time(), 3)
            self._tell()

    def let_go(self) -> None:
        self._channel = self._token = self._kept = None
        self._resumed = False
        self._scheduler.__dict__.pop("producer", None)
        connection = self._scheduler.__dict__.pop("connection", None)
        if connection is not None:  # without another word by it
            connection.collect(socket_timeout=0.1)

    def _open(self) -> None:
        connection = self._scheduler.connection = self._scheduler.app.connection_for_write(heartbeat=self._heartbeat)
        connection.connect()  # once: a channel would try for ever
        try:
            channel = connection.channel()
            channel.exchange_declare(self._base, "fanout", durable=True, auto_delete=False)
            durable = {self._base: {"x-single-active-consumer": True}, f"{self._base}.sent": {"x-max-length": 1}}
            for queue, arguments in durable.items():
                channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            news = channel.queue_declare("", exclusive=True, arguments={"x-max-length": 1}).queue
            for queue in (news, f"{self._base}.sent"):
                channel.queue_bind(queue, exchange=self._base)
        except connection.channel_errors as error:
            if getattr(error, "reply_code", 0) == _REFUSED:
                raise DeniedError(str(error)) from error
            raise
        self._channel = channel
        channel.basic_consume(news, no_ack=True, callback=self._hear)
        # Of messages that are the lease there may be many: their only consumer keeps one.
        self._publish("", self._base, {})
        channel.basic_consume(self._base, callback=self._be_given)

    def _be_given(self, message: Any) -> None:
        if self._token is not None:
            self._channel.basic_ack(self._token)
        self._token = message.delivery_tag

    def _hear(self, message: Any) -> None:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            self.holder = str(json.loads(message.body)["host"])

    def _tell(self) -> None:
        self._publish(self._base, "", {"host": self._host, "sent": self._sent})
        if self._kept is not None:
            self._channel.basic_ack(self._kept)
            self._kept = None

    def _publish(self, exchange: str, key: str, value: Mapping[str, object]) -> None:
        message = self._channel.prepare_message(json.dumps(value).encode(), properties={"delivery_mode": 2})
        self._channel.basic_publish(message, exchange, key)
