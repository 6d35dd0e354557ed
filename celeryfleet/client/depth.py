"""Depths by way of kombu, for brokers that the lean client does not speak to, and whether such a broker answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: seconds for a connection
TIMEOUT = 3.0


def opened(url: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a connection that gives up soon; `settings` are the fleet's, for TLS and its like."""
    from kombu import Connection

    given = settings or {}
    ours = {
        "ssl": given.get("broker_use_ssl"),
        "login_method": given.get("broker_login_method"),
        "transport": given.get("broker_transport"),
    }
    return Connection(url, connect_timeout=TIMEOUT, **{key: value for key, value in ours.items() if value is not None})


def reach(url: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return why a broker can't be reached, without credentials; empty if it can. `settings` are as in `opened`."""
    from kombu.exceptions import OperationalError

    connection = opened(url, settings)
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=TIMEOUT)
    except (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError) as error:
        return _told(connection, error)
    finally:
        connection.release()
    return ""


def _told(connection: Any, error: BaseException) -> str:
    """Say where there is no connection, if that is a host, and why."""
    where = connection.info()
    place = f"{where['hostname']}:{where['port']}: " if where["hostname"] and where["port"] else ""
    return f"{place}{_reason(error)}"


def _reason(error: BaseException) -> str:
    """Say in a user's words why there is no connection."""
    text = str(error) or type(error).__name__
    if "ACCESS_REFUSED" in text:
        return "it refuses the user or the password"
    vhost = re.search(r"vhost '?(.+?)'? not found|access to vhost '(.+?)' refused", text)
    if vhost:
        return (
            f'it has no virtual host "{vhost[1]}"'
            if vhost[1]
            else f'the user may not use its virtual host "{vhost[2]}"'
        )
    if text == "timed out":
        return f"it does not answer within {TIMEOUT:g} s"
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak TLS on this port"
    return re.sub(r"^\[Errno -?\d+\] ", "", text)


def measure_by_declaring(status: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """Ask the broker of a supervisor's status for each queue's ready messages; return (depths, trouble).

    A passive declaration tells ready messages alone: not the unacknowledged ones, nor any age.
    """
    from kombu.exceptions import OperationalError

    connection = opened(status["broker"]["url"])
    names = [queue["name"] for queue in status["queues"]]
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=TIMEOUT)
        ready = _ready(connection, names)
    except (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError) as error:
        return None, _told(connection, error)
    finally:
        connection.release()
    return {name: {"ready": ready[name], "unacked": None, "oldest_age_s": None} for name in names}, ""


def _ready(connection: Any, names: Sequence[str]) -> dict[str, int]:
    """Count each queue's ready messages; one that is not declared yet has none, and costs the channel."""
    ready, channel = {}, None
    for name in names:
        channel = channel or connection.channel()
        try:
            ready[name] = int(channel.queue_declare(name, passive=True).message_count)
        except connection.channel_errors as error:
            if getattr(error, "reply_code", 404) != 404:
                raise
            ready[name], channel = 0, None
    return ready
