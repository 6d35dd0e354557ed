"""Arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger


def add(x: float, y: float) -> float:
    """Return x + y."""
    logger.debug(f"Adding: {x} + {y}.")
    return x + y


def sub(x: float, y: float) -> float:
    """Return x - y."""
    logger.debug(f"Subtracting: {x} - {y}.")
    return x - y


def mul(x: float, y: float) -> float:
    """Return x * y."""
    logger.debug(f"Multiplying: {x} * {y}.")
    return x * y


def divide(x: float, y: float) -> float:
    """Return x / y; raises ZeroDivisionError."""
    logger.debug(f"Dividing: {x} / {y}.")
    return x / y


def xsum(numbers: Sequence[float]) -> float:
    """Return the sum."""
    logger.debug(f"Summing up: {len(numbers)} numbers.")
    return sum(numbers)
