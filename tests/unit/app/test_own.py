"""What an app says by itself, and misspells."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import own_settings, unknown_settings


def app_of(settings: dict[str, Any], namespace: str = "") -> Celery:
    app = Celery("shop", set_as_current=False)
    app.config_from_object(settings, namespace=namespace or None)
    return app


@pytest.mark.parametrize(
    ("settings", "namespace", "unknown"),
    [
        ({"task_task_routes": {}, "task_acks_late": True}, "", {"task_task_routes": "task_routes"}),
        ({"CELERYD_CONCURENCY": 3}, "", {"CELERYD_CONCURENCY": "CELERYD_CONCURRENCY"}),
        (
            {"CELERY_TASK_TASK_ROUTES": {}, "CELERY_BROKER_URL": "x", "TASK_ROUTEZ": {}},
            "CELERY",
            {"CELERY_TASK_TASK_ROUTES": "CELERY_TASK_ROUTES"},
        ),
        ({"CELERY_RESULTS_BACKEND": "x"}, "CELERY", {"CELERY_RESULTS_BACKEND": "CELERY_RESULT_BACKEND"}),
        # of other packages, or the project's own
        ({"CELERY_ONCE": {}, "CELERY_TASK_QUEUE_OF_MINE": "x", "DEBUG": True}, "CELERY", {}),
        ({"redbeat_redis_url": "x", "task_timeouts_of_mine": 3, "my_setting": 1, "task_route": print}, "", {}),
    ],
)
def test_a_name_that_is_almost_a_setting_is_found(
    settings: dict[str, Any], namespace: str, unknown: dict[str, str]
) -> None:
    assert unknown_settings(app_of(settings, namespace)) == unknown


def test_what_the_app_says_is_told_even_if_it_is_celerys_default() -> None:
    own = own_settings(app_of({"worker_prefetch_multiplier": 4, "worker_concurrency": None}))
    assert own == {"worker_prefetch_multiplier": 4}
