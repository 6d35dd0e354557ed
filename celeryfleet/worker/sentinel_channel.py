"""The Redis channel of a worker whose broker is found by sentinels: ours, on top of kombu's. Seen in kombu 5.7.0."""

from __future__ import annotations

from kombu.transport import redis

from celeryfleet.worker import redis_channel


class Channel(redis_channel.Channel, redis.SentinelChannel):  # type: ignore[misc]
    """Does what ours does, on the connections of kombu's."""

    from_transport_options = (
        *redis_channel.Channel.from_transport_options,
        *("master_name", "min_other_sentinels", "sentinel_kwargs", "sentinel_fanout_compat"),
    )


class Transport(redis.SentinelTransport):  # type: ignore[misc]
    """kombu's, with our channel."""

    Channel = Channel
