"""The app of the workers, copied beside Celery's integration tests: as their fixtures make it for the tests."""

from __future__ import annotations

import os

from celery import Celery
from celery.contrib.testing import tasks  # noqa: F401  `celery.ping`
from celery.contrib.testing.app import DEFAULT_TEST_CONFIG
from t.integration.tasks import ClassBasedAutoRetryTask  # type: ignore[import-not-found, unused-ignore]

app = Celery("celery.tests")
app.conf.update(
    {
        **DEFAULT_TEST_CONFIG,
        "broker_url": os.environ["TEST_BROKER"],
        "result_backend": os.environ["TEST_BACKEND"],
        "result_extended": True,
        "task_create_missing_queues": False,
    }
)
app.register_task(ClassBasedAutoRetryTask())
