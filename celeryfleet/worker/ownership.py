"""Who may touch what a worker has taken from a Redis that machines share: its owner, for as long as that is alive.

Every worker renews the time, by the server's clock, until which it is to be believed alive. A node whose time has been
over for long enough belongs to whoever of the fleet takes it first, which brings its messages back. From then on the
server refuses the claims of the process before, should it come back: that one connects anew, and takes its node again.

The keys of a fleet: `unacked_nodes:<fleet>`, the nodes by the time until which they are alive;
`unacked_owners:<fleet>`, whose they are; `unacked_sweeper:<fleet>`, the one worker that is told of dead nodes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from celeryfleet.redis_client import Word

#: signs of life for one life: some may be late
_SIGNS = 3
#: seconds that a timer may fire early
_EARLY = 0.1
#: Makes the node ARGV[1] alive for ARGV[3] seconds and ARGV[2] its owner, unless another owner is alive; if ARGV[4] is
#: "1", only if it is the owner already. Answers with the server's time and, to one worker of all, which nodes are dead.
_HOLD = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local node, me, life, renews = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local owner = redis.call('HGET', KEYS[2], node)
if owner ~= me then
  local alive = owner and tonumber(redis.call('ZSCORE', KEYS[1], node) or '0') > now
  if alive or renews then return false end
  redis.call('HSET', KEYS[2], node, me)
end
redis.call('ZADD', KEYS[1], now + life, node)
local answer = {string.format('%.3f', now)}
if renews then
  local chosen = redis.call('GET', KEYS[3])
  if chosen and chosen ~= node then return answer end
  redis.call('SET', KEYS[3], node, 'PX', math.ceil(life * 1000))
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
    answer[#answer + 1] = dead
  end
end
return answer
"""
#: Strikes the node ARGV[1] off if ARGV[2] owns it and, unless ARGV[3] is "1", nothing is left of what it had taken.
_FORGET = """
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] and (ARGV[3] == '1' or redis.call('EXISTS', KEYS[3]) == 0) then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
"""


class Ownership:
    """A worker's right to what its node, or one that is dead, has taken."""

    def __init__(self, fleet: str, node: str, owner: str, life: float) -> None:
        self.node = node
        #: whose it is: a supervisor's and its successors' in one folder
        self.owner = owner
        #: seconds without a sign of life after which it counts as dead
        self.life = life
        #: the hash of the owners
        self.owners = f"unacked_owners:{fleet}"
        self._keys = (f"unacked_nodes:{fleet}", self.owners, f"unacked_sweeper:{fleet}")
        #: gives a sign of life, while there is a connection
        self._give: Callable[[], None] | None = None
        self._gave_at = 0.0
        #: dead nodes → the server's time since which they are found so; when that was looked at last
        self._dead: dict[str, float] = {}
        self._looked_at = 0.0

    # --- Signs of life ------------------------------------------------------------------------------------

    def connected(self, give: Callable[[], None]) -> None:
        """Give signs of life by a connection; before there was one, nobody is known to have been dead."""
        self._give, self._gave_at, self._dead = give, 0.0, {}

    def tick(self) -> None:
        """Give a sign of life if it is time. Raises what the connection does."""
        now = time.monotonic()
        if self._give is not None and now - self._gave_at >= self.life / _SIGNS - _EARLY:
            self._gave_at = now
            self._give()

    def tick_aside(self) -> None:
        """Have a thread do so, where tasks block the worker's loop."""

        def go_on() -> None:
            while True:
                time.sleep(self.life / _SIGNS)
                with contextlib.suppress(OSError, RedisError):  # the loop meets it, too
                    self.tick()

        threading.Thread(target=go_on, name="celeryfleet-ownership", daemon=True).start()

    def heard(self, reply: Sequence[Any]) -> list[str]:
        """Return the nodes that have been dead for long by now, as the answer to a sign of life tells."""
        at, *dead = (bytes(word).decode() for word in reply)
        self._dead = lasting(self._dead, dead, float(at), self._looked_at, self.life)
        self._looked_at = float(at)
        return [node for node, since in self._dead.items() if self._looked_at - since >= self.life]

    # --- What is asked of Redis ---------------------------------------------------------------------------

    def sign(self, prefix: str) -> tuple[Word, ...]:
        """Return the command that is a sign of life; its reply is None if the node has another owner by now."""
        return self._command(prefix, _HOLD, self._keys, self.node, self.owner, self.life, 1)

    def take(self, channel: Any, node: str, dead: bool = False) -> bool:
        """Own a node, unless another is its owner and alive. Raises RedisError.

        Of a `dead` one it becomes another owner, also where the same supervisor owned it: it may come back.
        """
        owner = self._owner(dead)
        return _run(channel, self._command(channel.global_keyprefix, _HOLD, self._keys, node, owner, self.life, 0))

    def forget(self, channel: Any, node: str, dead: bool = False) -> None:
        """Strike off a node that was brought back, or one's own if nothing is left of it. Raises RedisError."""
        keys, other = (*self._keys[:2], f"unacked:{node}"), int(node != self.node)
        _run(channel, self._command(channel.global_keyprefix, _FORGET, keys, node, self._owner(dead), other))

    def _owner(self, dead: bool) -> str:
        return f"{self.owner} {self.node}" if dead else self.owner

    def _command(self, prefix: str, script: str, keys: Sequence[str], *arguments: Word) -> tuple[Word, ...]:
        return "EVAL", script, len(keys), *(prefix + key for key in keys), *arguments


def _run(channel: Any, command: Sequence[Word]) -> bool:
    with channel.conn_or_acquire() as client:
        return said(client, command) is not None


def said(client: Any, command: Sequence[Word]) -> Any:
    """Return the reply, past kombu's client, which prefixes the keys of some commands and not of others."""
    execute: Callable[..., Any] = Redis.execute_command
    return execute(client, *command)


def lasting(
    before: Mapping[str, float], dead: Sequence[str], now: float, looked_at: float, life: float
) -> dict[str, float]:
    """Return since when nodes are found dead; anew after a break, in which they could have been heard of."""
    unbroken = now - looked_at <= life
    return {node: before.get(node, now) if unbroken else now for node in dead}
