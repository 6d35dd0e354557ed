"""Results in Django's database as django-celery-results keeps them, and with them the queue a task came from.

A row has columns for the worker and the task's name, and none for the queue. What a row's `meta` holds is given back
with the result, so that the queue stands where Celery looks for it: `AsyncResult(id).queue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.backends.base import get_current_task
from django_celery_results.backends.database import DatabaseBackend as StockBackend

from celeryfleet.routing.table import RoutingTable, message_headers


class DatabaseBackend(StockBackend):  # type: ignore[misc]
    """What `results: django-db` stands for in the processes of a fleet."""

    def _get_meta_from_request(self, request: Any = None) -> dict[str, Any]:
        request = request or getattr(get_current_task(), "request", None)
        meta = dict(super()._get_meta_from_request(request) or {})
        delivery = getattr(request, "delivery_info", None)
        if delivery and self.app.conf.result_extended:
            headers = message_headers(request.task, request.headers)
            meta.setdefault("queue", queue_of(self.app, delivery, headers))
        return meta


def queue_of(app: Any, delivery: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str | None:
    """Name the queue that a message came from; the routing key, as Celery has it, where that can't be told."""
    exchange, key = delivery.get("exchange") or "", delivery.get("routing_key")
    if key is None:
        return None
    reached = RoutingTable.of(app, app.conf.broker_read_url).reached(exchange, key, headers)
    read = [name for name in reached if name in app.amqp.queues.consume_from]
    found = read if len(reached) > 1 else list(reached)
    return found[0] if len(found) == 1 else key
