"""Tells whether an app's messages of one task are alike but for id, arguments and time, or why that is not known.

Whatever hooks into publishing (a signal, a router, a subclass, a library that patches Celery) may make each
message different; Celery itself builds every one of them then.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery


def reason(app: Celery, name: str, task: Any = None) -> str:
    """Say why each message of a task must be built by Celery; empty: they are alike."""
    return next((why for why in (*_of_app(app), *_of_task(task), *_of_signals(name)) if why), "")


def _of_app(app: Any) -> Iterator[str]:
    from celery.app.routes import MapRoute

    if app.conf.task_always_eager:
        yield "task_always_eager has tasks run at once, in this process"
    if app.conf.task_protocol != 2:
        yield f"the messages are of Celery's old protocol {app.conf.task_protocol}"
    if app.conf.task_send_sent_event:
        yield "each task tells an event when it is sent (task_send_sent_event)"
    if not all(type(router) is MapRoute for router in app.amqp.routes):
        yield "a router of the app's own decides message by message"
    for owner, method in ((app, "send_task"), (app.amqp, "as_task_v2"), (app.amqp, "send_task_message")):
        yield _replaced(owner, method)
    yield from _of_kombu()


def _of_kombu() -> Iterator[str]:
    from kombu.messaging import Producer
    from kombu.transport import pyamqp, redis

    for method in ("publish", "_publish", "_prepare"):
        yield _replaced(Producer, method)
    for channel in (redis.Channel, pyamqp.Channel):
        yield _replaced(channel, "prepare_message")
        yield _replaced(channel, "basic_publish")


def _of_task(task: Any) -> Iterator[str]:
    if task is None:
        return
    for method in ("apply_async", "shadow_name"):
        yield _replaced(task, method)
    if task.__v2_compat__:
        yield f"{task.name} is a task of Celery 2's kind"
    if getattr(task, "_dump_pydantic_arguments", None) is not None:
        yield f"{task.name} has its arguments dumped by pydantic"


def _of_signals(name: str) -> Iterator[str]:
    from celery import signals
    from celery.utils.dispatch.signal import NONE_ID

    for signal in ("before_task_publish", "after_task_publish", "task_sent"):
        for (_, sender), receiver in list(getattr(signals, signal).receivers):
            receiver = receiver() if isinstance(receiver, weakref.ReferenceType) else receiver
            if receiver is not None and sender in (NONE_ID, name) and not _is_home_made(receiver, _homes()[:1]):
                yield f"{_name(receiver)} listens to {signal}"


def _replaced(owner: Any, method: str) -> str:
    """Say so if a method is not the code of Celery, kombu, py-amqp or celeryfleet."""
    found = getattr(owner, method)
    function = getattr(found, "__func__", found)
    if _is_home_made(function, _homes()):
        return ""
    owned = owner.name if hasattr(owner, "apply_async") else getattr(owner, "__name__", type(owner).__name__)
    return f"{owned}.{method} is not Celery's own, but {_name(function)}"


def _is_home_made(function: object, homes: tuple[str, ...]) -> bool:
    """Tell whether a function is one of these packages' own; wrappers and proxies are not."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(homes)


@cache
def _homes() -> tuple[str, ...]:
    import amqp
    import celery
    import kombu

    ours = Path(__file__).parents[2]
    return (f"{ours}/", *(f"{Path(module.__file__).parent}/" for module in (amqp, celery, kombu)))


def _name(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return f"{module}.{name}"
