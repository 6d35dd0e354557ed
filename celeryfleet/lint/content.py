"""Rules about what stands in files and messages: credentials, formats that workers refuse, results and canvases."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from celeryfleet.fleetfile.variables import Variable, segments
from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.plan.secrets import MASK, is_secret, masked, masked_origin
from celeryfleet.text import quoted

#: what kombu calls the formats it knows
_TYPES = {
    "json": "application/json",
    "pickle": "application/x-python-serialize",
    "yaml": "application/x-yaml",
    "msgpack": "application/x-msgpack",
}
_PICKLE = _TYPES["pickle"]
#: settings whose names sound like a credential and whose values are paths
_PATHS = frozenset({"security_key", "security_certificate"})
#: RabbitMQ's own, which works on its own machine only
_GUEST = re.compile(r"://guest:guest@")

Path = tuple[str | int, ...]


# --- Formats ----------------------------------------------------------------------------------------------


@rule("CF060", "pickle-accepted", "Workers that accept pickles", Level.WARNING)
def pickle(case: Case) -> Iterator[Found]:
    """Find settings by which a message may run any code."""
    for key in ("accept_content", "result_accept_content"):
        places: list[tuple[Mapping[str, Any], Path]] = [(case.plan.settings, ("celery", key))]
        places += [(pool.conf, ("pools", pool.name, "celery", key)) for pool in case.plan.pools]
        for settings, path in places:
            if _PICKLE in _types(settings.get(key) or ()):
                yield Found(
                    case.fleet.where(*path),
                    f"{key} lets pickles in: whoever can write to the broker can run any code in a worker.",
                    "Send JSON, and remove pickle; Celery's own types and dates travel in it too.",
                )


@rule("CF061", "serializer-refused", "A format that the workers do not accept", Level.WARNING)
def refused(case: Case) -> Iterator[Found]:
    """Find what is sent in a format that a worker throws away (ContentDisallowed)."""
    default = str(case.plan.settings.get("task_serializer", "json"))
    for pool in case.plan.pools:
        accepted = _types(case.setting(pool, "accept_content") or ())
        if _type(default) not in accepted:
            yield Found(
                case.where(
                    ("pools", pool.name, "celery", "accept_content"),
                    ("celery", "task_serializer"),
                    ("celery", "accept_content"),
                ),
                f'tasks are sent as {default}, which the pool "{pool.name}" does not accept: it throws them away '
                "(ContentDisallowed).",
                f"Add {default} to accept_content, or set task_serializer to what is accepted.",
            )
            continue
        named = [
            task
            for task, own in case.tasks.items()
            if _type(str(own.get("serializer") or default)) not in accepted
            and not set(case.queues_of(task)).isdisjoint(pool.queues)
        ]
        if named:
            yield Found(
                case.fleet.where("pools", pool.name),
                f'the code of {quoted(named)} sets a serializer that the pool "{pool.name}" does not accept: it throws '
                "them away (ContentDisallowed).",
                "Remove serializer= from the task's decorator.",
            )


def _type(name: str) -> str:
    return _TYPES.get(name, name)


def _types(names: Collection[Any]) -> set[str]:
    return {_type(str(name)) for name in ([names] if isinstance(names, str) else names)}


# --- Credentials ------------------------------------------------------------------------------------------


@rule("CF062", "credentials", "A credential in fleet.yaml", Level.WARNING)
def credentials(case: Case) -> Iterator[Found]:
    """Find passwords that are written out, where a `${VAR}` would do."""
    for path, value in _texts(case):
        name = str(next(step for step in reversed(path) if isinstance(step, str)))
        if _holds_secret(value, name, case.fleet.origin(*path) or case.fleet.origin(*path[:-1])):
            yield Found(
                case.fleet.where(*path),
                f"{'.'.join(map(str, path))} holds a credential that everyone who reads this file can read.",
                f"Write ${{{_variable(name)}}} instead, and set it in the environment or in an env_file.",
            )


def _texts(case: Case) -> Iterator[tuple[Path, str]]:
    """Go through the texts of a fleet that may hold a credential."""
    fleet = case.fleet
    yield ("broker", "url"), fleet.broker.url
    yield ("results",), fleet.results
    yield from _leaves(fleet.celery, ("celery",))
    for index, alert in enumerate(fleet.alerts):
        yield ("alerts", index, "webhook"), alert.webhook or ""
    for name, pool in fleet.pools.items():
        yield from _leaves(pool.celery, ("pools", name, "celery"))
        yield from _leaves(pool.env, ("pools", name, "env"))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif isinstance(value, str):
        yield path, value


def _holds_secret(value: str, name: str, written: str | None) -> bool:
    """Tell whether a text holds a credential that is not a `${VAR}`; `written` is set where it has one in it."""
    if not value or name in _PATHS or _GUEST.search(value):
        return False
    if written is None:
        return is_secret(name) or name == "webhook" or masked(value) != value
    parts = list(segments(written))
    if any(isinstance(part, Variable) and "-" in part.operator and masked(part.other) != part.other for part in parts):
        return True
    if is_secret(name):
        return any(isinstance(part, str) and part for part in parts)
    return MASK in masked_origin(written)


def _variable(name: str) -> str:
    return {"url": "BROKER_URL", "results": "RESULTS_URL"}.get(name, re.sub(r"\W", "_", name).upper())


# --- Results ----------------------------------------------------------------------------------------------


@rule("CF070", "results-off", "Canvases without results", Level.WARNING)
def off(case: Case) -> Iterator[Found]:
    """Find work-flows that need the results which the fleet does not keep."""
    if case.plan.broker.results or not case.fleet.canvases:
        return
    yield Found(
        case.where(("results",), ("canvases",)),
        f"no results are kept, so nobody can wait for the canvas {quoted(case.fleet.canvases)}: `canvas` refuses it "
        "without --no-wait, and a chord never gets to its body.",
        "Name a result backend in `results:`; a Redis or embedded broker serves as one by default.",
    )


@rule("CF071", "chord-unsupported", "A chord on a backend that has none", Level.WARNING)
def chords(case: Case) -> Iterator[Found]:
    """Find work-flows that Celery refuses on RabbitMQ's rpc:// results."""
    if not case.plan.broker.results.startswith("rpc"):
        return
    for name, expression in case.fleet.canvases.items():
        if has_chord(expression):
            yield Found(
                case.fleet.where("canvases", name),
                f'the canvas "{name}" is a chord, which rpc:// results do not know (NotImplementedError).',
                "Name a backend that does, such as results: redis://localhost:6379/1",
            )


def has_chord(expression: str) -> bool:
    """Tell whether an expression surely makes a chord: one by name, or a group with something after it."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(_is_chord(node) for node in ast.walk(tree))


def _is_chord(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="chord")):
            return True
        case ast.Call(func=ast.Name(id="chain"), args=[*steps, _]):
            return any(_is_group(step) for step in steps)
        case ast.BinOp(left=left, op=ast.BitOr()):
            return _is_group(left) or (isinstance(left, ast.BinOp) and _is_group(left.right))
        case _:
            return False


def _is_group(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "group"


RULES = (pickle, refused, credentials, off, chords)
