"""What the ways of publishing in batches share, and the plain one for all brokers.

A batch publisher lets Celery make messages on its connection, adds copies of them, and hands them over in batches:
one is on its way while the next is being made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from kombu import Producer

from celeryfleet.client.bulk.template import Made, Payload, Template
from celeryfleet.errors import Exit

if TYPE_CHECKING:
    from celery import Celery

#: has Celery publish a message by a producer; returns the task's id
Publish: TypeAlias = Callable[[Any], str]
#: adds a message to the batch: its arguments, id, delivery tag, and when it is sent
Copy: TypeAlias = Callable[[Payload, str, str, float], None]
#: adds messages to the batch: their ids, their delivery tags, and when they are sent
Repeat: TypeAlias = Callable[[Sequence[str], Sequence[str], float], None]
#: seconds for the broker to answer
PATIENCE = 60.0


class BatchError(Exception):
    """A batch could not be handed over."""

    def __init__(self, what: str, hint: str, code: Exit, unsure: bool = True, refused: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code
        #: whether the broker may have some of the batch all the same
        self.unsure = unsure
        #: ids of those that it has not; it has all others
        self.refused = tuple(refused)


class BatchPublisher:
    """A way to the broker. This one publishes each message as Celery does, when it is made."""

    #: why messages cannot be copied; empty: they can
    reason = "only Redis and RabbitMQ (py-amqp) take many messages at once"

    def __init__(self, app: Celery, producer: Any) -> None:
        self._app = app
        self._producer = producer
        #: bytes in the batch, about
        self.size = 0

    def make(self, publish: Publish) -> tuple[str, list[Made]]:
        """Have Celery make a message; return the task's id, and what can be copied."""
        return publish(self._producer), []

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message made of a template to the batch, if that can be done."""
        raise NotImplementedError

    def repeater(self, template: Template, payload: Payload) -> Repeat:
        """Return what adds messages with the same arguments to the batch; the template is one that can be copied."""
        copy = self.copier(template)
        assert copy is not None

        def repeat(ids: Sequence[str], tags: Sequence[str], sent: float) -> None:
            for task_id, tag in zip(ids, tags, strict=True):
                copy(payload, task_id, tag, sent)

        return repeat

    def send(self) -> None:
        """Hand the batch over, without waiting. Raises BatchError."""

    def settle(self) -> None:
        """Wait until the broker has what was sent. Raises BatchError."""


class Recording(Producer):  # type: ignore[misc]
    """Celery's producer, but that it notes what a message was before it was encoded."""

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as kombu does."""
        self.content = body
        self.serializer, self.compression = options.get("serializer"), options.get("compression")
        declared, exchange = options.get("declare"), options.get("exchange")
        self.queue = str(declared[0].name if declared else getattr(exchange, "name", exchange) or "")
        return super().publish(body, **options)

    def made(self, headers: Any, properties: Any, body: Any, target: tuple[Any, ...], raw: Any) -> Made:
        """Say what was published last."""
        return Made(
            str(properties.get("correlation_id")),
            headers,
            properties,
            self.content,
            body,
            self.serializer,
            self.compression,
            target,
            self.queue,
            raw,
        )
