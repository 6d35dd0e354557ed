"""Has a worker on Redis read queue by queue, so that a priority counts within its queue, as on RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def read_by_queue(queues: Sequence[str], strict: bool) -> None:
    """Have kombu ask Redis for all of one queue, most urgent first, before anything of the next.

    `strict` keeps the order of `queues`; else the queues take turns. kombu goes through the priority steps first and
    through the queues within each (seen in 5.7, `_brpop_start`): an urgent message of the last queue would overtake a
    plain one of the first. And a queue that was paused would come back as the last one.
    """
    from kombu.transport.redis import Channel

    rank = {name: number if strict else 0 for number, name in enumerate(queues)}
    start = Channel._brpop_start

    def start_by_queue(self: Any, timeout: float | None = None) -> None:
        read = sorted(self._queue_cycle.consume(len(self.active_queues)), key=lambda name: rank.get(name, len(rank)))
        lists = iter([self._q_for_pri(name, step) for name in read for step in self.priority_steps])
        # It names its lists one by one in its own order, and is given them in ours.
        self._q_for_pri = lambda name, step: next(lists)
        try:
            start(self, timeout)
        finally:
            del self._q_for_pri

    Channel._brpop_start = start_by_queue
