"""Run a whole fleet of queue-scoped Celery workers from one fleet.yaml."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the command line the import of typing
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "install"]


def install(app: Any, file: str | None = None) -> None:
    """Give a Celery app the fleet's queues, routes and broker; call it right after the app's own configuration.

    `file` is the path of fleet.yaml; without it the fleet whose worker this is, then `CELERYFLEET_FILE`,
    then fleet.yaml in the working folder or one above. Raises `celeryfleet.errors.FleetError`.
    """
    from celeryfleet.app import install as _install

    _install(app, file)
