"""What the functions and methods of an expression do to values: group, chain, chord, .s, .map, .set and their like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from celeryfleet.client.faults import ComplaintError
from celeryfleet.client.kinds import Context, Header, Launched, TaskName, step_of, task_named
from celeryfleet.client.names import nearest
from celeryfleet.client.options import chosen
from celeryfleet.client.steps import (
    Call,
    Chain,
    Chord,
    Group,
    Map,
    Step,
    Value,
    chained,
    grouped,
    with_arguments,
    with_options,
)
from celeryfleet.client.values import bounds, frozen, items, sort_of

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]


def call_function(name: str, args: Args, kwargs: Kwargs, context: Context) -> object:
    """Call one of FUNCTIONS."""
    return FUNCTIONS[name](args, kwargs, context)


def call_value(value: object, args: Args, kwargs: Kwargs, context: Context) -> object:
    """Call what an expression made: a chord's header takes its body, all else is sent, with more arguments or none."""
    if isinstance(value, Header):
        body = args[0] if args else kwargs.get("body")
        return Chord(value.group, step_of(body))
    if isinstance(value, TaskName):
        raise ComplaintError(f"{value} cannot be called here.", f"Write {value.written}.s(…).")
    step = step_of(value)
    if isinstance(step, Chord) and any(isinstance(arg, Call | Map | Group | Chain | Chord) for arg in args):
        raise ComplaintError("This chord has a body already.")
    return Launched(_completed(step, args, kwargs, context))


def call_method(value: object, method: str, args: Args, kwargs: Kwargs, context: Context) -> object:
    """Call a method of a task, of a step, or of what was sent."""
    if isinstance(value, Launched) and method in ("get", "join"):
        timeout = kwargs.get("timeout", args[0] if args else None)
        return replace(value, timeout=timeout if isinstance(timeout, int | float) else None)
    table: Mapping[str, Callable[[Any, Args, Kwargs, Context], object]] = _STEP_METHODS
    if isinstance(value, TaskName):
        table = _TASK_METHODS
    else:
        value = step_of(value)
    if method not in table:
        raise ComplaintError(
            f'There is no ".{method}" here.', f"{nearest(method, table)}There are .{', .'.join(table)}."
        )
    return table[method](value, args, kwargs, context)


def _completed(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    if not args and not kwargs:
        return step
    return with_arguments(step, _values(args, context), _keywords(kwargs, context))


def _values(args: object, context: Context) -> tuple[Value, ...]:
    return tuple(frozen(item, context.budget) for item in items(args, context.budget))


def _keywords(kwargs: object, context: Context) -> dict[str, Value]:
    if not isinstance(kwargs, dict):
        raise ComplaintError(f"A mapping belongs here, not {sort_of(kwargs).lower()}.")
    return {key: frozen(value, context.budget) for key, value in kwargs.items()}


def _several(args: Args, context: Context) -> tuple[Step, ...]:
    """Return the steps of `group(a, b)` or `group([a, b])`."""
    listed = items(args[0], context.budget) if len(args) == 1 and isinstance(args[0], tuple | range) else args
    return tuple(step_of(step) for step in listed)


def _group_of(value: object, context: Context) -> Group:
    steps = _several((value,), context)
    if not steps:
        raise ComplaintError("This group is empty.", "It needs one step at least.")
    return grouped(steps)


def _group(args: Args, kwargs: Kwargs, context: Context) -> Step:
    _refuse(kwargs)
    return _group_of(args if len(args) != 1 else args[0], context)


def _chain(args: Args, kwargs: Kwargs, context: Context) -> Step:
    _refuse(kwargs)
    steps = _several(args, context)
    if not steps:
        raise ComplaintError("This chain is empty.", "It needs one step at least.")
    return chained(steps)


def _chord(args: Args, kwargs: Kwargs, context: Context) -> object:
    given = {**dict(zip(("header", "body"), args, strict=False)), **kwargs}
    if "header" not in given or len(args) > 2 or set(given) - {"header", "body"}:
        raise ComplaintError("A chord takes a header and a body.", "Write chord([add.s(1, 1), add.s(2, 2)], xsum.s()).")
    header = _group_of(given["header"], context)
    return Chord(header, step_of(given["body"])) if given.get("body") is not None else Header(header)


def _signature(args: Args, kwargs: Kwargs, context: Context) -> Step:
    if not args or not isinstance(args[0], str):
        raise ComplaintError(
            "signature() takes the name of a task first.", 'Write signature("tasks.math.add", args=(2, 2)).'
        )
    return _spelt(task_named(args[0], context), args[1:], kwargs, context)


def _spelt(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Step:
    """Read `(args, kwargs, **options)` as `.signature()` and `.apply_async()` take them."""
    if len(args) > 2:
        raise ComplaintError("Too many arguments.", "Write .signature((2, 2), countdown=10).")
    given = {**dict(zip(("args", "kwargs"), args, strict=False)), **kwargs}
    positional, keywords = given.pop("args", ()), given.pop("kwargs", {})
    call = Call(task.name, _values(positional or (), context), _keywords(keywords or {}, context))
    return chosen(given, context.names.queues).given_to(call)


def _s(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Call:
    return Call(task.name, _values(args, context), _keywords(kwargs, context))


def _si(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Call:
    return replace(_s(task, args, kwargs, context), immutable=True)


def _map(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Map:
    return Map(task.name, _values(_one(args, kwargs), context))


def _starmap(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Map:
    listed = _values(_one(args, kwargs), context)
    if not all(isinstance(item, tuple) for item in listed):
        raise ComplaintError("starmap() takes a list of argument lists.", "Write add.starmap([(2, 2), (4, 4)]).")
    return Map(task.name, listed, star=True)


def _chunks(task: TaskName, args: Args, kwargs: Kwargs, context: Context) -> Group:
    given = {**dict(zip(("it", "n"), args, strict=False)), **kwargs}
    size = given.pop("n", None)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or "it" not in given or len(args) > 2:
        hint = "Write add.chunks(zip(range(100), range(100)), 10)."
        raise ComplaintError("chunks() takes a list of argument lists and the size of a chunk.", hint)
    whole = _starmap(task, (given["it"],), {}, context).items
    if not whole:
        raise ComplaintError("There is nothing to cut into chunks.")
    parts = (whole[start : start + size] for start in range(0, len(whole), size))
    return Group(tuple(Map(task.name, part, star=True) for part in parts))


def _set(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    if args:
        raise ComplaintError("set() takes options by name.", "Write .set(queue=…, countdown=…, priority=…).")
    return chosen(kwargs, context.names.queues).given_to(step)


def _clone(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    given = {**dict(zip(("args", "kwargs"), args, strict=False)), **kwargs}
    more, keywords = given.pop("args", ()), given.pop("kwargs", {})
    return chosen(given, context.names.queues).given_to(_completed(step, more or (), keywords or {}, context))


def _on_error(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    return chosen({"link_error": _one(args, kwargs)}, None).given_to(step)


def _link(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    return chosen({"link": _one(args, kwargs)}, None).given_to(step)


def _skew(step: Step, args: Args, kwargs: Kwargs, context: Context) -> Step:
    """Start the members of a group one after another, as `fxrange(start, stop, step)` goes round."""
    given = {
        "start": 1.0,
        "stop": None,
        "step": 1.0,
        **dict(zip(("start", "stop", "step"), args, strict=False)),
        **kwargs,
    }
    start, stop, stride = given["start"], given["stop"], given["step"]
    if not isinstance(step, Group) or not all(isinstance(number, int | float) for number in (start, stride)):
        raise ComplaintError("skew() spreads a group over time.", "Write group(…).skew(start=1, stop=10).")
    delays = [start + stride * number for number in range(len(step.steps))]
    if isinstance(stop, int | float) and stop >= start and stride > 0:
        delays = [start + (delay - start) % (stop - start + stride) for delay in delays]
    return Group(
        tuple(with_options(part, {"countdown": delay}) for part, delay in zip(step.steps, delays, strict=True))
    )


def _one(args: Args, kwargs: Kwargs) -> Any:
    if len(args) + len(kwargs) != 1:
        raise ComplaintError("Just one argument belongs here.")
    return [*args, *kwargs.values()][0]


def _refuse(kwargs: Kwargs) -> None:
    if kwargs:
        raise ComplaintError(f'"{next(iter(kwargs))}=" does not belong here.', "Options go into .set(…).")


def _range(args: Args, kwargs: Kwargs, context: Context) -> range:
    _refuse(kwargs)
    return bounds(args)


def _zip(args: Args, kwargs: Kwargs, context: Context) -> tuple[Any, ...]:
    return tuple(zip(*(items(arg, context.budget) for arg in args), strict=False))


def _enumerate(args: Args, kwargs: Kwargs, context: Context) -> tuple[Any, ...]:
    return tuple(enumerate(items(_one(args, {}), context.budget)))


def _list(args: Args, kwargs: Kwargs, context: Context) -> tuple[Any, ...]:
    return items(_one(args, kwargs), context.budget)


FUNCTIONS: dict[str, Callable[[Args, Kwargs, Context], object]] = {
    "group": _group,
    "chain": _chain,
    "chord": _chord,
    "signature": _signature,
    "range": _range,
    "zip": _zip,
    "enumerate": _enumerate,
    "list": _list,
    "tuple": _list,
}
_TASK_METHODS: dict[str, Callable[[TaskName, Args, Kwargs, Context], object]] = {
    "s": _s,
    "si": _si,
    "signature": _spelt,
    "map": _map,
    "starmap": _starmap,
    "chunks": _chunks,
    "delay": lambda task, args, kwargs, context: Launched(_s(task, args, kwargs, context)),
    "apply_async": lambda task, args, kwargs, context: Launched(_spelt(task, args, kwargs, context)),
}
_STEP_METHODS: dict[str, Callable[[Step, Args, Kwargs, Context], object]] = {
    "set": _set,
    "clone": _clone,
    "on_error": _on_error,
    "link_error": _on_error,
    "link": _link,
    "skew": _skew,
    "group": lambda step, args, kwargs, context: _group_of((step,), context),
    "delay": lambda step, args, kwargs, context: Launched(_completed(step, args, kwargs, context)),
    "apply_async": lambda step, args, kwargs, context: Launched(_clone(step, args, kwargs, context)),
    "get": lambda step, args, kwargs, context: Launched(step, kwargs.get("timeout")),
}
