"""The hosts of a fleet by way of a Redis: a key for each one's report, and a list for what it is asked.

An expiry is on everything, and the server's clock says how old a report is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from celeryfleet.hosts.messages import ASKED, KEPT, PAUSED, TOLD, Answer, Remote, Report, read_marks
from celeryfleet.protocol import Mark, Marks
from celeryfleet.records import Record, encode, parse
from celeryfleet.redis_client import BrokerError, Connection, ReplyError, connect, explain

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan
    from celeryfleet.redis_client import Reply, Word

#: seconds that an answer is kept for whoever asked
_ANSWERED = 30
#: seconds for each step of a connection, beside what is waited for on purpose
_PATIENCE = 2.0


class RedisHosts:
    """A connection to the Redis that the hosts share; every method raises BrokerError where it fails."""

    def __init__(self, plan: Plan, timeout: float = _PATIENCE) -> None:
        self._base = f"{plan.broker.key_prefix}celeryfleet:{plan.fleet}"
        self._redis: Connection = connect(plan.broker.url, timeout, plan.settings)
        self._redis.limit(TOLD)

    def close(self) -> None:
        """Hang up."""
        self._redis.close()

    # --- Of a supervisor ----------------------------------------------------------------------------------

    def leave(self, host: str, report: Report) -> None:
        """Leave a report in the place of the one that was there."""
        now = time.time()
        self._do(
            ("SET", f"{self._base}:report:{host}", encode(report), "EX", KEPT),
            ("ZADD", f"{self._base}:hosts", now, host),
            ("ZREMRANGEBYSCORE", f"{self._base}:hosts", "-inf", now - 2 * KEPT),
            ("EXPIRE", f"{self._base}:hosts", 2 * KEPT),
        )

    def marks(self) -> tuple[Mark, ...]:
        """Return what is kept of queues that are paused on all hosts."""
        return read_marks(self._do(("GET", f"{self._base}:paused"))[0])

    def share(self, marks: tuple[Mark, ...]) -> None:
        """Keep this in its place."""
        self._do(("SET", f"{self._base}:paused", encode(Marks(marks)), "EX", PAUSED))

    def withdraw(self, host: str) -> None:
        """Remove a host's report: it has stopped on purpose."""
        self._do(
            ("DEL", f"{self._base}:report:{host}", f"{self._base}:asked:{host}"), ("ZREM", f"{self._base}:hosts", host)
        )

    def take(self, host: str, seconds: int) -> tuple[str, Remote] | None:
        """Wait so long for a request; return who wants to know, and it. Raises ValueError for what is none."""
        found = self._do(("BLPOP", f"{self._base}:asked:{host}", seconds))[0]
        if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], bytes):
            return None
        asker, _, request = found[1].partition(b" ")
        if len(found[1]) > ASKED or len(asker) != 32 or not asker.isalnum():
            raise ValueError("it is too long, or does not say who asks")
        return asker.decode("ascii"), parse(Remote, request)

    def reply(self, asker: str, answer: Record) -> None:
        """Answer a request."""
        key = f"{self._base}:answer:{asker}"
        self._do(("RPUSH", key, encode(answer)), ("EXPIRE", key, _ANSWERED))

    # --- Of whoever asks ----------------------------------------------------------------------------------

    def read(self, names: Mapping[str, object]) -> dict[str, tuple[Report, float]]:
        """Return the report of each host, also of those that are not named, and its age in seconds."""
        found = self._do(("ZRANGE", f"{self._base}:hosts", 0, -1))[0]
        others = (
            [name.decode(errors="replace") for name in found if isinstance(name, bytes)]
            if isinstance(found, list)
            else []
        )
        hosts = sorted({*names, *others})
        keys = [f"{self._base}:report:{host}" for host in hosts]
        replies = self._do(*(command for key in keys for command in (("GET", key), ("PTTL", key)))) if keys else []
        told = zip(hosts, replies[::2], replies[1::2], strict=True)
        return {
            host: (report, max(0.0, KEPT - left / 1000))
            for host, text, left in told
            if isinstance(left, int) and (report := _report(text)) is not None
        }

    def ask(self, host: str, request: Record, seconds: float) -> Answer | None:
        """Ask a host; None: it has not answered within so many seconds, and will not."""
        asker = os.urandom(16).hex()
        asked, key = f"{asker} ".encode() + encode(request), f"{self._base}:asked:{host}"
        self._do(("RPUSH", key, asked), ("EXPIRE", key, _ANSWERED))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self._do(("BLPOP", f"{self._base}:answer:{asker}", 1))[0]
            if isinstance(found, list) and isinstance(found[1], bytes):
                answer: Answer = parse(Answer, found[1])
                return answer
        self._do(("LREM", key, 0, asked))
        return None

    def _do(self, *commands: tuple[Word, ...]) -> list[Reply]:
        replies = self._redis.pipeline(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise BrokerError(self._redis.where, explain(reply))
        return replies


def _report(text: Reply) -> Report | None:
    try:
        found: Report = parse(Report, text)  # type: ignore[arg-type]
    except (ValueError, TypeError):  # of another version, or a stranger's
        return None
    return found
