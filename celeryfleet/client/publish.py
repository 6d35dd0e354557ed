"""What may go wrong while a message is sent, told as a FleetError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.secrets import masked
from celeryfleet.spec.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from celery import Celery


@contextmanager
def publishing(app: Celery) -> Iterator[None]:
    """Turn an unknown queue, a lost broker and arguments that cannot travel into FleetErrors."""
    from celery.exceptions import QueueNotFound
    from kombu.exceptions import EncodeError, OperationalError

    try:
        yield
    except QueueNotFound as error:
        raise unknown_queue(app, str(error.args[0]).split("'")[1] if "'" in str(error) else str(error)) from error
    except EncodeError as error:
        raise FleetError(f"The arguments cannot be sent: {error}", hint="They travel as JSON.") from error
    except (OperationalError, OSError, *_lost(app)) as error:
        what = f"The broker {shown_url(app.conf.broker_write_url)} cannot be reached: {error}"
        raise FleetError(what, hint="`celeryfleet status` says how the fleet is.", code=Exit.BROKER) from error


def shown_url(url: str | Sequence[str] | None) -> str:
    """Return an URL, or several, without passwords."""
    return masked(url if isinstance(url, str) else ";".join(url or ()))


def unknown_queue(app: Any, name: str) -> FleetError:
    """Say that no queue has this name, and which there are."""
    queues = sorted(app.amqp.queues)
    hint = f"{did_you_mean(name, queues)} The fleet declares {listed(queues)}.".strip()
    return FleetError(f'No queue is called "{name}".', hint=hint)


def _lost(app: Any) -> tuple[type[BaseException], ...]:
    return tuple(getattr(app.backend, "connection_errors", ()))
