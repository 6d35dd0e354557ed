"""The notification task."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo.celery import app
from celeryfleet.demo.libs.slack import send_message


@app.task(name="tasks.notification.slack.notify_user_in_slack")
def notify_user_in_slack(user: str) -> None:
    """Send a user a notification."""
    logger.info(f"Start sending notification to slack for user <{user}>.")
    send_message(user, "Something happened that you wanted to know.")
    logger.info("Task completed.")
