"""Reads results from the rows of django-celery-results, many at one query."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from celeryfleet.errors import Exit, FleetError

#: ids in one query; SQLite takes 999 values at least
_AT_ONCE = 500


def are_kept(app: Any) -> bool:
    """Tell whether the app's results are rows in Django's database."""
    module = sys.modules.get("django_celery_results.backends.database")
    return module is not None and isinstance(app.backend, module.DatabaseBackend)


def read(app: Any, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what is kept of those tasks that have a row, by id; exceptions stay as they were stored."""
    backend = app.backend
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        for row in backend.TaskModel._default_manager.filter(task_id__in=ids[start : start + _AT_ONCE]):
            result = backend.decode_content(row, row.result)
            found[row.task_id] = {
                "status": row.status,
                "result": result,
                "traceback": row.traceback,
                "worker": row.worker,
            }
    return found


@contextmanager
def reachable() -> Iterator[None]:
    """Turn an error of Django's database into a FleetError; the next attempt makes a connection of its own."""
    if "django.db" not in sys.modules:
        yield
        return
    from django.db import Error, connections

    try:
        yield
    except Error as error:
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        reason = str(error).partition("\n")[0]
        hint = "Is it up, and has `python manage.py migrate` been run?"
        raise FleetError(f"Django's database gives no results: {reason}", hint=hint, code=Exit.BROKER) from error
