"""Messages that workers have set aside, since their tasks ended or hung them again and again: shown, and sent again.

They lie in a queue of the broker's (`<fleet>.failed`) with all that they had, and with a header that says where they
came from and why they are there.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.depths import lists
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import PARKED_HEADER, PARKED_PROPERTIES
from celeryfleet.redis_client import BrokerError, Connection, ReplyError, connect, explain

if TYPE_CHECKING:
    from celeryfleet.plan.values import BrokerPlan, Plan


@dataclass(frozen=True, slots=True)
class Parked:
    """One message that was set aside."""

    id: str
    task: str
    #: where it came from
    queue: str
    priority: int
    worker: str
    #: unix seconds
    at: float
    error: str

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> Parked:
        """Read it from a message's headers. Raises ValueError if a worker has not written them."""
        try:
            about = headers[PARKED_HEADER]
            return cls(
                id=str(headers["id"]),
                task=str(headers["task"]),
                queue=str(about["queue"]),
                priority=int(about["priority"]),
                worker=str(about["worker"]),
                at=float(about["at"]),
                error=str(about["error"]),
            )
        except (LookupError, TypeError) as error:
            raise ValueError(f"no worker has parked this message: {error!r}") from None

    @property
    def report(self) -> dict[str, Any]:
        """Return what `failed --json` shows of it; it has not run to its end, so there are no times."""
        times = {"wait_s": None, "runtime_s": None}
        shown = {"id": self.id, "task": self.task, "queue": self.queue, "worker": self.worker, "at": self.at}
        return {**shown, **times, "error": self.error, "retried_as": None}


def found(plan: Plan) -> list[Parked]:
    """Return all that is parked, oldest first. Raises FleetError if the broker can't be asked."""
    return _asked(plan, lambda parked: False)


def retry(plan: Plan, wanted: Callable[[Parked], bool]) -> list[Parked]:
    """Send again what is wanted, each to the queue it came from, as the message it was; return those, oldest first.

    Each is moved in one step, or is there twice if we are killed in between, but never nowhere. Raises FleetError.
    """
    return [parked for parked in _asked(plan, wanted) if wanted(parked)]


def _asked(plan: Plan, wanted: Callable[[Parked], bool]) -> list[Parked]:
    try:
        if plan.broker.transport == "redis":
            with connect(plan.broker.url, settings=plan.settings) as connection:
                return _on_redis(connection, plan, wanted)
        return _by_kombu(plan, wanted)
    except BrokerError as error:
        raise FleetError(f"the broker {plan.broker.shown} cannot be asked: {error.reason}.", code=Exit.BROKER) from None


# --- Redis ------------------------------------------------------------------------------------------------


def _on_redis(connection: Connection, plan: Plan, wanted: Callable[[Parked], bool]) -> list[Parked]:
    """Read the list, and move what is wanted, all at once; anew if somebody else changes it meanwhile."""
    prefix = plan.broker.key_prefix
    key = prefix + plan.parked
    while True:
        connection.call("WATCH", key)
        raw = connection.call("LRANGE", key, 0, -1)
        texts = raw[::-1] if isinstance(raw, list) else []
        all_of_it = list(_read(texts))
        moves = [(text, parked, message) for text, parked, message in all_of_it if wanted(parked)]
        commands: list[list[Any]] = [["MULTI"]]
        for text, parked, message in moves:
            target = prefix + _list(plan.broker, parked.queue, parked.priority)
            commands += [["LREM", key, -1, text], ["LPUSH", target, json.dumps(_as_it_was(message, parked))]]
        *refused, done = connection.pipeline([*commands, ["EXEC"]])
        for reply in [*refused, done]:
            if isinstance(reply, ReplyError):
                raise BrokerError(connection.where, explain(reply))
        if done is not None:
            return [parked for _, parked, _ in all_of_it]


def _read(texts: list[Any]) -> Iterator[tuple[Any, Parked, dict[str, Any]]]:
    for text in texts:
        try:
            message = json.loads(text)
            yield text, Parked.of(message["headers"]), message
        except (ValueError, LookupError, TypeError):
            continue  # somebody else's: it is left where it is


def _list(broker: BrokerPlan, queue: str, priority: int) -> str:
    """Name the list in which kombu would put a message."""
    return lists({"steps": broker.steps, "sep": broker.sep}, queue)[bisect(broker.steps, priority) - 1]


def _as_it_was(message: dict[str, Any], parked: Parked) -> dict[str, Any]:
    """Return a message as it was when it was first sent, but straight to its queue."""
    headers = {name: value for name, value in message["headers"].items() if name not in (PARKED_HEADER, "redelivered")}
    delivery = {"exchange": "", "routing_key": parked.queue}
    properties = {**message["properties"], "priority": parked.priority, "delivery_info": delivery}
    return {**message, "headers": headers, "properties": properties}


# --- Others -----------------------------------------------------------------------------------------------


def _by_kombu(plan: Plan, wanted: Callable[[Parked], bool]) -> list[Parked]:
    """Take message after message and acknowledge those that were sent again; the broker keeps the others."""
    from kombu import Queue

    from celeryfleet.client.broker import opened

    seen = []
    with opened(plan.broker.url, plan.settings) as connection:
        try:
            queue = Queue(plan.parked, channel=connection.channel())
            for _ in range(queue.queue_declare(passive=True).message_count):
                message = queue.get()
                if message is None:
                    break
                try:
                    parked = Parked.of(message.headers)
                except ValueError:
                    continue  # somebody else's
                seen.append(parked)
                if wanted(parked):
                    _send(message, parked)
        except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
            if getattr(error, "reply_code", None) == 404:
                return seen  # it is not there: the fleet was never up
            raise BrokerError(plan.broker.shown, str(error)) from error
    return seen


def _send(message: Any, parked: Parked) -> None:
    channel = message.channel
    again = channel.prepare_message(
        message.body,
        priority=parked.priority or None,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers={name: value for name, value in message.headers.items() if name != PARKED_HEADER},
        properties={name: message.properties[name] for name in PARKED_PROPERTIES if name in message.properties},
    )
    channel.basic_publish(again, exchange="", routing_key=parked.queue, mandatory=True)
    message.ack()
