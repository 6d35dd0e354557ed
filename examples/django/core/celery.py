"""The project's Celery app: as in Celery's documentation, and one line for the fleet."""

import os
from pathlib import Path

from celery import Celery

import celeryfleet

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

app = Celery("core")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Views and scripts send to the queues that fleet.yaml routes to, from whatever folder they are started.
celeryfleet.install(app, Path(__file__).resolve().parents[1] / "fleet.yaml")
app.autodiscover_tasks()
