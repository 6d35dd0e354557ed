"""The tasks of the first steps and of the canvas lessons."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo import libs
from celeryfleet.demo.celery import app


@app.task(name="tasks.math.add")
def add(x: float, y: float) -> float:
    """Add two numbers."""
    logger.info(f"Start adding <{x}> and <{y}>.")
    result = libs.math.add(x, y)
    logger.info("Task completed.")
    return result


@app.task(name="tasks.math.sub")
def sub(x: float, y: float) -> float:
    """Subtract the second number from the first."""
    logger.info(f"Start subtracting <{y}> from <{x}>.")
    result = libs.math.sub(x, y)
    logger.info("Task completed.")
    return result


@app.task(name="tasks.math.mul")
def mul(x: float, y: float) -> float:
    """Multiply two numbers."""
    logger.info(f"Start multiplying <{x}> by <{y}>.")
    result = libs.math.mul(x, y)
    logger.info("Task completed.")
    return result


@app.task(name="tasks.math.divide")
def divide(x: float, y: float) -> float:
    """Divide the first number by the second; fails on zero."""
    logger.info(f"Start dividing <{x}> by <{y}>.")
    result = libs.math.divide(x, y)
    logger.info("Task completed.")
    return result


@app.task(name="tasks.math.xsum")
def xsum(numbers: list[float]) -> float:
    """Sum up a list of numbers."""
    logger.info(f"Start summing up <{len(numbers)}> numbers.")
    result = libs.math.xsum(numbers)
    logger.info("Task completed.")
    return result
