"""kombu's Redis transports with our channel, and an event loop that always reads what comes by its connections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from kombu.transport import redis

from celeryfleet.worker.redis_channel import Channel


class Poller(redis.MultiChannelPoller):  # type: ignore[misc]
    """Always reads what comes by our connections, for there are acknowledgements in it."""

    #: the event loop's descriptors with what reads each, and what reads ours; none where there is no event loop
    readers: Mapping[int, tuple[object, tuple[int, ...]]] = MappingProxyType({})
    reader: object = None

    @property
    def fds(self) -> dict[int, Any]:
        """Return the descriptors that the event loop is to read: kombu would have each set anew at each turn."""
        found: dict[int, Any] = super().fds
        return {fd: about for fd, about in found.items() if self.readers.get(fd) != (self.reader, (fd,))}

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802 - kombu's name
        channel.look_in_time()
        super()._register_BRPOP(channel)

    def _pause_brpop(self, channel: Any, fileno: int) -> None:
        if channel.wire is None:
            super()._pause_brpop(channel, fileno)

    def on_readable(self, fileno: int) -> None:
        """Read from a connection."""
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if kind == "BRPOP" and channel.wire is not None:
            channel._brpop_read()
        else:
            super().on_readable(fileno)


class Transport(redis.Transport):  # type: ignore[misc]
    """kombu's, with our channel."""

    Channel = Channel
    #: tells which delivery tags of earlier connections are not to be put back; who does not know puts back none
    held: Callable[[], Collection[str]] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the event loop read what comes."""
        super().register_with_event_loop(connection, loop)
        self.cycle.readers, self.cycle.reader = loop.readers, self.on_readable


class SentinelChannel(Channel, redis.SentinelChannel):  # type: ignore[misc]
    """The same, of the master that sentinels name."""

    from_transport_options = (*redis.SentinelChannel.from_transport_options, "reading_order")


class SentinelTransport(Transport):
    """The same for sentinels."""

    default_port = redis.SentinelTransport.default_port
    Channel = SentinelChannel
