"""Publishes a task for each item of an iterable, as many at a time as the broker takes.

Celery makes the first messages of each shape; the rest are copies that differ in id, arguments and time alone. Where
messages may differ in more (see `copyable`), Celery makes them all, and they still go in batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any

from celeryfleet.client.bulk import copyable
from celeryfleet.client.bulk.connection import opened
from celeryfleet.client.bulk.items import Item
from celeryfleet.client.bulk.run import Bulk, BulkError, Run
from celeryfleet.client.bulk.shapes import Shapes, named

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Bulk", "BulkError", "bulk", "fast"]


def bulk(
    app: Celery,
    task: Any,
    iterable: Iterable[Item],
    on_progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Bulk:
    """Publish a task for each item of an iterable, as `celeryfleet.bulk` says. Raises BulkError."""
    began = time.monotonic()
    with opened(app) as publisher:
        run = Run(app, publisher, Shapes(app, publisher, task, options), on_progress or (lambda sent: None))
        if type(iterable) is repeat:
            count = length_hint(iterable)  # TypeError: it has no end
            if count:
                run.same(next(iterable), count)
        else:
            run.each(iterable)
    return Bulk(run.settled, time.monotonic() - began, run.ids, run.queues, run.reason)


def fast(app: Celery, task: Any) -> str:
    """Say why Celery would have to make each message of a task, whatever the broker; empty: they can be copied."""
    return copyable.reason(app, *named(app, task))
