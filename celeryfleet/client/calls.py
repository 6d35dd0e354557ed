"""What an expression may call, group, chain, chord, range, .s, .map, .set and their like: paid for, and then done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import product
from typing import Any

from celery import Signature, chord, chunks, signature, xmap, xstarmap
from kombu.utils.functional import fxrange

from celeryfleet.client.names import nearest, resolve_name
from celeryfleet.client.options import CALLBACKS, checked
from celeryfleet.client.seam import routed_by_task
from celeryfleet.client.signatures import (
    FIRST,
    LAST,
    Step,
    chained,
    copied,
    grouped,
    leaves,
    members,
    sequence,
    set_options,
)
from celeryfleet.client.values import Budget, ComplaintError, Launched, Names, TaskName, argument, items, kind_of

#: groups that may follow one another, each a chord within the one before it
CHORDS = 50
#: what a copy of a signature costs besides its size
COPY = 3


class Calls:
    """Does what is called in one expression: `_call_…` are its functions, `_task_…` and `_step_…` the methods."""

    def __init__(self, names: Names, budget: Budget, app: Any) -> None:
        self._names = names
        self._budget = budget
        self._app = app
        self._found: dict[str, TaskName | ComplaintError] = {}

    def function(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call one of FUNCTIONS; raises ComplaintError for arguments that it does not take."""
        return self._bound("_call_", name, args, kwargs)

    def method(self, value: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of a task, of a signature, or of what was sent; raises ComplaintError."""
        kind = "_task_" if isinstance(value, TaskName) else "_step_"
        if isinstance(value, Launched) and name in ("get", "join"):
            value, name = value.step, "get"
        elif kind == "_step_":
            value = self.step(value)
        known = _named(kind)
        if name not in known:
            raise ComplaintError(
                f'There is no ".{name}" here.', f"{nearest(name, known)}There are .{', .'.join(known)}."
            )
        return self._bound(kind, name, (value, *args), kwargs)

    def _bound(self, kind: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        function = getattr(Calls, kind + name)
        try:
            _parameters(function).bind(self, *args, **kwargs)
        except TypeError as error:
            raise ComplaintError(f"{name}() cannot be called so: {error}.", _EXAMPLES.get(name, "")) from None
        return function(self, *args, **kwargs)

    def value(self, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a value: a chord's header takes its body, all else is sent, with more arguments or none."""
        if isinstance(value, TaskName):
            raise ComplaintError(f"{value} cannot be called here.", f"Write {value.written}.s(…).")
        if isinstance(value, Signature) and value.subtask_type == "chord":
            if value.body is None and (args or kwargs):
                return self.function("chord", (tuple(value.tasks), *args), kwargs)
            if any(isinstance(arg, Signature) for arg in args):
                raise ComplaintError("This chord has a body already.")
        return self._step_delay(self.step(value), *args, **kwargs)

    def find(self, written: str) -> TaskName | ComplaintError:
        """Find a task, or say why there is none."""
        if written not in self._found:
            try:
                name = resolve_name(written, self._names.tasks, self._names.aliases)
                self._found[written] = TaskName(name, written)
            except ComplaintError as complaint:
                self._found[written] = complaint
        return self._found[written]

    def task(self, written: str) -> TaskName:
        """Find a task; raises ComplaintError."""
        found = self.find(written)
        if isinstance(found, ComplaintError):
            raise found
        return found

    def step(self, value: Any) -> Step:
        """Return a value that is a signature, paid for; raises ComplaintError with what to write instead."""
        match value:
            case TaskName():
                raise ComplaintError(f"{value} is no signature yet.", f"Write {value.written}.s(…).")
            case Launched():
                hint = "Leave .delay(), () and .get() to the very end."
                raise ComplaintError(f"{value} cannot be part of a canvas.", hint)
            case tuple():
                raise ComplaintError("A list is no step.", "Write group([…]) for steps side by side.")
            case Signature() if value.subtask_type == "chord" and value.body is None:
                raise ComplaintError("A chord without a body cannot run.", "Write chord(header, body).")
            case Signature():
                self._budget.pay(value)
                return value
        raise ComplaintError(f"{kind_of(value)} is no step.", "Steps are signatures such as add.s(2, 2).")

    def chained(self, steps: Iterable[Step]) -> Step:
        """Join signatures into a chain; raises ComplaintError."""
        parts = [part for step in steps for part in sequence(step)]
        if not parts:
            raise ComplaintError("This chain is empty.", "It needs one step at least.")
        if sum(bool(members(part)) for part in parts) > CHORDS:
            raise ComplaintError(f"More than {CHORDS} groups follow one another.")
        return chained(parts, self._app)

    # --- Functions ---

    def _call_group(self, /, *steps: Any) -> Step:
        found = self._steps(steps)
        if not found:
            raise ComplaintError("This group is empty.", "It needs one step at least.")
        return grouped(found, self._app)

    def _call_chain(self, /, *steps: Any) -> Step:
        return self.chained(self._steps(steps))

    def _call_chord(self, header: Any, body: Any = None) -> Step:
        header = self._call_group(header)
        return chord(header, None, app=self._app) if body is None else self.chained((header, self.step(body)))

    def _steps(self, steps: tuple[Any, ...]) -> list[Step]:
        """Return the steps of `group(a, b)` or `group([a, b])`."""
        one = steps[0] if len(steps) == 1 and isinstance(steps[0], tuple | range) else steps
        return [self.step(step) for step in items(one, self._budget)]

    def _call_signature(self, task: Any, /, args: Any = (), kwargs: Any = None, **options: Any) -> Step:
        if not isinstance(task, str):
            raise ComplaintError("signature() takes the name of a task first.", _EXAMPLES["signature"])
        return self._task_signature(self.task(task), args, kwargs, **options)

    def _call_range(self, /, *bounds: Any) -> range:
        if not all(isinstance(bound, int) for bound in bounds):
            raise ComplaintError("range() takes one to three whole numbers.")
        try:
            return range(*bounds)
        except (TypeError, ValueError) as error:
            raise ComplaintError(f"{error}.") from None

    def _call_zip(self, /, *lists: Any) -> tuple[Any, ...]:
        return tuple(zip(*(items(one, self._budget) for one in lists), strict=False))

    def _call_enumerate(self, it: Any, /) -> tuple[Any, ...]:
        return tuple(enumerate(items(it, self._budget)))

    def _call_list(self, it: Any, /) -> tuple[Any, ...]:
        return items(it, self._budget)

    _call_tuple = _call_list

    # --- Methods of a task ---

    def _task_s(self, task: TaskName, /, *args: Any, **kwargs: Any) -> Step:
        return self._task_signature(task, args, kwargs)

    def _task_si(self, task: TaskName, /, *args: Any, **kwargs: Any) -> Step:
        return self._task_signature(task, args, kwargs).set(immutable=True)

    def _task_signature(self, task: TaskName, /, args: Any = (), kwargs: Any = None, **options: Any) -> Step:
        step = signature(task.name, *self._arguments(args, kwargs), app=self._app)
        return self._step_set(step, **options) if options else step

    def _task_map(self, task: TaskName, /, it: Any) -> Step:
        return routed_by_task(xmap(self._task_s(task), list(self._arguments(it)[0]), app=self._app))

    def _task_starmap(self, task: TaskName, /, it: Any) -> Step:
        return routed_by_task(xstarmap(self._task_s(task), self._lists(it), app=self._app))

    def _task_chunks(self, task: TaskName, /, it: Any, n: Any) -> Step:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ComplaintError("The size of a chunk is a whole number from 1.", _EXAMPLES["chunks"])
        whole = self._lists(it)
        if not whole:
            raise ComplaintError("There is nothing to cut into chunks.")
        parts = chunks(self._task_s(task), whole, min(n, len(whole)), app=self._app).group().tasks
        return grouped(map(routed_by_task, parts), self._app)

    def _lists(self, it: Any) -> list[list[Any]]:
        found = list(self._arguments(it)[0])
        if not all(isinstance(item, list) for item in found):
            raise ComplaintError("This is no list of argument lists.", _EXAMPLES["starmap"])
        return found

    def _arguments(self, args: Any, kwargs: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments in JSON's types, paid for."""
        self._budget.pay((args, kwargs))
        if kwargs and type(kwargs) is not dict:
            raise ComplaintError(f"A mapping belongs here, not {kind_of(kwargs).lower()}.")
        return tuple(map(argument, items(args or (), self._budget))), argument(kwargs or {})

    # --- Methods of a signature ---

    def _step_set(self, step: Step, /, **options: Any) -> Step:
        plain = checked(options, self._names.queues)
        callbacks = {name: self._callbacks(options.get(name)) for name in CALLBACKS}
        for _ in leaves(step):
            self._budget.pay(options)
            self._budget.spend(COPY)
        step = copied(step)
        set_options(step, plain)
        for leaf, callback in product(leaves(step, LAST), callbacks["link"]):
            leaf.link(callback)
        for leaf, callback in product(leaves(step, headers=False), callbacks["link_error"]):
            leaf.link_error(callback)
        for leaf in leaves(step, FIRST) if options.get("immutable") is True else ():
            leaf.set(immutable=True)
        return step

    def _callbacks(self, value: Any) -> list[Step]:
        return [self.step(callback) for callback in (value if isinstance(value, tuple) else (value,)) if callback]

    def _step_clone(self, step: Step, /, args: Any = (), kwargs: Any = None, **options: Any) -> Step:
        given = self._arguments(args, kwargs)
        if any(given):
            for _ in leaves(step):
                self._budget.pay(given)
                self._budget.spend(COPY)
            step = copied(step)
            for leaf in leaves(step, FIRST):
                if not leaf.immutable:
                    leaf.args, leaf.kwargs = (*given[0], *leaf.args), {**leaf.kwargs, **given[1]}
        return self._step_set(step, **options) if options else step

    def _step_link(self, step: Step, callback: Any, /) -> Step:
        return self._step_set(step, link=callback)

    def _step_on_error(self, step: Step, errback: Any, /) -> Step:
        return self._step_set(step, link_error=errback)

    _step_link_error = _step_on_error
    _step_group = _call_group

    def _step_skew(self, step_: Step, /, start: Any = 1.0, stop: Any = None, step: Any = 1.0) -> Step:
        """Start the members of a group one after another, as Celery does."""
        numbers = (start, step, stop or 0)
        if not members(step_) or not all(isinstance(number, int | float) for number in numbers):
            raise ComplaintError("skew() spreads a group over time.", _EXAMPLES["skew"])
        delays = fxrange(start, stop, step, repeatlast=True)
        return grouped((self._step_set(part, countdown=next(delays)) for part in members(step_)), self._app)

    def _step_delay(self, value: Any, /, *args: Any, **kwargs: Any) -> Launched:
        return self._step_apply_async(value, args, kwargs)

    def _step_apply_async(self, value: Any, /, args: Any = (), kwargs: Any = None, **options: Any) -> Launched:
        make = self._task_signature if isinstance(value, TaskName) else self._step_clone
        return Launched(make(value, args, kwargs, **options))

    _task_delay, _task_apply_async = _step_delay, _step_apply_async

    def _step_get(self, step: Step, /, timeout: Any = None, **_: Any) -> Launched:
        return Launched(step, timeout if isinstance(timeout, int | float) else None)


@cache
def _parameters(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@cache
def _named(kind: str) -> tuple[str, ...]:
    """Return what there is to call of one kind: nothing else is."""
    return tuple(name.removeprefix(kind) for name in vars(Calls) if name.startswith(kind))


FUNCTIONS = _named("_call_")
_EXAMPLES = {
    "group": "Write group(add.s(1, 1), add.s(2, 2)); options go into .set(…).",
    "chain": "Write chain(add.s(1, 1), add.s(2)); options go into .set(…).",
    "chord": "Write chord([add.s(1, 1), add.s(2, 2)], xsum.s()).",
    "signature": 'Write signature("tasks.math.add", args=(2, 2)), or add.signature((2, 2), countdown=10).',
    "map": "Write xsum.map([[1, 2], [3, 4]]).",
    "starmap": "Write add.starmap([(2, 2), (4, 4)]).",
    "chunks": "Write add.chunks(zip(range(100), range(100)), 10).",
    "set": "Write .set(queue=…, countdown=…, priority=…).",
    "skew": "Write group(…).skew(start=1, stop=10).",
}
