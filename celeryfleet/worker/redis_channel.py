"""The Redis channel of a worker: what it does otherwise than kombu's, as a subclass of it.

No module of the worker but this one and redis_restore.py leans on private names of kombu's. Seen in kombu 5.7.0;
tests/unit/worker/test_seam.py and tests/services/worker fail when they change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kombu.transport import redis


class Channel(redis.Channel):  # type: ignore[misc]
    """Reads queue by queue, and outlives its connection: the messages of a lost one can still be acknowledged."""

    from_transport_options = (*redis.Channel.from_transport_options, "reading_order")

    #: the queues that are read in this order, rather than by turns
    reading_order: Sequence[str] = ()
    #: what is done with (delivery tag, requeue) once the connection is lost
    settle: Callable[[str, bool], None] | None = None

    def lose(self, settle: Callable[[str, bool], None]) -> None:
        """Have tasks that go on settle their messages elsewhere, and put none back when this channel is closed.

        kombu would requeue all that was taken, and raise an AttributeError, which ends the worker, when a task of a
        closed channel acknowledges.
        """
        self.do_restore = False
        self.settle = settle

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, by another connection if ours is lost."""
        if self.settle is None:
            super().basic_ack(delivery_tag, multiple)
        else:
            self.settle(delivery_tag, False)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back or drop it, by another connection if ours is lost."""
        if self.settle is None:
            super().basic_reject(delivery_tag, requeue)
        else:
            self.settle(delivery_tag, requeue)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for all of one queue, most urgent first, before anything of the next: as RabbitMQ counts priorities.

        kombu goes through the priority steps first and through the queues within each: an urgent message of the last
        queue would overtake a plain one of the first. And a queue that was paused would come back as the last one.
        """
        rank = {name: number for number, name in enumerate(self.reading_order)}
        names = self._queue_cycle.consume(len(self.active_queues))
        names = sorted(names, key=lambda name: rank.get(name, len(rank)))
        lists = iter([self._q_for_pri(name, step) for name in names for step in self.priority_steps])
        # It names its lists one by one in its own order, and is given them in ours.
        self.__dict__["_q_for_pri"] = lambda name, step: next(lists)
        try:
            super()._brpop_start(timeout)
        finally:
            del self.__dict__["_q_for_pri"]


class Transport(redis.Transport):  # type: ignore[misc]
    """kombu's, with our channel."""

    Channel = Channel
