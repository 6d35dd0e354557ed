"""Run a whole fleet of queue-scoped Celery workers from one fleet.yaml."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the command line the import of typing
if TYPE_CHECKING:
    import datetime
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from celeryfleet.client.bulk.items import Item
    from celeryfleet.client.bulk.run import Bulk

__version__ = "0.1.0"
__all__ = ["__version__", "bulk", "install"]


def install(app: Any, file: str | os.PathLike[str] | None = None) -> None:
    """Give a Celery app the fleet's queues, routes and broker; call it right after the app's own configuration.

    `file` is the path of fleet.yaml; without it the fleet whose worker this is, then `CELERYFLEET_FILE`,
    then fleet.yaml in the working folder or one above. Raises `celeryfleet.errors.FleetError`.
    """
    from celeryfleet.app import install as _install

    _install(app, file)


def bulk(
    app: Any,
    task: Any,
    iterable: Iterable[Item],
    *,
    queue: str | None = None,
    priority: int | None = None,
    countdown: float | None = None,
    eta: datetime.datetime | None = None,
    expires: float | datetime.datetime | None = None,
    headers: Mapping[str, Any] | None = None,
    on_progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Bulk:
    """Publish a task for each item of an iterable: the messages of `apply_async`, by the hundred instead of one by one.

    An item is a tuple or list of arguments, or a mapping with any of `args`, `kwargs`, `task`, `queue`, `priority`,
    `countdown`, `eta`, `expires` and `headers`, which then go before those given here. It is read as it is needed, so
    it may have millions. `itertools.repeat((4, 4), 100_000)` sends the same again and again, and is the fastest.

    `task` is a task of the app or a full name, registered or not; None, if each item names its own. `priority` is 0 to
    9, and 9 runs first on every broker, as in `celeryfleet send` (in `apply_async` it is the broker's own number).
    `countdown` and `expires` are seconds from the moment that a message is made. `options` are those of `apply_async`.
    `on_progress` is called with the number of items that are surely sent, after each batch.

    Returns `Bulk`: `sent`, `seconds`, `per_second`, `queues`, `reason` (why it could not go faster, or nothing), and
    `ids`, a sequence of the tasks' ids in the order of the items, which takes no memory.
    Raises `celeryfleet.client.bulk.BulkError`, a FleetError with `sent`, `unsure`, `refused`, `next` and `ids`; what
    stands before a wrong item is sent. What the iterable raises is raised, after what came before it is sent.
    """
    from celeryfleet.client.bulk import bulk as _bulk

    named = {
        "queue": queue,
        "priority": priority,
        "countdown": countdown,
        "eta": eta,
        "expires": expires,
        "headers": headers,
    }
    return _bulk(app, task, iterable, on_progress, **named, **options)
