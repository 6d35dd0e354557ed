"""The hosts of a fleet by way of a Redis: a key for each one's report, and a list for what it is asked.

An expiry is on everything, and the server's clock says how old a report is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from celeryfleet.hosts.broker import Hosts, left
from celeryfleet.hosts.messages import ASKED, KEPT, PAUSED, TOLD, Answer, Remote, Report
from celeryfleet.protocol import Mark, Marks
from celeryfleet.records import Record, encode, parse
from celeryfleet.redis_client import Connection, connect

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan

#: seconds that an answer is kept for whoever asked
_ANSWERED = 30
#: seconds for each step of a connection, beside what is waited for on purpose
_PATIENCE = 2.0


class RedisHosts(Hosts):
    """A connection to the Redis that the hosts share."""

    def __init__(self, plan: Plan, timeout: float = _PATIENCE) -> None:
        self._base = f"{plan.broker.key_prefix}celeryfleet:{plan.fleet}"
        self._redis: Connection = connect(plan.broker.url, timeout, plan.settings)
        self._redis.limit(TOLD)

    def close(self) -> None:
        self._redis.close()

    # --- Of a supervisor ----------------------------------------------------------------------------------

    def leave(self, host: str, report: Report) -> Report | None:
        now = time.time()
        before, *_ = self._redis.calls(
            [
                ("GET", f"{self._base}:report:{host}"),
                ("SET", f"{self._base}:report:{host}", encode(report), "EX", KEPT),
                ("ZADD", f"{self._base}:hosts", now, host),
                ("ZREMRANGEBYSCORE", f"{self._base}:hosts", "-inf", now - 2 * KEPT),
                ("EXPIRE", f"{self._base}:hosts", 2 * KEPT),
            ]
        )
        return left(Report, before)

    def marks(self) -> tuple[Mark, ...]:
        found = left(Marks, self._redis.call("GET", f"{self._base}:paused"))
        return found.marks if found else ()

    def share(self, marks: tuple[Mark, ...]) -> None:
        self._redis.call("SET", f"{self._base}:paused", encode(Marks(marks)), "EX", PAUSED)

    def withdraw(self, host: str) -> None:
        self._redis.call("DEL", f"{self._base}:report:{host}", f"{self._base}:asked:{host}")
        self._redis.call("ZREM", f"{self._base}:hosts", host)

    def take(self, host: str, seconds: int) -> tuple[str, Remote] | None:
        found = self._redis.call("BLPOP", f"{self._base}:asked:{host}", seconds)
        if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], bytes):
            return None
        asker, _, request = found[1].partition(b" ")
        if len(found[1]) > ASKED or len(asker) != 32 or not asker.isalnum():
            raise ValueError("it is too long, or does not say who asks")
        return asker.decode("ascii"), parse(Remote, request)

    def reply(self, asker: str, answer: Record) -> None:
        key = f"{self._base}:answer:{asker}"
        self._redis.calls([("RPUSH", key, encode(answer)), ("EXPIRE", key, _ANSWERED)])

    # --- Of whoever asks ----------------------------------------------------------------------------------

    def read(self, names: Iterable[str]) -> dict[str, tuple[Report, float]]:
        reply = self._redis.call("ZRANGE", f"{self._base}:hosts", 0, -1)
        others = reply if isinstance(reply, list) else []
        hosts = sorted({*names, *(name.decode(errors="replace") for name in others if isinstance(name, bytes))})
        keys = [f"{self._base}:report:{host}" for host in hosts]
        replies = self._redis.calls([command for key in keys for command in (("GET", key), ("PTTL", key))])
        told = zip(hosts, replies[::2], replies[1::2], strict=True)
        return {
            host: (report, max(0.0, KEPT - rest / 1000))
            for host, text, rest in told
            if isinstance(rest, int) and (report := left(Report, text)) is not None
        }

    def ask(self, host: str, request: Record, seconds: float) -> Answer | None:
        asker = os.urandom(16).hex()
        asked, key = f"{asker} ".encode() + encode(request), f"{self._base}:asked:{host}"
        self._redis.calls([("RPUSH", key, asked), ("EXPIRE", key, _ANSWERED)])
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self._redis.call("BLPOP", f"{self._base}:answer:{asker}", 1)
            if isinstance(found, list) and isinstance(found[1], bytes):
                answer: Answer = parse(Answer, found[1])
                return answer
        self._redis.call("LREM", key, 0, asked)
        return None
