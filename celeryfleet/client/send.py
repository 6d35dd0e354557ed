"""Sends one task and waits for it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from celeryfleet.app import import_tasks
from celeryfleet.client.inspect import signature_text
from celeryfleet.client.outcome import Outcome
from celeryfleet.client.publish import check_queue, publishing
from celeryfleet.client.results import follow, reader, without_subscribing
from celeryfleet.client.steps import Call
from celeryfleet.errors import FleetError
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is to be sent; None: as its route and its own attributes say."""

    queue: str | None = None
    #: 0 to 9, and 9 runs first, on every broker
    priority: int | None = None
    #: seconds
    countdown: float | None = None
    eta: datetime.datetime | None = None
    #: seconds, or a moment
    expires: float | datetime.datetime | None = None
    #: for the message, besides Celery's own
    headers: Mapping[str, Any] | None = None

    def given(self) -> dict[str, Any]:
        """Return those that say something; a time without a zone is one of this machine's."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["eta"] = self.eta.astimezone() if self.eta else None
        return {name: value for name, value in values.items() if value not in (None, {})}


@dataclass(frozen=True, slots=True)
class Sent:
    """A task that was sent."""

    id: str
    task: str
    #: None where an exchange decides
    queue: str | None
    #: time.monotonic() when it was sent
    sent: float = 0.0


def send(
    app: Celery,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    wire_priority: Callable[[int], int | None] = lambda priority: priority,
    force: bool = False,
    keep: bool = True,
) -> Sent:
    """Send a task by its full name; raises FleetError when it cannot be.

    `keep` has the task store its result even if it does not by itself. An unregistered task is only sent by `force`.
    """
    import_tasks(app)
    task = app.tasks.get(name)
    if task is None and not force:
        raise FleetError(f"The task {name} is not registered.", hint="--force sends it anyway.")
    given = _given(app, options or Options(), wire_priority)
    if keep:
        reader(app)
        given["ignore_result"] = False
    if task is not None:
        check_arguments(task, args, kwargs or {})
    return _publish(app, name, list(args), dict(kwargs or {}), given)


def wait(app: Celery, sent: Sent, timeout: float | None = None) -> Outcome:
    """Wait for the end of a task, or for `timeout` seconds."""
    stands, _ = follow(Call(sent.task, id=sent.id), reader(app), timeout)
    return Outcome(sent.id, stands.state, stands.result, stands.failed, time.monotonic() - sent.sent)


def document(sent: Sent, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return the document of `send --json`; without an outcome the task was not waited for."""
    return {
        "schema_version": 1,
        "id": sent.id,
        "task": sent.task,
        "queue": sent.queue,
        "state": outcome.state if outcome else "PENDING",
        "result": outcome.result if outcome else None,
        "runtime_s": round(outcome.runtime_s, 6) if outcome and outcome.ready else None,
        "error": outcome.error if outcome else None,
    }


def _given(app: Any, options: Options, wire_priority: Callable[[int], int | None]) -> dict[str, Any]:
    if options.queue is not None:
        check_queue(app, options.queue)
    given = options.given()
    if options.priority is not None:
        given["priority"] = wire_priority(options.priority)
    return {name: value for name, value in given.items() if value is not None}


def check_arguments(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], first: str = "") -> None:
    """Raise FleetError for arguments that the task cannot take, before Celery does so with a TypeError.

    `first` says what the first of them is, where the user has not written it.
    """
    if not task.typing:
        return
    try:
        task.__header__(*args, **kwargs)
    except TypeError as error:
        short = task.name.rpartition(".")[2]
        what = f"{task.name} cannot take these arguments: {error}."
        raise FleetError(what, hint=f"It is called as {short}{signature_text(task)}{first}.") from None


def _publish(app: Any, name: str, args: list[Any], kwargs: dict[str, Any], given: dict[str, Any]) -> Sent:
    """Send, and learn from the message itself which queue it went to."""
    from celery.signals import before_task_publish

    queues: list[str] = []

    def on_publish(exchange: Any, routing_key: str, headers: Any, declare: Sequence[Any] = (), **_: Any) -> None:
        name = getattr(exchange, "name", exchange) or ""
        reached = RoutingTable.of(app).reached(name, routing_key or "", headers)
        queues.extend(reached or (queue.name for queue in declare))

    task = app.tasks.get(name)
    before_task_publish.connect(on_publish, weak=False)
    began = time.monotonic()
    try:
        with publishing(app), without_subscribing(app):
            if task is not None:
                result = task.apply_async(args, kwargs, **given)
            else:
                result = app.send_task(name, args, kwargs, **given)
    finally:
        before_task_publish.disconnect(on_publish)
    return Sent(result.id, name, queues[0] if queues else None, began)
