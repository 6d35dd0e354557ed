"""Tells whether an app's messages of one task are alike but for id, arguments and time, or why that is not known.

Whatever hooks into publishing (a signal, a router, a subclass, a library that patches Celery) may make each
message different; Celery itself builds every one of them then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import amqp
import celery
import kombu
from celery import signals
from celery.app.routes import MapRoute
from kombu.messaging import Producer
from kombu.transport import pyamqp, redis

from celeryfleet.client.bulk import seam

if TYPE_CHECKING:
    from celery import Celery

_OURS = f"{Path(__file__).parents[2]}/"
_LIBRARIES = tuple(f"{Path(str(module.__file__)).parent}/" for module in (amqp, celery, kombu))


def reason(app: Celery, name: str, task: Any = None) -> str:
    """Say why each message of a task must be built by Celery; empty: they are alike."""
    return next(filter(None, chain(_of_app(app), _of_task(task), _of_signals(name))), "")


def _of_app(app: Any) -> Iterator[str]:
    if app.conf.task_always_eager:
        yield "task_always_eager has tasks run at once, in this process"
    if app.conf.task_protocol != 2:
        yield f"the messages are of Celery's old protocol {app.conf.task_protocol}"
    if app.conf.task_send_sent_event:
        yield "each task tells an event when it is sent (task_send_sent_event)"
    if not all(type(router) is MapRoute for router in app.amqp.routes):
        yield "a router of the app's own decides message by message"
    for owner, methods in (
        (app, ("send_task",)),
        (app.amqp, ("as_task_v2", "send_task_message")),
        (Producer, ("publish", "_publish", "_prepare")),
        (redis.Channel, ("prepare_message", "basic_publish")),
        (pyamqp.Channel, ("prepare_message", "basic_publish")),
    ):
        yield from (_replaced(owner, method) for method in methods)


def _of_task(task: Any) -> Iterator[str]:
    if task is not None:
        yield from (_replaced(task, method) for method in ("apply_async", "shadow_name"))
        yield from seam.oddities(task)


def _of_signals(name: str) -> Iterator[str]:
    for signal in ("before_task_publish", "after_task_publish", "task_sent"):
        for receiver in seam.receivers(getattr(signals, signal), name):
            if not _is_code_of(receiver, (_OURS,)):
                yield f"{_name(receiver)} listens to {signal}"


def _replaced(owner: Any, method: str) -> str:
    """Say so if a method is not the code of Celery, kombu, py-amqp or celeryfleet."""
    found = getattr(owner, method)
    function = getattr(found, "__func__", found)
    if _is_code_of(function, (_OURS, *_LIBRARIES)):
        return ""
    owned = owner.name if hasattr(owner, "apply_async") else getattr(owner, "__name__", type(owner).__name__)
    return f"{owned}.{method} is not Celery's own, but {_name(function)}"


def _is_code_of(function: object, folders: tuple[str, ...]) -> bool:
    """Tell whether a function was written in these folders; wrappers and proxies are not."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(folders)


def _name(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return f"{module}.{name}"
