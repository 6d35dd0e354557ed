"""Where bulk sending leans on what Celery and kombu do not promise, each with the version it was last seen in.

tests/unit/client/test_bulk_seam.py fails when one of them changes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias

from celery.backends.rpc import RPCBackend
from celery.utils.dispatch.signal import NONE_ID
from kombu.serialization import registry
from kombu.utils.json import dumps

#: a command to Redis: its name in small letters, its key, and the rest
Command: TypeAlias = tuple[Any, ...]


class _Commands(list[Command]):
    """Stands in for kombu's PublishBatch."""

    def add(self, name: str, *args: Any) -> None:
        """Take what kombu would send."""
        self.append((name, *args))


def redis_commands(channel: Any, message: dict[str, Any], exchange: str, key: str, **options: Any) -> list[Command]:
    """Return the commands with which kombu publishes a message to Redis; a batch of kombu's gets them (5.7.0).

    That batch itself would push messages one by one, and not say which of them the server has.
    """
    commands = _Commands()
    type(channel).basic_publish(channel, message, exchange, key, _publish_batch=commands, **options)
    return commands


def keep_bindings(channel: Any, on_bind: Callable[[], None]) -> None:
    """Have a Redis channel ask for an exchange's bindings once, until it binds a queue (5.7.0)."""
    channel.get_table = table = cache(channel.get_table)
    own = channel._queue_bind

    def queue_bind(*args: Any) -> None:
        own(*args)
        table.cache_clear()
        on_bind()

    channel._queue_bind = queue_bind


def subscribe_to_none(app: Any, producer_class: type) -> None:
    """Have the result backend subscribe to no results of what such producers publish: nobody waits for a million.

    The results are there all the same. Celery's switch for it (denied_join_result) is one for all threads (5.7.0).
    """
    backend = app.backend
    if isinstance(backend, RPCBackend) or "on_task_call" in vars(backend):  # RPC declares where results go
        return
    own = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> None:
        if not isinstance(producer, producer_class):
            own(producer, task_id)

    backend.on_task_call = on_task_call


def is_kombus_json(serializer: str | None) -> bool:
    """Tell whether a serializer is JSON as kombu writes it, with no other encoder registered in its place (5.7.0)."""
    found = registry._encoders.get(serializer or "")
    return serializer == "json" and found is not None and found.encoder is dumps


def receivers(signal: Any, sender: str) -> Iterator[Any]:
    """Return the receivers that one of Celery's signals has for a sender (5.7.0)."""
    for (_, wanted), receiver in list(signal.receivers):
        found = receiver() if isinstance(receiver, weakref.ReferenceType) else receiver
        if found is not None and wanted in (NONE_ID, sender):
            yield found


def oddities(task: Any) -> Iterator[str]:
    """Say what makes the messages of a task other than Celery makes them by default (5.7.0)."""
    if task.__v2_compat__:
        yield f"{task.name} is a task of Celery 2's kind"
    if getattr(task, "_dump_pydantic_arguments", None) is not None:
        yield f"{task.name} has its arguments dumped by pydantic"
