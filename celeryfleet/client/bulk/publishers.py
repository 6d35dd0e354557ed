"""What the ways of publishing in batches share, and the plain one for all brokers.

A batch publisher lets Celery build messages on its connection, adds copies of them, and hands them over in batches:
one is on its way while the next is being built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from kombu import Producer

from celeryfleet.client.bulk.template import Message, Payload, Template
from celeryfleet.errors import Exit, FleetError

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
HINT = "`celeryfleet status` says how the fleet is."


class BatchError(FleetError):
    """A batch could not be handed over."""

    def __init__(
        self, what: str, hint: str = HINT, code: Exit = Exit.BROKER, unsure: bool = True, refused: Sequence[str] = ()
    ) -> None:
        super().__init__(what, hint=hint, code=code)
        #: whether the broker may have some of the batch all the same
        self.unsure = unsure
        #: ids of those that it has not; it has all others
        self.refused = frozenset(refused)


class BatchPublisher:
    """A way to the broker. This one publishes each message as Celery does, when it is built."""

    #: why messages cannot be copied; empty: they can
    reason = "only Redis and RabbitMQ (py-amqp) take many messages at once"
    #: kombu's transports that it is for
    transports: ClassVar[tuple[type, ...]] = ()

    def __init__(self, app: Celery, producer: Any) -> None:
        self._app = app
        self._producer = producer
        self._built: list[Message] = []
        #: bytes in the batch, about
        self.size = 0
        #: whether a queue was bound, so that messages like those before may go elsewhere, too
        self.rebound = False

    def build(self, publish: Publish) -> tuple[str, list[Message]]:
        """Have Celery build a message; return the task's id, and what is in the batch now: nothing if it is sent."""
        self._built = []
        return publish(self._producer), self._built

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

    def close(self) -> None:
        """Give up what is open besides the connection."""


class Recording(Producer):  # type: ignore[misc]
    """Celery's producer, but that it notes what a message was before it was encoded."""

    #: makes a Message of the one that is being published
    message: partial[Message]

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish as kombu does."""
        declared, exchange = options.get("declare"), options.get("exchange")
        self.message = partial(
            Message,
            content=body,
            serializer=options.get("serializer"),
            compression=options.get("compression"),
            queue=str(declared[0].name if declared else getattr(exchange, "name", exchange) or ""),
        )
        return super().publish(body, **options)
