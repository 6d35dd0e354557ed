"""The weather task."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo.celery import app
from celeryfleet.demo.libs.weather import Weather, get_weather


@app.task(name="tasks.datasource.weather.get_weather_today")
def get_weather_today() -> Weather:
    """Ask the weather provider about today."""
    logger.info("Start receiving weather data.")
    weather = get_weather("today")
    logger.info("Task completed.")
    return weather
