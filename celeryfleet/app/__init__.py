"""The user's Celery app: found as `celery -A` finds it, and given the fleet's settings; knows no supervision."""

from celeryfleet.app.find import import_tasks, load
from celeryfleet.app.install import FILE_VARIABLE, SENT_AT, SETTINGS_VARIABLE, apply, install, installs
from celeryfleet.app.objects import celery_objects

__all__ = [
    "FILE_VARIABLE",
    "SENT_AT",
    "SETTINGS_VARIABLE",
    "apply",
    "celery_objects",
    "import_tasks",
    "install",
    "installs",
    "load",
]
