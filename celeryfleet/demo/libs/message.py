"""Messages with a priority."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo.libs.pace import work


def deliver(prio: str, message: str) -> str:
    """Hand a message over and return it as it was delivered."""
    logger.debug(f"Delivering a message of priority <{prio}>...")
    work(0.05)
    return f"{prio}: {message}"
