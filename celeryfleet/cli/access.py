"""What the access list of a Redis would refuse to the fleet's user: asked in a transaction that is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeryfleet.redis_client import Connection, ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeryfleet.plan.values import Plan

#: what kombu, Celery's results and we do to each queue, to what is kept beside them, and to results
_QUEUE = ("LPUSH {} x", "RPUSH {} x", "RPOP {}", "BRPOP {} 1", "LLEN {}", "LINDEX {} 0")
_BESIDE = (
    *("HSET unacked:x x x", "HGET unacked:x x", "HVALS unacked:x", "HDEL unacked:x x"),
    *("ZADD unacked_index:x 0 x", "ZRANGE unacked_index:x 0 0", "ZREM unacked_index:x x"),
    *("SADD _kombu.binding.x x", "SMEMBERS _kombu.binding.x"),
)
_ANYWHERE = ("PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celery.pidbox")
#: what workers claim messages by, and Celery counts chords by; harmless by themselves
_CLAIMING = (
    *(f"EVALSHA {'0' * 40} 2 {{0}}watching:x {{0}}sleeping:x", "SCRIPT LOAD return", "TIME", "CLIENT TRACKING OFF"),
    "HELLO",
)
_RESULT = ("SET {} x", "GET {}", "MGET {}", "EXPIRE {} 1", "DEL {}", "PUBLISH {} x", "SUBSCRIBE {}")


def forbidden(connection: Connection, plan: Plan) -> list[str]:
    """Return the commands, with their keys, that this user may not use; nothing is changed."""
    refused = [reply for reply in connection.pipeline([["MULTI"], ["EXEC"]]) if isinstance(reply, ReplyError)]
    if refused:  # what is sent outside of a transaction is done
        return [str(reply) for reply in refused]
    asked = list(_needed(plan))
    _, *replies, _ = connection.pipeline([["MULTI"], *asked, ["DISCARD"]])
    pairs = zip(asked, replies, strict=True)
    denied = [(command, reply) for command, reply in pairs if isinstance(reply, ReplyError)]
    told = [" ".join(command[: 1 if "run the" in reply else 2]) for command, reply in denied if reply[:6] == "NOPERM"]
    return list(dict.fromkeys(told))


def unable(connection: Connection, prefix: str) -> list[str]:
    """Return the commands of claiming that a server does not have, or this user not the right to."""
    replies = connection.pipeline([command.format(prefix).split() for command in _CLAIMING])
    told = zip(("EVALSHA", "SCRIPT LOAD", "TIME", "CLIENT TRACKING", "HELLO"), replies, strict=True)
    return [name for name, reply in told if isinstance(reply, ReplyError) and not reply.startswith("NOSCRIPT")]


def _needed(plan: Plan) -> Iterator[list[str]]:
    prefix = plan.broker.key_prefix
    for queue in plan.queues:
        yield from ([word.format(f"{prefix}{queue.name}") for word in command.split()] for command in _QUEUE)
    for command in _BESIDE:
        name, key, *rest = command.split()
        yield [name, f"{prefix}{key}", *rest]
    yield from (command.split() for command in _ANYWHERE)
    if plan.broker.results == plan.broker.url:
        options = plan.settings.get("result_backend_transport_options", {})
        key = f"{options.get('global_keyprefix', '')}celery-task-meta-x"
        yield from (command.replace("{}", key).split() for command in _RESULT)
