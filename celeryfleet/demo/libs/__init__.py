"""The payload layer: functions that do the work, log at DEBUG, and know nothing of Celery."""

from __future__ import annotations

from celeryfleet.demo.libs import image, math, message, slack, weather

__all__ = ["image", "math", "message", "slack", "weather"]
