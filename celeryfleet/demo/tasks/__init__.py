"""The task layer: logs at INFO what a user asked for, and leaves the work to libs."""

from __future__ import annotations

from celeryfleet.demo.celery import app
from celeryfleet.demo.tasks.datahandle.compressimage import compress_image
from celeryfleet.demo.tasks.datasource.weather import get_weather_today
from celeryfleet.demo.tasks.math import add, divide, mul, sub, xsum
from celeryfleet.demo.tasks.message import task
from celeryfleet.demo.tasks.notification.slack import notify_user_in_slack

__all__ = [
    "add",
    "app",
    "compress_image",
    "divide",
    "get_weather_today",
    "mul",
    "notify_user_in_slack",
    "sub",
    "task",
    "xsum",
]
