"""The user's Celery app: found as `celery -A` finds it, and given the fleet's settings; knows no supervision."""

from celeryfleet.app.find import import_scheduler, import_tasks, load
from celeryfleet.app.install import (
    FILE_VARIABLE,
    SENT_AT,
    SETTINGS_VARIABLE,
    apply,
    forget_connections,
    install,
    installs,
)
from celeryfleet.app.objects import celery_objects
from celeryfleet.app.own import own_settings, says, unknown_settings
from celeryfleet.app.several import together

__all__ = [
    "FILE_VARIABLE",
    "SENT_AT",
    "SETTINGS_VARIABLE",
    "apply",
    "celery_objects",
    "forget_connections",
    "import_scheduler",
    "import_tasks",
    "install",
    "installs",
    "load",
    "own_settings",
    "says",
    "together",
    "unknown_settings",
]
