"""Counts what waits in the fleet's queues on Redis, from kombu's lists and hashes; knows nothing of processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from celeryfleet.redis_client import Connection, connect
from celeryfleet.routing.match import takes

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from celeryfleet.protocol import Backlog
    from celeryfleet.redis_client import Reply, Word

    #: {"ready": messages, "unacked": messages, "oldest_age_s": seconds or None where no message tells}
    Depth: TypeAlias = dict[str, Any]


def measure(backlog: Backlog, now: float, timeout: float = 2.0) -> dict[str, Depth]:
    """Ask the broker how deep its queues are; raises BrokerError.

    `now` is unix seconds, `timeout` seconds for each step of the connection.
    """
    with connect(backlog.url, timeout, backlog.settings) as connection:
        return depths(connection, vars(backlog), backlog.queues, backlog.unacked, now)


def depths(
    connection: Connection,
    broker: Mapping[str, Any],
    queues: Sequence[Mapping[str, Any]],
    unacked: Mapping[str, Sequence[str]],
    now: float,
) -> dict[str, Depth]:
    """Measure all queues in one round trip.

    `broker` has `steps`, `sep` and `key_prefix`; a queue has `name`, `exchange`, `exchange_type` and `routing_key`;
    `unacked` is each key of unacknowledged messages with the queues that its worker reads (empty: any). Raises
    BrokerError.
    """
    prefix = broker.get("key_prefix", "")
    commands: list[Sequence[Word]] = []
    for queue in queues:
        for name in lists(broker, queue["name"]):
            commands += (("LLEN", prefix + name), ("LINDEX", prefix + name, -1))
    commands += (("HVALS", prefix + key) for key in unacked)
    replies = iter(connection.calls(commands))
    found: dict[str, Depth] = {}
    for queue in queues:
        pairs = [(next(replies), next(replies)) for _ in lists(broker, queue["name"])]
        sent = [at for at in (_sent_at(oldest) for _, oldest in pairs) if at is not None]
        found[queue["name"]] = {
            "ready": sum(length for length, _ in pairs if isinstance(length, int)),
            "unacked": 0,
            "oldest_age_s": max(0.0, round(now - min(sent), 1)) if sent else None,
        }
    for names, entries in zip(unacked.values(), replies, strict=True):
        read = [queue for queue in queues if queue["name"] in names]
        for entry in entries if isinstance(entries, list) else []:
            owner = _queue_of(entry, [*read, *queues])
            if owner is not None:
                found[owner]["unacked"] += 1
    return found


def lists(broker: Mapping[str, Any], queue: str) -> list[str]:
    """Name the lists that hold the queue's messages, one for each priority step."""
    return [f"{queue}{broker['sep']}{step}" if step else queue for step in broker["steps"]]


def _sent_at(message: Reply) -> float | None:
    """Read when a message was published, where its producer has installed the fleet."""
    try:
        sent = json.loads(message)["headers"]["fleet_sent_at"]  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return float(sent) if isinstance(sent, int | float) else None


def _queue_of(entry: Reply, queues: Sequence[Mapping[str, Any]]) -> str | None:
    """Find the queue that an entry of kombu's unacked hash came from; it names the exchange and the key only."""
    try:
        _, exchange, key = json.loads(entry)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return None
    same = [queue for queue in queues if exchange in ("", queue["exchange"])]
    for queue in same:
        if takes(queue["exchange_type"], queue["routing_key"], key, "redis") if exchange else queue["name"] == key:
            return str(queue["name"])
    return str(same[0]["name"]) if exchange and same else None
