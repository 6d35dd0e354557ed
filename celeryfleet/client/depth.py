"""Depths by way of kombu, for brokers that the lean client does not speak to, and whether such a broker answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: seconds for a connection
TIMEOUT = 3.0


def reach(url: str) -> str:
    """Return why a broker can't be reached, without credentials; empty if it can."""
    from kombu import Connection

    connection = Connection(url, connect_timeout=TIMEOUT, transport_options={"max_retries": 0})
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=TIMEOUT)
    except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
        return str(error) or type(error).__name__
    finally:
        connection.release()
    return ""


def measure_by_declaring(status: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """Ask the broker of a supervisor's status for each queue's ready messages; return (depths, trouble).

    A passive declaration tells ready messages alone: not the unacknowledged ones, nor any age.
    """
    from kombu import Connection

    url = status["broker"]["url"]
    trouble = reach(url)
    if trouble:
        return None, trouble
    depths = {}
    with Connection(url, connect_timeout=TIMEOUT) as connection:
        for queue in status["queues"]:
            depths[queue["name"]] = {"ready": _ready(connection, queue["name"]), "unacked": None, "oldest_age_s": None}
    return depths, ""


def _ready(connection: Any, name: str) -> int:
    """Count a queue's ready messages; one that is not declared yet has none."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(name, passive=True).message_count)
    except connection.channel_errors:
        return 0
    finally:
        channel.close()
