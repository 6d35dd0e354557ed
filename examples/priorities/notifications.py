"""Sends notifications: those that a user waits for, and those of the morning, which can wait."""

from __future__ import annotations

import time

from celery import Celery

import celeryfleet

app = Celery("notifications")
celeryfleet.install(app)


@app.task
def export(seconds: float) -> None:
    """Tell a user that her export is ready."""
    time.sleep(seconds)


@app.task
def daily(seconds: float) -> None:
    """Tell a user what happened yesterday."""
    time.sleep(seconds)
