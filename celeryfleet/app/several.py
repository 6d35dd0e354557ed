"""Several apps of one fleet in one process: a command sends the tasks of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def together(apps: Sequence[Celery]) -> Celery:
    """Return the first of these apps, which from now on knows the tasks of all; their modules are imported.

    A name that several have is the first one's: their routes are the same, so that it goes to the same queue.
    """
    first, *others = apps
    for app in others:
        for name, task in app.tasks.items():
            first.tasks.setdefault(name, task)
        first.set_current()
    return first
