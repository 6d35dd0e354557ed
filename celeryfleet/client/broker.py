"""A broker by way of kombu: whether it answers, how deep its queues are where no Redis tells, and purging them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from celeryfleet.app.objects import celery_objects
from celeryfleet.endpoint import Refusal, explained_tls
from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan

from celeryfleet.protocol import CONNECTING, Backlog, Depths

#: seconds for a connection
TIMEOUT = 3.0
#: kombu's words for the settings that say how to connect
_WORDS = {key: "ssl" if key == "broker_use_ssl" else key.removeprefix("broker_") for key in CONNECTING}


def opened(url: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a connection that gives up soon; `settings` are the fleet's, for TLS and its like."""
    from kombu import Connection

    ours = {key: value for key, value in (settings or {}).items() if key in _WORDS and value is not None}
    given = deepcopy(celery_objects(ours))  # kombu writes into the options of TLS
    return Connection(url, connect_timeout=TIMEOUT, **{_WORDS[key]: value for key, value in given.items()})


def reach(url: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return why a broker can't be reached, without credentials; empty if it can. `settings` are as in `opened`."""
    with opened(url, settings) as connection:
        return attempt(connection, lambda connection: None)[1]


def attempt(connection: Any, ask: Callable[[Any], Any]) -> tuple[Any, str]:
    """Ask something of a connection, once it is open; return the answer, or None and why there is none."""
    from kombu.exceptions import OperationalError

    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=TIMEOUT)
        return ask(connection), ""
    except (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError) as error:
        return None, _told(connection, error)


def _told(connection: Any, error: BaseException) -> str:
    """Say where there is no connection, if that is a host, and why."""
    where = connection.info()
    place = f"{where['hostname']}:{where['port']}: " if where["hostname"] and where["port"] else ""
    reason = _reason(error)
    return type(reason)(f"{place}{reason}")


def _reason(error: BaseException) -> str:
    """Say in a user's words why there is no connection."""
    text = str(error) or type(error).__name__
    if "ACCESS_REFUSED" in text:
        return Refusal("it refuses the user or the password")
    vhost = re.search(r"vhost '?(.+?)'? not found|access to vhost '(.+?)' refused", text)
    if vhost:
        lacks, denies = f'it has no virtual host "{vhost[1]}"', f'the user may not use its virtual host "{vhost[2]}"'
        return Refusal(lacks if vhost[1] else denies)
    if text == "timed out":
        return f"it does not answer within {TIMEOUT:g} s"
    return explained_tls(text) or re.sub(r"^\[Errno -?\d+\] ", "", text)


def measure_by_declaring(backlog: Backlog) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """Ask the broker for each queue's ready messages; return (depths, trouble).

    A passive declaration tells ready messages alone: not the unacknowledged ones, nor any age.
    """
    with closing(Counting()) as counting:
        told = counting.count(backlog)
    if told.trouble:
        return None, told.trouble
    return {name: {"ready": count, "unacked": None, "oldest_age_s": None} for name, count in told.ready.items()}, ""


def ready(connection: Any, names: Sequence[str]) -> dict[str, int]:
    """Count each queue's ready messages; one that is not declared yet has none, and costs the channel."""
    found = {}
    with ExitStack() as open_channel:
        channel = None
        for name in names:
            channel = channel or open_channel.enter_context(connection.channel())
            try:
                found[name] = int(channel.queue_declare(name, passive=True).message_count)
            except connection.channel_errors as error:
                if getattr(error, "reply_code", 404) != 404:
                    raise
                open_channel.close()
                found[name], channel = 0, None
    return found


class Counting:
    """Counts ready messages again and again, by a connection that is kept as long as it lasts."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._to: object = None

    def count(self, backlog: Backlog) -> Depths:
        """Count each queue's ready messages, or say why that can't be done."""
        if self._to != (backlog.url, backlog.settings):
            self.close()
            self._connection, self._to = opened(backlog.url, backlog.settings), (backlog.url, backlog.settings)
        names = [queue["name"] for queue in backlog.queues]
        found, trouble = attempt(self._connection, lambda connection: ready(connection, names))
        if trouble:
            self.close()
        return Depths(found or {}, trouble)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.release()
        self._connection = self._to = None


def purge(plan: Plan, queues: Sequence[str]) -> int:
    """Drop what waits in these queues, at every priority; return how many messages that were.

    What workers have already taken is theirs. Raises FleetError if the broker can't be reached.
    """
    from kombu.exceptions import OperationalError

    dropped = 0
    with opened(plan.broker.url, plan.settings) as connection:
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
