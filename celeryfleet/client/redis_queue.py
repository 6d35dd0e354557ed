"""The messages that wait in kombu's lists on a Redis: read where they lie, and moved in one step each."""

from __future__ import annotations

import json
import time
from bisect import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import count as upward
from typing import TYPE_CHECKING, Any, TypeAlias

from celeryfleet.client.messages import Message, fresh
from celeryfleet.depths import lists

if TYPE_CHECKING:
    from celeryfleet.plan.values import BrokerPlan
    from celeryfleet.redis_client import Connection, Word

    #: the place in its list, the text, the message, and where it is to go
    _Chosen: TypeAlias = tuple[int, bytes, Message, str]

#: Moves messages out of the list KEYS[1]. ARGV has, from the second on, three words for each: its place, counted from
#: the end at which messages are taken, when it was read; its text as it lies there; and as it is to lie in front of the
#: next key's list. ARGV[1] says by how many all places have become less since. What a worker has taken is not found.
#: What is moved is marked, and all that is marked is removed in the end: to find each by its text takes the server
#: seconds where many wait. Answers with the next ARGV[1], and a 1 for each message that was moved.
_MOVE = """
local key, shift, moved, answer = KEYS[1], tonumber(ARGV[1]), 0, {}
local mark, trouble = 'moved by celeryfleet', nil
for at = 2, #ARGV, 3 do
  local place, text = tonumber(ARGV[at]), ARGV[at + 1]
  local index = shift - place - 1
  if index >= 0 or redis.call('LINDEX', key, index) ~= text then
    local found = redis.pcall('LPOS', key, text, 'RANK', -1)
    index = type(found) == 'number' and found - redis.call('LLEN', key)
    if index then shift = place + 1 + index end
  end
  if index then
    local pushed = redis.pcall('LPUSH', KEYS[2 + (at - 2) / 3], ARGV[at + 2])
    if type(pushed) == 'table' then trouble = pushed break end
    redis.call('LSET', key, index, mark)
    moved = moved + 1
  end
  answer[#answer + 1] = index and 1 or 0
end
if moved > 0 then redis.call('LREM', key, -moved, mark) end
if trouble and moved == 0 then return trouble end
table.insert(answer, 1, shift + moved)
return answer
"""
#: messages moved at a time: the server does nothing else meanwhile
_BATCH = 100
#: messages read at a time
_CHUNK = 1000
#: what kombu writes between the parts of a binding
_APART = "\x06\x16"
#: seconds for which queues that nobody has named are looked for
_SOON = 1.0


def waiting(connection: Connection, broker: BrokerPlan, queue: str, count: int | None) -> list[Message]:
    """Return the first messages in the order in which workers take them; None: all. Raises BrokerError."""
    found = [message for *_, message in _texts(connection, broker, queue, count)]
    return found[:count]


def find(connection: Connection, broker: BrokerPlan, queue: str, task_id: str) -> tuple[int, int, Message] | None:
    """Find a message by its task's id: (its place, counted from the next to be taken, how many there are, itself).

    A list is read from the end at which messages are added: what is taken meanwhile moves nothing there.
    """
    for keys, at, index, message in _holding(connection, broker, queue, task_id):
        if message.id == task_id:
            sizes = connection.pipeline([("LLEN", key) for key in keys])
            waiting = [size if isinstance(size, int) else 0 for size in sizes]
            return max(1, sum(waiting[: at + 1]) - index), max(1, sum(waiting)), message
    return None


def ids(connection: Connection, broker: BrokerPlan, queue: str, start: str) -> set[str]:
    """Return the ids of the messages of a queue that start so."""
    return {one.id for *_, one in _holding(connection, broker, queue, start) if one.id.startswith(start)}


def _holding(
    connection: Connection, broker: BrokerPlan, queue: str, word: str
) -> Iterator[tuple[list[str], int, int, Message]]:
    """Yield the messages that a word stands in: (the queue's lists, which of them, the place in it, the message)."""
    keys = _keys(broker, queue)
    needles = {word.encode(errors="replace"), json.dumps(word)[1:-1].encode()}
    for at, key in enumerate(keys):
        for start in upward(0, _CHUNK):
            texts = connection.call("LRANGE", key, start, start + _CHUNK - 1)
            for index, text in enumerate(texts if isinstance(texts, list) else [], start):
                if isinstance(text, bytes) and any(needle in text for needle in needles):
                    with suppress(ValueError):
                        yield keys, at, index, Message.of_redis(text)
            if not isinstance(texts, list) or len(texts) < _CHUNK:
                break


def taken(connection: Connection, keys: Sequence[str]) -> Iterator[tuple[str, str, str, Message]]:
    """Yield the messages that workers have not acknowledged: (the key that keeps it, exchange, routing key, itself)."""
    for key, entries in zip(keys, connection.pipeline([("HVALS", key) for key in keys]), strict=True):
        for entry in entries if isinstance(entries, list) else []:
            with suppress(ValueError, TypeError):
                message, exchange, routing_key = json.loads(entry)  # type: ignore[arg-type]
                yield key, str(exchange or ""), str(routing_key or ""), Message.of_redis(json.dumps(message))


def unread(connection: Connection, broker: BrokerPlan, known: Collection[str]) -> Iterator[str]:
    """Yield the queues beside the known ones that kombu has noted in this database, as far as they are found soon."""
    cursor: Any = b"0"
    until = time.monotonic() + _SOON
    while time.monotonic() < until:
        found = connection.call("SCAN", cursor, "MATCH", f"{broker.key_prefix}_kombu.binding.*", "COUNT", 10_000)
        if not isinstance(found, list):
            return
        cursor, keys = found
        for key in keys if isinstance(keys, list) else ():
            names = connection.call("SMEMBERS", bytes(key))  # type: ignore[arg-type]
            for name in names if isinstance(names, list) else ():
                queue = str(name, errors="replace").rpartition(_APART)[2]  # type: ignore[arg-type]
                if queue not in known and "pidbox" not in queue:
                    yield queue
        if cursor == b"0":
            return


def move(
    connection: Connection,
    broker: BrokerPlan,
    queue: str,
    choose: Callable[[Message], str | None],
    count: int | None,
    picky: bool,
    on_progress: Callable[[int], object],
) -> list[Message]:
    """Put messages into the queues that are chosen for them, in their order, as if they had just been sent there.

    None: all. Returns those that were moved; raises BrokerError.
    """
    chosen: dict[str, list[_Chosen]] = {}
    left = count
    for key, place, text, message in _texts(connection, broker, queue, None if picky else count):
        target = choose(message) if left != 0 else None
        if target is not None:
            chosen.setdefault(key, []).append((place, text, message, target))
            left = None if left is None else left - 1
    moved: list[Message] = []
    for key, items in chosen.items():
        shift = 0
        for start in range(0, len(items), _BATCH):
            shift, done = _moved(connection, broker, key, items[start : start + _BATCH], shift)
            moved += done
            on_progress(len(moved))
    return moved


def _moved(
    connection: Connection, broker: BrokerPlan, key: str, items: list[_Chosen], shift: int
) -> tuple[int, list[Message]]:
    """Move messages of one list; return by how much later places are less now, and those that were there."""
    keys: list[Word] = [key]
    words: list[Word] = [shift]
    for place, text, message, target in items:
        keys.append(_keys(broker, target)[max(0, bisect(broker.steps, message.priority or 0) - 1)])
        words += [place, text, _sent_to(text, target, message.priority)]
    answer = connection.call("EVAL", _MOVE, len(keys), *keys, *words)
    assert isinstance(answer, list)
    now, *done = answer
    assert isinstance(now, int)
    return now, [message for (_, _, message, _), found in zip(items, done, strict=False) if found]


def _texts(
    connection: Connection, broker: BrokerPlan, queue: str, count: int | None
) -> Iterator[tuple[str, int, bytes, Message]]:
    """Read what lies in a queue's lists, the next to be taken first: (list, place in it, text, message).

    What is no message is left out.
    """
    keys = _keys(broker, queue)
    first = 0 if count is None else -count
    replies = connection.calls([("LRANGE", key, first, -1) for key in keys]) if count != 0 else []
    for key, reply in zip(keys, replies, strict=False):
        for place, text in enumerate(reversed(reply if isinstance(reply, list) else [])):
            assert isinstance(text, bytes)
            with suppress(ValueError):
                yield key, place, text, Message.of_redis(text)


def _keys(broker: BrokerPlan, queue: str) -> list[str]:
    """Name the lists in which kombu puts a queue's messages, one for each step of priority."""
    return [broker.key_prefix + name for name in lists({"steps": broker.steps, "sep": broker.sep}, queue)]


def _sent_to(text: bytes, queue: str, priority: int | None) -> str:
    """Return a message as if it had just been sent straight to a queue."""
    message: dict[str, Any] = json.loads(text)
    delivery = {"exchange": "", "routing_key": queue}
    properties = {**message["properties"], "priority": priority or 0, "delivery_info": delivery}
    return json.dumps({**message, "headers": fresh(message["headers"]), "properties": properties})
