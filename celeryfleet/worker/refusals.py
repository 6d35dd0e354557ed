"""Ends a worker whose queues RabbitMQ refuses with one line that says why, in place of Celery's traceback."""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer.tasks import Tasks

from celeryfleet.routing.definitions import explained

logger = get_logger(__name__)


def explain() -> None:
    """Say what differs when a queue has become another one on the broker while the fleet runs."""
    start_by_celery = Tasks.start

    def start(self: Any, consumer: Any) -> None:
        try:
            start_by_celery(self, consumer)
        except consumer.connection.channel_errors as error:
            told = explained(str(error))
            if told is None:
                raise
            logger.critical("%s", told)
            raise SystemExit(1) from error

    Tasks.start = start
