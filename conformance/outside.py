"""Stands in for the worker that Celery's integration tests start inside their own process: it runs elsewhere already.

Their conftest.py, in the copy that is run, ends with an import of this fixture.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.utils import nodenames

#: names the node that runs elsewhere
NODE = "CONFORMANCE_NODE"

# Their test_inspect.py takes the name of the worker for that of this process.
nodenames.anon_nodename = lambda *_, **__: os.environ[NODE]

# They wait for 10 s for what must not come; redis-py gives up after 5 by default since its version 8.
redis.StrictRedis = functools.partial(redis.StrictRedis, socket_timeout=None)  # type: ignore[assignment]


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Any, celery_includes: Iterable[str], celery_class_tasks: Iterable[Any]
) -> SimpleNamespace:
    """Know the tasks as their own fixture does, and start nothing."""
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    return SimpleNamespace(hostname=os.environ[NODE])
