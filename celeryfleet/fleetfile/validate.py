"""A tree → a Fleet, or every problem of its keys and values, each a sentence with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import codes
from celeryfleet.fleetfile.fields import kind
from celeryfleet.fleetfile.interpolate import emptied
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.fleetfile.subjects import owner, quoted, subject
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import Node, Path, Scalar, at, key_mark, raw, value_mark
from celeryfleet.text import listed

#: pydantic's errors → what was wanted
_WANTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


def validate(root: Node, defaults: Mapping[str, Any]) -> tuple[Fleet | None, list[Problem]]:
    """Validate a whole fleet; `defaults` stand where nothing was written."""
    data = {**defaults, **raw(root)}
    try:
        return Fleet.model_validate(data), []
    except ValidationError as error:
        first = error.errors(include_url=False)
    # A model compares its keys with one another only once each is right by itself: so again, without the wrong ones.
    removed = {_path(details) for details in first if _remove(data, _path(details))}
    second: list[ErrorDetails] = []
    try:
        Fleet.model_validate(data)
    except ValidationError as error:
        second = [details for details in error.errors(include_url=False) if not _follows(details, removed)]
    problems: dict[Problem, None] = {}
    for details in (*first, *second):
        path = _path(details)
        node = at(root, _written(root, path))
        if not (isinstance(node, Scalar) and node.failed):
            problems[_problem(root, path, details)] = None
    return None, list(problems)


def _path(details: ErrorDetails) -> Path:
    path = tuple(step for step in details["loc"] if step != "[key]")
    key = details.get("ctx", {}).get("at")
    return (*path, key) if key else path


def _remove(data: Any, path: Path) -> bool:
    *above, last = path or ("",)
    for step in above:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    if not isinstance(data, dict) or last not in data:
        return False
    del data[last]
    return True


def _follows(details: ErrorDetails, removed: set[Path]) -> bool:
    """Tell whether this is wrong only since a key was removed for being wrong: one is missing, or left to a default."""
    path = _path(details)
    return path in removed or (details["type"] == "fleet" and any(key[:-1] == path for key in removed if key))


def _written(root: Node, path: Path) -> Path:
    """Return the path without the key that a short form, such as a broker's mere URL, leaves out."""
    return path[:-1] if at(root, path) is None and isinstance(at(root, path[:-1]), Scalar) else path


# --- Sentences --------------------------------------------------------------------------------------------


def _problem(root: Node, path: Path, details: ErrorDetails) -> Problem:
    written = _written(root, path)
    match details["type"]:
        case "extra_forbidden":
            return _unknown(root, path)
        case "missing":
            what = f'{subject(path[:-1])} lacks the key "{path[-1]}".'
            return Problem(what, str(key_mark(root, path[:-1])), _EXAMPLES.get(str(path[-1]), ""))
        case "fleet":
            context = details["ctx"]
            what, hint = context["what"], context["hint"]
        case known:
            wanted = _WANTED.get(known)
            what = f"must be {wanted}, but it is {kind(details['input'])}" if wanted else details["msg"]
            hint = _shape(path, wanted or "", details["input"])
    what, hint = emptied(at(root, written)) or (what, hint)
    return Problem(f"{subject(written)} {what.rstrip('.')}.", str(value_mark(root, written)), hint)


#: a missing key → how to write it
_EXAMPLES = {
    "queues": "Write queues: [default]",
    "max": "Write max: 4",
    "task": "Write task: shop.tasks.report",
    "name": "Write name: events",
}


def _shape(path: Path, wanted: str, value: Any) -> str:
    """Show how to write names that were given in the wrong shape; anything else might be a credential."""
    match value:
        case Scalar() if wanted == "a list" and path[-1] in ("queues", "profiles") and value.value is not None:
            words = (value.written or value.text).replace(",", " ").split()
            return f"Write {path[-1]}: [{', '.join(words)}]"
        case Scalar() if wanted == "a mapping" and path[0] == "pools" and len(path) == 2:
            return "Write queues: [default] under it."
        case [Scalar(plain=True) as first, *_] if path in (("queues",), ("pools",)) and first.text.isprintable():
            return f"Write {first.text}: and what belongs to it, without the hyphen or bracket."
        case _:
            return ""


def _unknown(root: Node, path: Path) -> Problem:
    key = str(path[-1])
    keys = _keys(path[:-1])
    hint = did_you_mean(key, keys)
    if not hint and len(path) == 1:
        homes = [name for name, model in _HOMES.items() if key in model.model_fields]
        hint = f"It is a key of a {homes[0]}." if homes else ""
    hint = hint or f"Its keys are {listed(keys)}."
    what = f"{_holder(path[:-1])} has no key {quoted(key)}."
    return Problem(what, str(key_mark(root, path)), hint, codes.UNKNOWN_KEY)


def _holder(path: Path) -> str:
    thing, rest = owner(path)
    return subject(path) if thing or rest else "fleet.yaml"


def _model_at(path: Path) -> type[BaseModel] | None:
    """Return the model whose keys stand at a path."""
    model: type[BaseModel] = Fleet
    within = False
    for step in path:
        if within:  # a name or a number, which leads to one of many
            within = False
            continue
        found = model.model_fields.get(str(step))
        parts = _inner(found.annotation) if found else []
        models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        if not models:
            return None
        model, within = models[0], any(get_origin(part) in (dict, tuple) for part in parts)
    return model


def _inner(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [annotation, *(found for argument in arguments for found in _inner(argument))]


def _keys(path: Path) -> list[str]:
    model = _model_at(path)
    return list(model.model_fields) if model else []


_HOMES: Mapping[str, type[BaseModel]] = {
    name: model for name in ("pool", "queue") if (model := _model_at((f"{name}s", name))) is not None
}
