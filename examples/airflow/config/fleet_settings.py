"""Settings for Airflow's Celery app: its own, and over them the broker, results and queues of fleet.yaml."""

from pathlib import Path

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery import Celery

import celeryfleet

_app = Celery("fleet")
celeryfleet.install(_app, Path(__file__).parents[1] / "fleet.yaml")
CELERY_CONFIG = {**DEFAULT_CELERY_CONFIG, **_app.conf.changes}
