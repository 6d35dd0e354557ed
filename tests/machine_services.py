"""The services of the test machine: Redis, RabbitMQ and PostgreSQL, where they are; else a skip that says so."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

#: set in CI: a service that is missing is a failure there
REQUIRE = "CELERYFLEET_REQUIRE_SERVICES"
REDIS = os.environ.get("CELERYFLEET_TEST_REDIS", "redis://127.0.0.1:6379/0")
RABBIT = os.environ.get("CELERYFLEET_TEST_RABBIT", "amqp://guest:guest@127.0.0.1:5672//")
POSTGRES = os.environ.get("CELERYFLEET_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
_PORTS = {"redis": 6379, "amqp": 5672, "postgresql": 5432}


def need(url: str) -> str:
    """Return the URL of a service that listens; else skip the test, or fail it where services are required."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or _PORTS[parts.scheme]), 3.0).close()
    except OSError as error:
        lacking(f"needs {parts.scheme} at {parts.hostname}:{parts.port}: {error}")
    return url


def lacking(reason: str) -> NoReturn:
    """Skip the test for want of a service; where services are required, fail it."""
    if os.environ.get(REQUIRE):
        pytest.fail(f"{reason} ({REQUIRE} is set)")
    pytest.skip(reason)


class Rabbit:
    """A RabbitMQ shared with others: queues and exchanges have names of their own, and are deleted in the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"cf-{uuid.uuid4().hex[:8]}-"
        self._names: set[str] = set()

    @property
    def fleet(self) -> str:
        """Return a name for a fleet: those of one name have nodes of one name, and on one broker they get mixed up."""
        fleet = self.prefix.rstrip("-")
        self._names.add(f"{fleet}.failed")  # `up` declares it
        kept = (
            "beat",
            "beat.sent",
            "paused",
            *(f"report.{host}" for host in ("a", "b", "a.last", "b.last")),
        )  # of hosts
        self._names |= {f"celeryfleet.{fleet}.{what}" for what in kept}
        return fleet

    def name(self, word: str) -> str:
        """Return a name for a queue or an exchange that is deleted when the test ends."""
        self._names.add(self.prefix + word)
        return self.prefix + word

    def delete_all(self) -> None:
        """Delete the queues and exchanges that `name` has named."""
        from kombu import Connection

        with Connection(self.url) as connection:
            for name in self._names:
                for delete in ("queue_delete", "exchange_delete"):
                    with suppress(*connection.channel_errors), connection.channel() as channel:
                        getattr(channel, delete)(name)


@contextmanager
def rabbit() -> Iterator[Rabbit]:
    """Give the test machine's RabbitMQ."""
    found = Rabbit(need(RABBIT))
    try:
        yield found
    finally:
        found.delete_all()
