"""The router that reads a queue from a task's name, for any Celery app: `"celeryfleet.routers.namespace"`.

It needs no fleet and imports nothing of it; how the user's own routers are asked is in `celeryfleet.app.routers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def namespace(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    task: Any = None,
    **_: Any,
) -> dict[str, str] | None:
    """Send `mail:welcome` to the queue `mail`: what stands before the first colon of a task's name.

    Says nothing, so that the next router is asked, about a name without a colon or with nothing before it, and about
    a queue that the app does not declare. For a task that this process does not know, any queue will do: no app is
    given with it that could tell.
    """
    queue, colon, _rest = name.partition(":")
    if not colon or not queue:
        return None
    if task is not None and queue not in task.app.amqp.queues:
        return None
    return {"queue": queue}
