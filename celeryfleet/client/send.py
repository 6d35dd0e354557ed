"""Sends a task, or a canvas of them, by the app's own router, and follows it to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from celery import signature
from celery.result import GroupResult
from kombu.utils.uuid import uuid

from celeryfleet.app import import_tasks
from celeryfleet.client.inspect import signature_text
from celeryfleet.client.options import CALLBACKS, Options
from celeryfleet.client.outcome import Outcome, Progress, Record
from celeryfleet.client.publish import check_queue, publishing, shown_url
from celeryfleet.client.results import follow, reader
from celeryfleet.client.seam import bind, without_subscribing
from celeryfleet.client.signatures import Step, copied, leaves, map_of, members, sequence
from celeryfleet.errors import FleetError
from celeryfleet.routing.table import RoutingTable

if TYPE_CHECKING:
    from celery import Celery

#: the user's priority (9 first) → the broker's
WirePriority = Callable[[int], int | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A task or a canvas that was sent."""

    #: of the last task, or of a closing group
    id: str
    #: with the id of each task
    step: Step
    #: of the first message; None where an exchange decides
    queue: str | None
    #: time.monotonic() when it was sent
    at: float


def send(
    app: Celery,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Options | None = None,
    wire_priority: WirePriority = lambda priority: priority,
    force: bool = False,
    keep: bool = True,
) -> Sent:
    """Send a task by its full name, an unregistered one only by `force`; raises FleetError when it cannot be."""
    import_tasks(app)
    if name not in app.tasks and not force:
        raise FleetError(f"The task {name} is not registered.", hint="--force sends it anyway.")
    given = (options or Options()).given()
    if "queue" in given:
        check_queue(app, given["queue"])
    return start(app, signature(name, args, dict(kwargs or {}), given, app=app), wire_priority, keep)


def start(app: Celery, step: Step, wire_priority: WirePriority = lambda priority: priority, keep: bool = True) -> Sent:
    """Send a canvas; raises FleetError when it cannot be.

    `keep` has every task store its result, also those that do not by themselves, so that it can be followed.
    """
    step = _prepared(app, step, wire_priority, keep)
    _check_calls(app, step)
    if needs_results(step):
        _check_chords(app)
    if keep or needs_results(step):
        # One look at once: Celery would try for 19 seconds to reach a backend that is down.
        reader(app)([leaf.id for leaf in leaves(step)][:1])
    began = time.monotonic()
    with publishing(app) as letter, without_subscribing(app):
        result = step.apply_async()
        if isinstance(result, GroupResult):
            with suppress(NotImplementedError):  # rpc:// knows no groups
                result.save()
    queues = RoutingTable.of(app).reached(letter.exchange, letter.routing_key, letter.headers) or letter.declared
    return Sent(result.id, step, next(iter(queues), None), began)


def wait(
    app: Celery,
    sent: Sent,
    timeout: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Outcome, dict[str, Record]]:
    """Follow what was sent to its end, or for `timeout` seconds; the records are those of its tasks by id."""
    outcome, records = follow(sent.step, reader(app), timeout, on_progress)
    return replace(outcome, id=sent.id, took_s=time.monotonic() - sent.at), records


# --- Checking ---------------------------------------------------------------------------------------------


def check_arguments(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], first: str = "") -> None:
    """Raise FleetError for arguments that the task cannot take, before Celery does so with a TypeError.

    `first` says what the first of them is, where the user has not written it.
    """
    try:
        bind(task, args, kwargs)
    except TypeError as error:
        short = task.name.rpartition(".")[2]
        what = f"{task.name} cannot take these arguments: {error}."
        raise FleetError(what, hint=f"It is called as {short}{signature_text(task)}{first}.") from None


def needs_results(step: Step) -> bool:
    """Tell whether Celery itself needs a result backend to run a canvas: chords do."""
    *before, last = sequence(step)
    return any(map(members, before)) or any(map(needs_results, members(last)))


def _check_calls(app: Any, step: Step, follows: bool = False) -> None:
    """Raise FleetError for a call that cannot work; one that follows another step gets its result first."""
    for part in sequence(step):
        for member in members(part):
            _check_calls(app, member, follows)
        if part.task in app.tasks and part.subtask_type is None and not map_of(part):
            first = (None,) if follows and not part.immutable else ()
            said = ", and the result before it comes first" if first else ""
            check_arguments(app.tasks[part.task], (*first, *part.args), part.kwargs, said)
        follows = True


def _check_chords(app: Any) -> None:
    reader(app)
    try:
        app.backend.ensure_chords_allowed()
    except NotImplementedError:
        what = f"The result backend {shown_url(app.conf.result_backend)} cannot run a chord."
        raise FleetError(what, hint="Set `results:` in fleet.yaml to Redis, a database or memcached.") from None


# --- Publishing -------------------------------------------------------------------------------------------


def _prepared(app: Any, step: Step, wire_priority: WirePriority, keep: bool) -> Step:
    """Return a copy whose tasks have their ids, and their priorities as the broker counts them."""
    step = copied(step)
    for leaf in leaves(step):
        options = leaf.options
        for name in CALLBACKS:
            if name in options:
                called = [signature(callback, app=app) for callback in options[name]]
                options[name] = [_prepared(app, callback, wire_priority, keep=False) for callback in called]
        if "priority" in options:
            options["priority"] = wire_priority(options["priority"])
        if keep:
            options["ignore_result"] = False
        leaf.options = {name: value for name, value in options.items() if value is not None} | {"task_id": uuid()}
    return step
