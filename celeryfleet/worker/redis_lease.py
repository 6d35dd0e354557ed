"""The lease of beat in a Redis: a key that expires, and without which the server takes no task of its schedule."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.redis_client import BrokerError, Connection, ReplyError, connect, explain
from celeryfleet.worker.lease import DeniedError, Lease, LostError
from celeryfleet.worker.redis_channel import DENIED, Channel

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply

#: seconds for each step of a connection
_PATIENCE = 2.0
#: seconds that the times of what was sent are kept: more than a year, which a crontab may be long
_KEPT = 400 * 86400
#: Takes or keeps the lease KEYS[1] for ARGV[3] milliseconds by the token ARGV[1], if nobody has it, or he whose token
#: begins with ARGV[2], and answers with nothing; else with the token of whoever has it.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[2]) ~= ARGV[2] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ''
"""
_GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return ''"
#: Sends ARGV[4] to the list KEYS[3] if the lease is held by ARGV[1], and keeps that the entry ARGV[2] was sent at
#: ARGV[3]; once, though redis-py may ask again whose answer was lost.
_SEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 1 end
redis.call('LPUSH', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""


class RedisLease(Lease):
    """A lease by a token that begins with the host's name: its beat before this one is gone, and is inherited from."""

    errors = (BrokerError,)

    def __init__(self, app: Any, fleet: str, host: str, seconds: float) -> None:
        self.lasts = seconds
        options = app.conf.broker_transport_options
        # A network that is cut says nothing: a send would wait for it until long after the lease.
        waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), seconds / 3)
        app.conf.broker_transport_options = {**waits, **options}
        self._key = f"{options.get('global_keyprefix', '')}celeryfleet:{fleet}:beat"
        self._token = f"{host}:{uuid.uuid4().hex}"
        #: how the tokens begin from which it is taken over: the host's, and once we had it, ours alone
        self._inherits = f"{host}:"
        self._url = app.conf.broker_write_url or app.conf.broker_url
        self._settings = {key: app.conf[key] for key in ("broker_use_ssl", "broker_transport_options")}
        self._redis: Connection | None = None
        self._name = ""
        Channel.fence = self.put

    def take(self) -> bool:
        held = self._ask("EVAL", _TAKE, 1, self._key, self._token, self._inherits, int(1000 * self.lasts))
        self.holder = held.decode(errors="replace").rpartition(":")[0] if isinstance(held, bytes) else ""
        if not held:
            self._inherits = self._token
        return not held

    def sent(self) -> Mapping[str, float]:
        found = self._ask("HGETALL", f"{self._key}:sent")
        assert isinstance(found, list)
        words = [word.decode(errors="replace") for word in found if isinstance(word, bytes)]
        return {name: float(at) for name, at in zip(words[::2], words[1::2], strict=True)}

    def sending(self, name: str) -> None:
        self._name = name  # until it is empty, messages go by `put`

    def put(self, client: Any, key: str, message: str) -> bool:
        """Send a message to a list by kombu's client, if it is one of the schedule's. Raises LostError."""
        if not self._name:
            return False
        keys = (self._key, f"{self._key}:sent", key)
        if not client.eval(_SEND, 3, *keys, self._token, self._name, time.time(), message, _KEPT):
            raise LostError("its lease is over: the broker did not take its task")
        return True

    def let_go(self) -> None:
        if self._redis is not None:
            self._redis.close()
        self._redis = None

    def close(self) -> None:
        """Give the lease back, by a new connection: who was interrupted may not have read all of the last one."""
        self.let_go()
        with contextlib.suppress(BrokerError, DeniedError):
            self._ask("EVAL", _GIVE_BACK, 1, self._key, self._token)
        self.let_go()

    def _ask(self, *command: Any) -> Reply:
        if self._redis is None:
            self._redis = connect(self._url, _PATIENCE, self._settings)
        reply = self._redis.pipeline([command])[0]
        if isinstance(reply, ReplyError):
            if reply.startswith("NOPERM") or DENIED in reply:
                Channel.fence = None
                raise DeniedError(str(reply))
            raise BrokerError(self._redis.where, explain(reply))
        return reply
