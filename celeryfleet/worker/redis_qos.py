"""What a worker's Redis channel knows to be unacknowledged, and when it puts that back."""

from __future__ import annotations

from time import time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from celeryfleet.worker.redis_restore import put_back


class QoS(redis.QoS):  # type: ignore[misc]
    """Knows that a claimed message is among the unacknowledged ones already, and waits for no reply."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message that was taken."""
        if delivery_tag.startswith(self.channel.tags):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        wire = self.channel.wire
        if wire is None:
            super().ack(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)
            self.channel.acknowledge(wire, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back, or drop it."""
        if requeue:
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)

    def restore_visible(self, *, num: int | None = None, interval: int = 10) -> None:
        """Put back what has passed the visibility timeout and is known to nobody: the keys are this worker's alone.

        kombu would have a task that waits or works for longer done once more.
        """
        if self.channel.unacked_key == redis.Channel.unacked_key:  # all workers share it: another engine runs them
            super().restore_visible(num=num, interval=interval)
            return
        self._vrestore_count += 1
        transport = self.channel.connection
        if transport.held is None or (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            until = time() - self.visibility_timeout
            late = map(bytes_to_str, client.zrange(self.unacked_index_key, 0, until, byscore=True))
            held = transport.held()
            unknown = [tag for tag in late if tag not in held and not any(each.has(tag) for each in transport.channels)]
            for tag in reversed(unknown[:num]):
                put_back(self.channel, client, tag, set(self.channel.active_queues))
