"""How an app of a fleet publishes: what nobody would take is an error on RabbitMQ, and exchanges are there before."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from amqp import spec
from amqp.exceptions import ChannelError
from celery.app.amqp import AMQP
from kombu.utils.functional import ChannelPromise

from celeryfleet.routing.table import RoutingTable

#: seconds in which the confirm of a message that has come back is there; RabbitMQ sends them together
_CONFIRM = 3.0


class Publisher(AMQP):  # type: ignore[misc]
    """Celery's own, but that messages are mandatory where publishes are confirmed.

    Without confirms the broker's answer would come too late, and be raised by the next, innocent publish.
    """

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()
        confirmed = bool((self.app.conf.broker_transport_options or {}).get("confirm_publish"))

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if confirmed:
                self._listen(producer)
                options = {"mandatory": True, **options}
            if options.get("exchange") and options.get("declare") is None:
                options["declare"] = self._behind(options["exchange"], options.get("queue"))
            return send(producer, name, message, **options)

        return send_task_message

    def _listen(self, producer: Any) -> None:
        """Have what comes back raised, unless somebody else listens for it."""
        producer.on_return = producer.on_return or partial(self._returned, producer)
        # kombu hands it to channels that it opens from now on; a result backend may have had it open one before
        listeners = () if isinstance(producer._channel, ChannelPromise) else producer._channel.events["basic_return"]
        if isinstance(listeners, set) and not listeners:
            listeners.add(producer.on_return)

    def _returned(self, producer: Any, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        """Raise what RabbitMQ gives back, named: its words are `(312) NO_ROUTE`, and Celery shows them as they are."""
        with suppress(TimeoutError):  # it is confirmed as well; unread, that would meet the channel while it closes
            producer.channel.wait([spec.Basic.Ack, spec.Basic.Nack], timeout=_CONFIRM)
        headers = message.headers or {}
        where = RoutingTable.of(self.app).addressed(exchange, routing_key, headers)
        text = f"{error.reply_text}: no queue takes {headers.get('task', 'a message')}, which goes to {where}"
        raise ChannelError(text, error.method_sig, error.method_name, error.reply_code)

    def _behind(self, exchange: Any, queue: Any) -> list[Any] | None:
        """Return what a send to an exchange must find declared: on Redis kombu drops what it gets before."""
        name = getattr(exchange, "name", exchange)
        found = [one for one in self.queues.values() if one.exchange.name == name]
        return [*found, *([queue] if queue is not None and queue not in found else [])] or None
