"""A Slack that nobody reads."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo.libs.pace import work


def send_message(user: str, text: str) -> None:
    """Send a user a text."""
    logger.debug(f"Sending {len(text)} characters to <{user}>...")
    work(0.3)
    logger.debug("Message sent.")
