"""Dropping queued messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeryfleet.plan.values import Plan


def purge(plan: Plan, queues: Sequence[str]) -> int:
    """Drop what waits in these queues, at every priority; return how many messages that were.

    What workers have already taken is theirs. Raises FleetError if the broker can't be reached.
    """
    from kombu import Connection
    from kombu.exceptions import OperationalError

    options = plan.settings.get("broker_transport_options", {})
    dropped = 0
    with Connection(plan.broker.url, connect_timeout=3.0, transport_options=options) as connection:
        try:
            for name in queues:
                dropped += _purge(connection, name)
        except (*connection.connection_errors, OperationalError) as error:
            what = f"the broker {plan.broker.shown} is lost while queues are purged: {error}"
            raise FleetError(what, hint=f"{dropped} were dropped until then.", code=Exit.BROKER) from None
    return dropped


def _purge(connection: Any, name: str) -> int:
    channel = connection.channel()
    try:
        return int(channel.queue_purge(name) or 0)
    except connection.channel_errors as error:
        if getattr(error, "reply_code", 404) == 404:
            return 0  # RabbitMQ: it was never declared
        raise FleetError(f'the queue "{name}" can\'t be purged: {error}.', code=Exit.FAILURE) from None
    finally:
        channel.close()
