"""Runs a canvas: steps → Celery's signatures, sent by the app's own router, followed to the end."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.client.outcome import Outcome, Progress, Record
from celeryfleet.client.publish import publishing, shown_url
from celeryfleet.client.results import follow, reader, without_subscribing
from celeryfleet.client.send import check_arguments
from celeryfleet.client.steps import Call, Chain, Chord, Group, Leaf, Map, Step, chained, identified, leaves
from celeryfleet.errors import FleetError

if TYPE_CHECKING:
    from celery import Celery

#: the user's priority (9 first) → the broker's
WirePriority = Callable[[int], int | None]


@dataclass(frozen=True, slots=True)
class Running:
    """A canvas that was sent."""

    #: of the last task, or of a closing group
    id: str
    #: with the id of each task
    step: Step
    #: time.monotonic() when it had been sent
    sent: float


def start(
    app: Celery, step: Step, wire_priority: WirePriority = lambda priority: priority, keep: bool = True
) -> Running:
    """Send a canvas; raises FleetError when it cannot be.

    `keep` has every task store its result, also those that do not by themselves, so that it can be followed.
    """
    from kombu.utils.uuid import uuid

    known = identified(step, uuid)
    _check_calls(app, known)
    if needs_results(known):
        _check_chords(app)
    if keep or needs_results(known):
        # One look at once: Celery would try for 19 seconds to reach a backend that is down.
        reader(app)([leaf.id for leaf in leaves(known)][:1])
    signature = _Builder(app, wire_priority, keep).build(known)
    began = time.monotonic()
    with publishing(app), without_subscribing(app):
        result = signature.apply_async()
        if isinstance(known, Group):
            with contextlib.suppress(NotImplementedError):  # rpc:// knows no groups
                result.save()
    return Running(result.id, known, began)


def wait(
    app: Celery,
    running: Running,
    timeout: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Outcome, dict[str, Record]]:
    """Follow a canvas to its end, or for `timeout` seconds; the records are those of its tasks by id."""
    stands, records = follow(running.step, reader(app), timeout, on_progress)
    runtime = time.monotonic() - running.sent
    return Outcome(running.id, stands.state, stands.result, stands.failed, runtime), records


def needs_results(step: Step) -> bool:
    """Tell whether Celery itself needs a result backend to run a canvas: chords do."""
    match step:
        case Call() | Map():
            return False
        case Chord():
            return True
        case Group(steps):
            return any(needs_results(part) for part in steps)
        case Chain(steps):
            early = any(isinstance(part, Group) for part in steps[:-1])
            return early or any(needs_results(part) for part in steps)


def _check_calls(app: Any, step: Step, follows: bool = False) -> None:
    """Raise FleetError for a call that cannot work; one that follows another step gets its result first."""
    match step:
        case Call(name, args, kwargs) if name in app.tasks:
            if follows and not step.immutable:
                check_arguments(app.tasks[name], (None, *args), kwargs, ", and the result before it comes first")
            else:
                check_arguments(app.tasks[name], args, kwargs)
        case Call() | Map():
            pass
        case Group(steps):
            for part in steps:
                _check_calls(app, part, follows)
        case Chain(steps):
            for number, part in enumerate(steps):
                _check_calls(app, part, follows or number > 0)
        case Chord(header, body):
            _check_calls(app, header, follows)
            _check_calls(app, body, follows=True)


def _check_chords(app: Any) -> None:
    reader(app)
    try:
        app.backend.ensure_chords_allowed()
    except NotImplementedError:
        what = f"The result backend {shown_url(app.conf.result_backend)} cannot run a chord."
        raise FleetError(what, hint="Set `results:` in fleet.yaml to Redis, a database or memcached.") from None


class _Builder:
    """Makes signatures of steps."""

    def __init__(self, app: Celery, wire_priority: WirePriority, keep: bool) -> None:
        self._app = app
        self._wire_priority = wire_priority
        self._keep = keep

    def build(self, step: Step) -> Any:
        """Return the signature of a step."""
        from celery import group

        match step:
            case Call() | Map():
                return self._leaf(step)
            case Group(steps):
                return group([self.build(part) for part in steps], app=self._app)
            case Chain(steps):
                return self._chain(steps)
            case Chord(header, body):
                return self._chord(header, body)

    def _chain(self, steps: Sequence[Step]) -> Any:
        """Chain up to the first group, which takes what follows it as the body of a chord.

        Celery does the same, but takes a group of one for its only member, whose result is then no list.
        """
        from celery.canvas import _chain

        cut = next((number for number, step in enumerate(steps) if isinstance(step, Group | Chord)), len(steps))
        built = [self._leaf(step) for step in steps[:cut] if isinstance(step, Call | Map)]
        if cut < len(steps):
            built.append(self._closing(steps[cut], steps[cut + 1 :]))
        return built[0] if len(built) == 1 else _chain(*built, app=self._app)

    def _closing(self, step: Step, rest: Sequence[Step]) -> Any:
        if isinstance(step, Chord):
            return self._chord(step.header, chained((step.body, *rest)))
        return self._chord(step, chained(tuple(rest))) if isinstance(step, Group) and rest else self.build(step)

    def _chord(self, header: Group, body: Step) -> Any:
        from celery import chord

        return chord([self.build(part) for part in header.steps], self.build(body), app=self._app)

    def _leaf(self, leaf: Leaf) -> Any:
        from celery import signature
        from celery.canvas import xmap, xstarmap

        options = self._options(leaf)
        if isinstance(leaf, Map):
            task = signature(leaf.task, app=self._app)
            kind = xstarmap if leaf.star else xmap
            return kind(task, [_plain(item) for item in leaf.items], app=self._app, **options)
        args, kwargs = tuple(_plain(value) for value in leaf.args), _plain(dict(leaf.kwargs))
        return signature(leaf.task, args, kwargs, options, app=self._app, immutable=leaf.immutable)

    def _options(self, leaf: Leaf) -> dict[str, Any]:
        options: dict[str, Any] = {**leaf.options, "task_id": leaf.id}
        if self._keep:
            options["ignore_result"] = False
        if "priority" in options:
            options["priority"] = self._wire_priority(options["priority"])
        if "eta" in options:
            options["eta"] = datetime.datetime.fromisoformat(options["eta"]).astimezone()
        if "headers" in options:
            options["headers"] = dict(options["headers"])  # Celery may write into it
        for name, steps in (("link", leaf.link), ("link_error", leaf.on_error)):
            if steps:
                options[name] = [self._callback(step) for step in steps]
        return options

    def _callback(self, step: Step) -> Any:
        from kombu.utils.uuid import uuid

        return _Builder(self._app, self._wire_priority, keep=False).build(identified(step, uuid))


def _plain(value: Any) -> Any:
    """Return a value with lists for its tuples, as the other side will see it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def count(step: Step) -> int:
    """Count the messages of a canvas."""
    return sum(1 for _ in leaves(step))
