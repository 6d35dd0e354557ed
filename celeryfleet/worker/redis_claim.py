"""The claim: how a worker takes messages from its queues on Redis in one step at the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from time import time
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger
from kombu.utils.json import dumps, loads

if TYPE_CHECKING:
    from celeryfleet.redis_client import Word

logger = get_logger(__name__)

#: Moves up to ARGV[1] messages from lists into the hash KEYS[1], and their tags into the index KEYS[2] with the time
#: ARGV[4]. The lists are the keys from the sixth on, ARGV[2] of them a queue, the most urgent first; if ARGV[3] is "1",
#: a queue that has given a message comes last from then on. A tag is ARGV[5] and a number, from ARGV[6] on; the
#: names of the queues, as JSON, begin with ARGV[10]. Where ARGV[9] is not empty it must own the node ARGV[8] (KEYS[5]).
#: Answers with what is to be done next, and what the hash now holds, [message, "", queue]: what kombu keeps of a
#: message that was sent to a queue by its name, so that anyone puts it back where it was.
#:
#: Of the idle workers that read these lists two watch them (KEYS[3], when they last looked), the others sleep
#: (KEYS[4]) until one who takes a message wakes the first of them: if all watched, each message would wake all. While
#: there are idle ones, one who has nothing free (ARGV[7] is "1") leaves the messages to them, and others take one.
_SCRIPT = """
local me, watching, sleeping, steps = KEYS[1], KEYS[3], KEYS[4], tonumber(ARGV[2])
if ARGV[9] ~= '' and redis.call('HGET', KEYS[5], ARGV[8]) ~= ARGV[9] then return {'lost'} end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
for _, set in ipairs({watching, sleeping}) do redis.call('ZREMRANGEBYSCORE', set, '-inf', now - 3) end
redis.call('ZREM', sleeping, me)
local watched, rang = redis.call('ZREM', watching, me) == 1, false
local others = redis.call('ZCARD', watching) + redis.call('ZCARD', sleeping)
if ARGV[7] == '1' and others > 0 then return {'busy'} end
local wanted = others > 0 and 1 or tonumber(ARGV[1])
local answer, left = {'more'}, {}
for queue = 1, (#KEYS - 5) / steps do left[queue] = queue end
while #answer <= wanted and #left > 0 do
  local queue, message = left[1], false
  for step = 1, steps do
    message = redis.pcall('RPOP', KEYS[5 + (queue - 1) * steps + step])
    if message then break end
  end
  if type(message) == 'table' then
    if #answer == 1 then return message end
    return answer
  end
  if not message or ARGV[3] == '1' then table.remove(left, 1) end
  if message then
    local tag = ARGV[5] .. (ARGV[6] + #answer - 1)
    local kept = '[' .. message .. ', "", ' .. ARGV[9 + queue] .. ']'
    redis.call('HSET', me, tag, kept)
    redis.call('ZADD', KEYS[2], ARGV[4], tag)
    answer[#answer + 1] = kept
    if ARGV[3] == '1' then left[#left + 1] = queue end
  end
end
if #answer > 1 and (watched or #answer > wanted) then
  local first = redis.call('ZRANGE', sleeping, 0, 0)[1]
  if first then
    redis.call('ZADD', sleeping, now, first)
    redis.call('SET', first .. ':bell', '', 'PX', 1000)
    rang = true
  end
end
if #answer > wanted then return answer end
if ARGV[7] == '1' then
  answer[1] = 'busy'
  return answer
end
answer[1] = 'idle'
if rang or redis.call('ZCARD', watching) > 1 then
  redis.call('ZADD', sleeping, now, me)
  redis.call('GET', me .. ':bell')
else
  redis.call('ZADD', watching, now, me)
  for list = 6, #KEYS do redis.call('LLEN', KEYS[list]) end
end
for _, set in ipairs({watching, sleeping}) do redis.call('PEXPIRE', set, 10000) end
return answer
"""
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
#: gives a server the script
LOAD = ("SCRIPT", "LOAD", _SCRIPT)
#: what claims need; the script asks for the time, and would be refused each time where a user may not
GREETING = (("HELLO", "3"), ("CLIENT", "TRACKING", "ON", "NOLOOP"), LOAD, ("TIME",))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker asks for."""

    #: where what is taken is kept, and the index of that
    unacked: str
    index: str
    #: the lists of each queue, the most urgent first; the queues in the order in which they are read
    lists: Mapping[str, Sequence[str]]
    #: messages at most
    count: int
    #: how the tags begin, and the number of the first
    tags: str
    first: int
    #: whether the queues take turns
    turns: bool
    #: whether what is taken has to wait in the worker
    busy: bool
    #: which hash must name whom as the owner of which node, else nothing is given; empty: that is not asked
    owned: tuple[str, str, str] = ("", "", "")

    def command(self, prefix: str) -> tuple[Word, ...]:
        """Return the command; all keys begin with `prefix`."""
        group = ",".join(sorted(self.lists))
        steps = max(map(len, self.lists.values()))
        owners, node, owner = self.owned
        keys = [self.unacked, self.index, f"watching:{group}", f"sleeping:{group}", owners or self.unacked]
        keys += [name for lists in self.lists.values() for name in lists]
        arguments = (self.count, steps, int(self.turns), time(), self.tags, self.first, int(self.busy), node, owner)
        return "EVALSHA", _SHA, len(keys), *(prefix + key for key in keys), *arguments, *map(dumps, self.lists)

    def messages(
        self, entries: Sequence[Any], opened: Callable[[dict[str, Any]], object]
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Read what was taken: each message, under our tag, and its queue. What is no message stays where it is.

        `opened` is what will be done with it first: kombu would let its error end the worker, and its successors.
        """
        for number, entry in enumerate(entries, self.first):
            tag = f"{self.tags}{number}"
            try:
                message, _, queue = loads(entry.decode())
                message["properties"]["delivery_tag"] = tag
                opened(message)
            except (ValueError, TypeError, LookupError, AttributeError):
                logger.critical("this is no message, and is kept in %s as %s: %.200r", self.unacked, tag, entry)
                continue
            yield message, queue
