"""Notes what kombu would send to Redis for a message, instead of sending it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

#: a command's name, its key, and the rest
Command: TypeAlias = tuple[Any, ...]
#: takes a message as kombu has made it, and the commands for it
Take: TypeAlias = Callable[[dict[str, Any], Sequence[Command]], None]


@contextmanager
def recording(channel: Any, take: Take) -> Iterator[None]:
    """Have a kombu channel hand its messages over; declarations and look-ups still go to the server."""
    kind, client = type(channel), _Client(channel)

    def basic_publish(message: dict[str, Any], exchange: str, routing_key: str, **options: Any) -> None:
        commands: list[Command] = []
        client.commands = commands
        try:
            kind.basic_publish(channel, message, exchange, routing_key, **options)
        finally:
            client.commands = None
        take(message, commands)

    @contextmanager
    def conn_or_acquire(other: Any = None) -> Iterator[Any]:
        if client.commands is not None:
            yield client
        else:
            with kind.conn_or_acquire(channel, other) as real:
                yield real

    channel.basic_publish, channel.conn_or_acquire = basic_publish, conn_or_acquire
    try:
        yield
    finally:
        del channel.basic_publish, channel.conn_or_acquire


class _Client:
    """The part of a Redis client that kombu publishes with, and its pipeline as well."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        #: of the message in hand; None: there is none
        self.commands: list[Command] | None = None
        #: bindings of exchanges; they are looked up once
        self._bindings: dict[str, Any] = {}

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def pipeline(self, **_: Any) -> _Client:
        """Return what takes several commands."""
        return self

    def execute(self) -> None:
        """Do nothing: all is noted."""

    def lpush(self, key: str, *values: Any) -> None:
        """Note a message for a list."""
        self._note("LPUSH", key, *values)

    def publish(self, topic: str, payload: Any) -> None:
        """Note a message for those who listen."""
        self._note("PUBLISH", topic, payload)

    def pexpire(self, key: str, milliseconds: int) -> None:
        """Note for how long a list may be idle."""
        self._note("PEXPIRE", key, milliseconds)

    def smembers(self, key: str) -> Any:
        """Return the bindings of an exchange."""
        if key not in self._bindings:
            with type(self._channel).conn_or_acquire(self._channel) as real:
                self._bindings[key] = real.smembers(key)
        return self._bindings[key]

    def _note(self, *command: Any) -> None:
        if self.commands is not None:
            self.commands.append(command)
