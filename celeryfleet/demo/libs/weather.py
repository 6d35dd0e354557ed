"""A weather provider that always sees rain."""

from __future__ import annotations

from typing import TypedDict

from loguru import logger

from celeryfleet.demo.libs.pace import work


class Weather(TypedDict):
    """What the provider knows about one day."""

    weather: str
    #: degrees Celsius
    temperature: int


def get_weather(day: str) -> Weather:
    """Return the weather of a day."""
    logger.debug(f"Start getting weather for <{day}>.")
    _connect_to_weather_provider()
    return _get_data()


def _connect_to_weather_provider() -> None:
    logger.debug("Connecting to weather provider...")
    work(0.1)
    logger.debug("Connection established.")


def _get_data() -> Weather:
    logger.debug("Getting data...")
    work(0.4)
    logger.debug("Data received.")
    return {"weather": "rain", "temperature": 0}
