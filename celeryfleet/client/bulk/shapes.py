"""Shapes of messages, alike but for id, arguments and time: which an item is of, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celeryfleet.client.bulk import copyable
from celeryfleet.client.bulk.items import OPTIONS, Args, Kwargs
from celeryfleet.client.bulk.publishers import BatchPublisher, Copy, Recording
from celeryfleet.client.bulk.template import Message, Template
from celeryfleet.client.options import priority
from celeryfleet.client.publish import check_queue
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.headers import unfit
from celeryfleet.routing.table import transport_of, wire
from celeryfleet.text import listed

if TYPE_CHECKING:
    from celery import Celery

#: how many are held at a time; one that comes again after so many others is learnt anew
HELD = 256
_OWN = ("task", *OPTIONS)
#: options of `apply_async` that no two messages may share, or that are decided here
_REFUSED = frozenset({
    *("task_id", "group_id", "group_index", "chord", "chain"),
    *("producer", "publisher", "connection", "retry", "retry_policy", "add_to_parent"),
})  # fmt: skip


@dataclass(slots=True)
class Shape:
    """Messages that differ in id, arguments and time alone."""

    name: str
    #: None: the app does not have it
    task: Any
    options: dict[str, Any]
    #: why they cannot be copied; empty: they can, as far as is known
    reason: str = ""
    #: whether Celery has built one yet
    known: bool = False
    #: of the latest message that Celery has built
    template: Template | None = None
    #: whether a second message was as foretold
    proven: bool = False
    #: adds a copy to the batch; None: Celery has to build the next one
    copy: Copy | None = None

    def publish(self, app: Any, args: Args, kwargs: Kwargs, task_id: str, producer: Any) -> str:
        """Have Celery build and publish one; return its task's id."""
        given = {**self.options, "task_id": task_id, "add_to_parent": False, "producer": producer}
        if isinstance(producer, Recording):
            given["retry"] = False  # kombu would connect anew, past what records
        if self.task is not None:
            return str(self.task.apply_async(args, kwargs, **given).id)
        return str(app.send_task(self.name, args, kwargs, **given).id)

    def learn(self, app: Celery, publisher: BatchPublisher, built: list[Message]) -> None:
        """Look at what Celery has built, so as to copy it."""
        self.known = True
        if self.reason:
            return
        if len(built) != 1 or not isinstance(built[0].content, tuple):
            self.reason = "more than one message is sent for a task" if built else "no message is sent for a task"
            return
        before, self.template = self.template, Template(app, built[0])
        if before is not None and not self.proven:
            self.proven = before.foretells(self.template)
            if not self.proven:
                self.reason = "two messages differ in more than id, arguments and time"
        if self.proven:
            self.copy = publisher.copier(self.template)
            if self.copy is None:
                self.reason = "the messages are published to whoever listens, and lie in no queue"


class Shapes:
    """The shapes of one run."""

    def __init__(self, app: Celery, publisher: BatchPublisher, task: Any, options: Mapping[str, Any]) -> None:
        wrong = sorted(_REFUSED.intersection(options))
        if wrong:
            raise FleetError(f"bulk takes no {listed(wrong)}.", hint="Each message has its own, or none.")
        self._app: Any = app
        self._publisher = publisher
        self._task = task
        self._transport = transport_of(app.conf.broker_write_url or "amqp://")
        self._options = self._checked(options)
        self._held = lru_cache(HELD)(self._new)

    def of(self, own: Mapping[str, Any]) -> Shape:
        """Return the shape of an item with these options of its own. Raises FleetError for wrong ones."""
        values = map(own.get, _OWN)
        return self._new(*values) if "headers" in own else self._held(*values)

    def forget(self) -> None:
        """Have all be learnt anew: where messages go may have changed."""
        self._held.cache_clear()

    def _new(self, *values: Any) -> Shape:
        own = {name: value for name, value in zip(_OWN, values, strict=True) if value is not None}
        task = own.pop("task", self._task)
        if not task:
            raise FleetError("no task is named.", hint="Name one for all, or one in each item.")
        name, found = named(self._app, task)
        options = {**self._options, **self._checked(own)}
        if "eta" in own:
            options.pop("countdown", None)
        elif "countdown" in own:
            options.pop("eta", None)
        reason = copyable.reason(self._app, name, found) or self._publisher.reason
        return Shape(name, found, options, reason)

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options as `apply_async` takes them, without those that say nothing."""
        given = {name: value for name, value in options.items() if value is not None}
        if "priority" in given:
            given["priority"] = wire(self._transport, priority(given["priority"]))
        if isinstance(given.get("queue"), str):
            check_queue(self._app, given["queue"])
        headers = given.get("headers")
        # over such a header RabbitMQ would end the connection, and with it the whole batch
        for name, value in headers.items() if self._transport == "amqp" and isinstance(headers, Mapping) else ():
            if why := unfit(str(name), value):
                what = f'The header "{name!s:.40}" cannot be sent: {why}.'
                raise FleetError(what, hint="RabbitMQ takes no such header.")
        return given


def named(app: Any, task: Any) -> tuple[str, Any]:
    """Return a task's name, and the task if the app has it. Raises FleetError."""
    if isinstance(task, str):
        return task, app.tasks.get(task)
    name = getattr(task, "name", None)
    if not isinstance(name, str) or not hasattr(task, "apply_async"):
        raise FleetError(f"{task!r} is no task.", hint="Give a task of the app, or the full name of one.")
    if name not in app.tasks:
        raise FleetError(f"{name} is no task of this app.", hint="Give the app that it was made with, or its name.")
    return name, app.tasks[name]
