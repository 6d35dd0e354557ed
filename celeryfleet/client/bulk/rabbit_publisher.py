"""Many messages to RabbitMQ: on one channel that confirms them, a batch at a time instead of one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import amqp
from kombu.transport import pyamqp as transport

from celeryfleet.client.bulk.publishers import PATIENCE, BatchError, BatchPublisher, Copy, Recording
from celeryfleet.client.bulk.template import MARKS, Payload, Template
from celeryfleet.errors import Exit
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

#: message, exchange, routing key, and whether it has to reach a queue
Letter: TypeAlias = tuple[Any, str, str, bool]
_BLOCKED = "RabbitMQ is short of memory or disk and lets nobody publish; its log and management page say which."
_NACKED = "a queue is full, and refuses messages (x-overflow: reject-publish)"


class RabbitPublisher(BatchPublisher):
    """A batch publisher to RabbitMQ."""

    reason = ""
    transports = (transport.Transport,)

    def __init__(self, app: Celery, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.channel()
        super().__init__(app, Recording(self._channel))
        self._channel.confirm_select()
        self._channel.basic_publish = self._take
        self._channel.events["basic_ack"].add(self._answered)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)
        connection.connection.on_blocked = self._on_blocked
        self._batch: list[Letter] = []
        #: how many were ever published on the channel, which numbers them
        self._count = 0
        #: the numbers of those on their way → the ids of their tasks; of an event, nothing
        self._open: dict[int, str] = {}
        #: ids of tasks that the broker has not taken, and why
        self._refused: dict[str, str] = {}
        self._blocked = False

    def _take(self, message: Any, exchange: str = "", routing_key: str = "", mandatory: bool = False, **_: Any) -> None:
        """Stand in for `channel.basic_publish`. A task has to reach a queue; an event need not."""
        properties = dict(message.properties)
        headers = properties.pop("application_headers", None) or {}
        target = (exchange, routing_key, mandatory or "task" in headers)
        self._add((message, *target))
        parts = {"headers": headers, "properties": properties, "body": message.body}
        self._built.append(self._producer.message(**parts, target=target))

    def _add(self, letter: Letter) -> None:
        self._batch.append(letter)
        self.size += len(letter[0].body)

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message to the batch."""
        exchange, routing_key, mandatory = template.message.target
        headers, properties = template.headers, template.properties
        own_headers, own_properties = _slots(headers), _slots(properties)

        def copy(payload: Payload, task_id: str, tag: str, sent: float) -> None:
            values = {"id": task_id, "args": payload.args, "kwargs": payload.kwargs, "sent": sent, "tag": tag}
            these = {**headers, **{name: values[slot] for name, slot in own_headers}}
            given = {**properties, **{name: values[slot] for name, slot in own_properties}}
            message = amqp.Message(payload.body, application_headers=these, **given)
            self._add((message, exchange, routing_key, mandatory))

        return copy

    # --- Batches ------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Publish the batch."""
        batch, self._batch, self.size = self._batch, [], 0
        self._refused = {}
        with self._lost():
            for message, exchange, routing_key, mandatory in batch:
                self._count += 1
                self._open[self._count] = message.properties.get("correlation_id") or ""
                # the channel's own method may wait for each confirm, as `confirm_publish` has it
                transport.Channel.basic_publish(self._channel, message, exchange, routing_key, mandatory=mandatory)

    def settle(self) -> None:
        """Wait for the confirms."""
        with self._lost():
            while self._open:
                self._connection.drain_events(timeout=PATIENCE)
        if self._refused:
            why = next(iter(self._refused.values()))
            code, hint = Exit.USAGE, "Bind a queue to that exchange with a matching routing_key."
            if why == _NACKED:
                code, hint = Exit.FAILURE, "`celeryfleet queues` shows how much waits."
            raise BatchError(why, hint, code, unsure=False, refused=tuple(self._refused))

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            raise BatchError(_BLOCKED if self._blocked else f"it has answered nothing for {PATIENCE:g} s") from error
        except self._connection.channel_errors as error:
            what = getattr(error, "reply_text", None) or str(error)
            raise BatchError(f"it closed the channel: {what}", code=Exit.USAGE) from error
        except self._connection.connection_errors as error:
            reason = _BLOCKED if self._blocked else str(error) or type(error).__name__
            raise BatchError(f"it was lost: {reason}") from error

    # --- What the broker says -----------------------------------------------------------------------------

    def _on_nack(self, number: int, multiple: bool) -> None:
        for task_id in filter(None, self._answered(number, multiple)):
            self._refused.setdefault(task_id, _NACKED)

    def _answered(self, number: int, multiple: bool) -> list[str]:
        """Strike out what is answered; return the ids."""
        numbers = [one for one in self._open if one <= number] if multiple else [number]
        return [self._open.pop(one) for one in numbers if one in self._open]

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        headers = message.properties.get("application_headers") or {}
        where = RoutingTable.of(self._app).addressed(exchange, routing_key, headers)
        self._refused[message.properties.get("correlation_id") or ""] = f"no queue takes what goes to {where}"

    def _on_blocked(self, *_: Any) -> None:
        self._blocked = True


def _slots(values: Any) -> list[tuple[str, str]]:
    """Return the names of those values that each message has of its own, and which these are."""
    slots = {mark: slot for slot, mark in MARKS.items()}
    return [(name, slots[value]) for name, value in values.items() if isinstance(value, str) and value in slots]
