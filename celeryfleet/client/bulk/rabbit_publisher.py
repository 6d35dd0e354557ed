"""Many messages to RabbitMQ: on one channel that confirms them, a batch at a time instead of one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import amqp
from kombu.transport import pyamqp as transport

from celeryfleet.client.bulk.publishers import PATIENCE, BatchError, BatchPublisher, Copy, Publish, Recording
from celeryfleet.client.bulk.template import MARKS, Made, Payload, Template
from celeryfleet.errors import Exit
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

#: message, exchange, routing key, and whether it has to reach a queue
Letter: TypeAlias = tuple[Any, str, str, bool]
_HINT = "`celeryfleet status` says how the fleet is."
_BLOCKED = "RabbitMQ is short of memory or disk and lets nobody publish; its log and management page say which."


class RabbitPublisher(BatchPublisher):
    """A batch publisher to RabbitMQ."""

    reason = ""

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
        self._made: list[Made] = []
        self._batch: list[Letter] = []
        #: how many were ever published on the channel, which numbers them
        self._count = 0
        #: the numbers of those on their way → the ids of their tasks
        self._open: dict[int, str] = {}
        #: ids of tasks that the broker has not taken, and why
        self._refused: dict[str, str] = {}
        self._blocked = False

    @staticmethod
    def fits(connection: Connection) -> bool:
        """Tell whether a connection is one by py-amqp and kombu's own code."""
        return type(connection.transport) is transport.Transport

    @classmethod
    @contextmanager
    def on(cls, app: Celery, connection: Connection) -> Iterator[RabbitPublisher]:
        """Open a publisher on a connection, which ends with it."""
        yield cls(app, connection)

    def make(self, publish: Publish) -> tuple[str, list[Made]]:
        """Have Celery make a message, into the batch."""
        self._made = []
        return publish(self._producer), self._made

    def _take(self, message: Any, exchange: str = "", routing_key: str = "", mandatory: bool = False, **_: Any) -> None:
        """Stand in for `channel.basic_publish`. A task has to reach a queue; an event need not."""
        properties = dict(message.properties)
        headers = properties.pop("application_headers", None) or {}
        letter = (message, exchange, routing_key, mandatory or "task" in headers)
        self._add(letter)
        self._made.append(self._producer.made(headers, properties, message.body, letter[1:], None))

    def _add(self, letter: Letter) -> None:
        self._batch.append(letter)
        self.size += len(letter[0].body)

    # --- Copies -------------------------------------------------------------------------------------------

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message to the batch."""
        exchange, routing_key, mandatory = template.made.target
        headers, properties = template.headers, template.properties
        slots = {mark: slot for slot, mark in MARKS.items()}
        own_headers = [(name, slots[value]) for name, value in headers.items() if _is_mark(value)]
        own_properties = [(name, slots[value]) for name, value in properties.items() if _is_mark(value)]

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
            code = Exit.FAILURE if why == _NACKED else Exit.USAGE
            raise BatchError(why, _REMEDIES[why == _NACKED], code, unsure=False, refused=tuple(self._refused))

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            what = _BLOCKED if self._blocked else f"it has answered nothing for {PATIENCE:g} s"
            raise BatchError(what, _HINT, Exit.BROKER) from error
        except self._connection.channel_errors as error:
            what = getattr(error, "reply_text", None) or str(error)
            raise BatchError(f"it closed the channel: {what}", _HINT, Exit.USAGE) from error
        except self._connection.connection_errors as error:
            reason = _BLOCKED if self._blocked else str(error) or type(error).__name__
            raise BatchError(f"it was lost: {reason}", _HINT, Exit.BROKER) from error

    # --- What the broker says -----------------------------------------------------------------------------

    def _on_nack(self, number: int, multiple: bool) -> None:
        for task_id in self._answered(number, multiple):
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


_NACKED = "a queue is full, and refuses messages (x-overflow: reject-publish)"
_REMEDIES = {
    True: "`celeryfleet queues` shows how much waits.",
    False: "Bind a queue to that exchange with a matching routing_key.",
}


def _is_mark(value: object) -> bool:
    return isinstance(value, str) and value in MARKS.values()
