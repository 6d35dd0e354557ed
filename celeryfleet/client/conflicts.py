"""What fleet.yaml declares and a RabbitMQ has otherwise, found by declaring it on channels that may break.

There is no way to ask for a definition over AMQP: the broker refuses one that differs, names the first difference and
closes the channel. So each queue is declared again with what the broker has said, until it agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celeryfleet.client.broker import attempt, opened
from celeryfleet.routing.conflicts import Conflict, Refusal, adopted, refusal
from celeryfleet.routing.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeryfleet.plan.values import Plan

#: differences of one queue that are looked for
_MOST = 20


def conflicts_of(plan: Plan, declare: bool = False) -> list[Conflict]:
    """Return what cannot be declared as a plan has it; nothing if its broker is no RabbitMQ, or cannot be reached."""
    if plan.broker.transport != "amqp":
        return []
    queues = [*plan.queues, *([Queue(plan.parked, "")] if declare else [])]
    with opened(plan.broker.url, plan.settings) as connection:
        found, _ = attempt(connection, lambda connection: found_on(connection, queues, declare))
    return found or []


def found_on(connection: Any, queues: Sequence[Queue], declare: bool = False) -> list[Conflict]:
    """Return what cannot be declared as these queues are, in their order; nothing is created.

    With `declare`, what is not there yet is created and bound, and refusals of that are conflicts, too.
    """
    broker = _Broker(connection)
    found: dict[tuple[str, str], Conflict] = {}
    for queue in queues:
        for conflict in broker.examine(queue, declare):
            found.setdefault((conflict.entity, conflict.name), conflict)
    return list(found.values())


class _Broker:
    """A connection with a channel on it, which is opened anew when the broker has closed it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel: Any = None
        #: (name, type) of exchanges known to be as declared
        self._agreed: set[tuple[str, str]] = set()

    def examine(self, queue: Queue, declare: bool) -> Iterator[Conflict]:
        """Declare one queue and its exchange; yield what differs."""
        exchange = (queue.exchange, queue.exchange_type)
        if queue.exchange and exchange not in self._agreed:
            conflict = self._exchange(queue, declare)
            if conflict:
                yield conflict
            else:
                self._agreed.add(exchange)
        conflict = self._queue(queue, declare)
        if conflict:
            yield conflict
        elif declare and queue.exchange and exchange in self._agreed:
            with self._trying() as refused:
                self._open().queue_bind(queue.name, queue.exchange, queue.routing_key, arguments=queue.headers)
            if refused:
                yield Conflict("queue", queue.name, queue.name, (), text=refused[0])

    def _exchange(self, queue: Queue, declare: bool) -> Conflict | None:
        name, kind = queue.exchange, queue.exchange_type
        if not declare and not self._is_there(lambda: self._open().exchange_declare(name, kind, passive=True)):
            return None
        with self._trying() as refused:
            self._open().exchange_declare(name, kind, durable=True, auto_delete=False)
        return self._told("exchange", name, queue.name, refused)

    def _queue(self, queue: Queue, declare: bool) -> Conflict | None:
        if not declare and not self._is_there(lambda: self._open().queue_declare(queue.name, passive=True)):
            return None
        arguments, refusals, text = dict(queue.arguments), list[Refusal](), ""
        for _ in range(_MOST):
            with self._trying() as refused:
                self._open().queue_declare(queue.name, durable=True, auto_delete=False, arguments=arguments)
            one = refusal(refused[0]) if refused else None
            if one is None or one in refusals:
                text = refused[0] if refused else ""
                break
            refusals.append(one)
            corrected = adopted(arguments, one)
            if corrected is None:
                break
            arguments = corrected
        if not refusals and not text:
            return None
        return Conflict("queue", queue.name, queue.name, tuple(refusals), self._depth(queue.name), text)

    def _told(self, entity: str, name: str, queue: str, refused: Sequence[str]) -> Conflict | None:
        if not refused:
            return None
        one = refusal(refused[0])
        return Conflict(entity, name, queue, (one,) if one else (), text=refused[0])

    def _depth(self, name: str) -> int | None:
        with self._trying():
            return int(self._open().queue_declare(name, passive=True).message_count)
        return None

    def _is_there(self, ask: Callable[[], Any]) -> bool:
        """Tell whether something exists; what the broker refuses to show does."""
        from amqp.exceptions import NotFound

        try:
            ask()
        except NotFound:
            self._channel = None
            return False
        except self._connection.channel_errors:
            self._channel = None
        return True

    def _open(self) -> Any:
        if self._channel is None:
            self._channel = self._connection.channel()
        return self._channel

    @contextmanager
    def _trying(self) -> Iterator[list[str]]:
        """Collect why the broker refused, and go on with a new channel."""
        refused: list[str] = []
        try:
            yield refused
        except self._connection.channel_errors as error:
            refused.append(getattr(error, "reply_text", None) or str(error))
            self._channel = None
