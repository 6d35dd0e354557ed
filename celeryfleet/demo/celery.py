"""The demo's Celery app; knows neither queues nor broker, which are the fleet's to give."""

from __future__ import annotations

import loguru  # noqa: F401  # first of all: it keeps the stderr it finds, and a worker soon replaces that by a logger
from celery import Celery

app = Celery(
    "celeryfleet.demo",
    include=[
        "celeryfleet.demo.tasks.math",
        "celeryfleet.demo.tasks.message",
        "celeryfleet.demo.tasks.datahandle.compressimage",
        "celeryfleet.demo.tasks.datasource.weather",
        "celeryfleet.demo.tasks.notification.slack",
    ],
)
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
)
