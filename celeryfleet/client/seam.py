"""Where the client leans on what Celery and kombu do not promise, each with the version it was last seen in.

tests/unit/client/test_seam.py fails when one of them changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any


def unfolded_chain(steps: Sequence[Any], app: Any) -> Any:
    """Make a chain, if of several steps, whose groups of one stay groups: with an option Celery folds none (5.7.0)."""
    from celery import chain

    return chain(*steps, app=app) if len(steps) > 1 else steps[0]


def routed_by_task(leaf: Any) -> Any:
    """Have a `map` or `starmap` go where its task does: a clone forgets to, but `send_task` takes the name (5.7.0)."""
    return leaf.set(route_name=leaf.kwargs["task"].task)


def bind(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise the TypeError that `apply_async` raises for arguments a task cannot take (5.7.0)."""
    if task.typing:
        task.__header__(*args, **kwargs)


def unknown_queue(error: Exception) -> str:
    """Return the name of the queue that a QueueNotFound is about; it holds a sentence that quotes it (5.7.0)."""
    text = str(error.args[0])
    return text.split("'")[1] if "'" in text else text


def is_nack(error: BaseException) -> bool:
    """Tell whether a RabbitMQ refused a message: kombu takes it for a lost connection, and has tried again (5.7.0)."""
    from amqp.exceptions import MessageNacked

    return isinstance(error.__cause__, MessageNacked)


def keeps_no_results(app: Any) -> bool:
    """Tell whether an app has no result backend (5.7.0)."""
    return bool(app.backend.as_uri().startswith("disabled"))


def reads_many(app: Any) -> bool:
    """Tell whether the backend gives many results at one request, as Redis and memcached do (5.7.0)."""
    from celery.backends.base import BaseKeyValueStoreBackend as Base

    return getattr(type(app.backend), "mget", Base.mget) is not Base.mget


def read_many(app: Any, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what is stored of those tasks that have a result, by id, at one request (5.7.0)."""
    backend = app.backend
    keys = [backend.get_key_for_task(task_id) for task_id in ids]
    found = backend.mget(keys) if keys else []
    # Memcached gives a mapping of those it has.
    payloads = [found.get(key) for key in keys] if isinstance(found, dict) else found
    return {task_id: backend.decode(text) for task_id, text in zip(ids, payloads, strict=True) if text}


@contextmanager
def without_subscribing(app: Any) -> Iterator[None]:
    """Ask for no notice of results while sending, since `follow` looks for itself (5.7.0).

    It saves a request to Redis per task, and 19 seconds of retries where Redis is down. The results of a chord's
    header subscribe by themselves, and would have to unsubscribe when Python is already shutting down.
    """
    from celery.result import denied_join_result

    many = reads_many(app)
    if many:
        app.backend.add_pending_result = lambda result, *_, **__: result
    try:
        with denied_join_result() if many else nullcontext():
            yield
    finally:
        if many:
            del app.backend.add_pending_result
