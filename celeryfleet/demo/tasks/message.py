"""The task of the prioritization lesson: the sender names the queue, `default` or `low`."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo import libs
from celeryfleet.demo.celery import app


@app.task(name="tasks.message.task")
def task(prio: str, message: str) -> str:
    """Deliver one message; `prio` says which queue it was sent to."""
    text = libs.message.deliver(prio, message)
    logger.info(text)
    return text
