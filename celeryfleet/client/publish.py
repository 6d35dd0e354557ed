"""What may go wrong while a message is sent, told as a FleetError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celeryfleet.client import seam
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.secrets import masked
from celeryfleet.routing import conflicts
from celeryfleet.routing.queue import unknown
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celery import Celery

#: AMQP's reply code for a mandatory message that reaches no queue
_NO_ROUTE = 312


@dataclass(slots=True)
class Letter:
    """The message that was published last."""

    task: str = ""
    exchange: str = ""
    routing_key: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    #: queues that were declared for it
    declared: tuple[str, ...] = ()


@contextmanager
def publishing(app: Celery) -> Iterator[Letter]:
    """Turn an unknown queue, a lost broker, what a RabbitMQ refuses and what cannot travel into FleetErrors."""
    from amqp.exceptions import ChannelError
    from celery.exceptions import QueueNotFound
    from celery.signals import before_task_publish
    from kombu.exceptions import EncodeError, OperationalError

    letter = Letter()

    def on_publish(sender: str, exchange: Any, routing_key: str, headers: Any, declare: Any = (), **_: Any) -> None:
        letter.task, letter.exchange = sender, getattr(exchange, "name", exchange) or ""
        letter.routing_key, letter.headers = routing_key or "", dict(headers or {})
        letter.declared = tuple(queue.name for queue in declare or ())

    before_task_publish.connect(on_publish, weak=False)  # a broker returns a message without a word on which it was
    try:
        yield letter
    except ChannelError as error:
        raise _refused(app, error, letter) from error
    except QueueNotFound as error:
        raise unknown(seam.unknown_queue(error), app.amqp.queues) from error
    except EncodeError as error:
        raise FleetError(f"The arguments cannot be sent: {error}", hint="They travel as JSON.") from error
    except (OperationalError, OSError, *getattr(app.backend, "connection_errors", ())) as error:
        if seam.is_nack(error):
            raise _full(letter) from error
        what = f"The broker {shown_url(app.conf.broker_write_url)} cannot be reached: {error}"
        raise FleetError(what, hint="`celeryfleet status` says how the fleet is.", code=Exit.BROKER) from error
    finally:
        before_task_publish.disconnect(on_publish)


def shown_url(url: str | Sequence[str] | None) -> str:
    """Return an URL, or several, without passwords."""
    return masked(url if isinstance(url, str) else ";".join(url or ()))


def check_queue(app: Any, queue: str) -> None:
    """Raise FleetError for a queue that the app does not know, and would not create."""
    if queue not in app.amqp.queues and not app.conf.task_create_missing_queues:
        raise unknown(queue, app.amqp.queues)


# --- What a RabbitMQ refuses ------------------------------------------------------------------------------


def _refused(app: Any, error: Exception, letter: Letter) -> FleetError:
    """Say why a RabbitMQ does not take a message."""
    from amqp.exceptions import NotFound, PreconditionFailed

    if isinstance(error, PreconditionFailed):
        found = _conflicts(app)
        if found:
            return conflicts.error(found)
    if getattr(error, "reply_code", None) == _NO_ROUTE:
        table = RoutingTable.of(app)
        place = table.addressed(letter.exchange, letter.routing_key, letter.headers)
        what = f"{letter.task} is not sent: no queue takes what goes to {place}."
        return FleetError(what, hint=_UNWANTED if table.type_of(letter.exchange) == "headers" else _UNBOUND)
    if isinstance(error, NotFound) and letter.exchange:
        what = f'{letter.task} is not sent: the broker has no exchange "{letter.exchange}".'
        return FleetError(what, hint="`celeryfleet up` declares those of fleet.yaml: give one of its queues this one.")
    text = getattr(error, "reply_text", None) or str(error)
    return FleetError(
        f"{letter.task} is not sent: the broker {shown_url(app.conf.broker_write_url)} refuses it: {text}.",
        hint="May this user configure and write to the queues of fleet.yaml?",
    )


def _full(letter: Letter) -> FleetError:
    """Say that a queue refuses more than its max_length."""
    queue = f'the queue "{letter.routing_key}"'
    if letter.exchange:
        queue = f'a queue that the exchange "{letter.exchange}" gives "{letter.routing_key}" to'
    what = f"{letter.task} is not sent: {queue} is full, and refuses messages (x-overflow: reject-publish)."
    return FleetError(what, hint="`celeryfleet queues` shows how much waits.", code=Exit.FAILURE)


_UNBOUND = "Give a queue of fleet.yaml that exchange and a matching routing_key."
_UNWANTED = (
    "Give a queue of fleet.yaml that exchange and matching headers: a text, a number and a boolean are never the same."
)


def _conflicts(app: Any) -> list[conflicts.Conflict]:
    """Look for all queues that the broker has otherwise than the app, not only the one that was sent to."""
    from celeryfleet.client.conflicts import found_on

    with app.connection_for_write() as connection:
        return found_on(connection, RoutingTable.of(app).queues)
