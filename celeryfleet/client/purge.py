"""Dropping queued messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeryfleet.plan.values import Plan


def purge(plan: Plan, queues: Sequence[str]) -> int:
    """Drop what waits in these queues, at every priority; return how many messages that were.

    What workers have already taken is theirs. Raises FleetError if the broker can't be reached.
    """
    from kombu import Connection

    options = plan.settings.get("broker_transport_options", {})
    dropped = 0
    with Connection(plan.broker.url, connect_timeout=3.0, transport_options=options) as connection:
        for name in queues:
            channel = connection.channel()
            try:
                dropped += channel.queue_purge(name) or 0
            except connection.channel_errors:
                continue  # RabbitMQ: it was never declared
            finally:
                channel.close()
    return dropped
