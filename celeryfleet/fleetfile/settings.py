"""What may stand under `celery:`: known names, values of the right type, and nothing that fleet.yaml says itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import codes, units
from celeryfleet.fleetfile.celery_names import BOOLEANS, INTEGERS, KNOWN, NUMBERS, OLD
from celeryfleet.fleetfile.fields import kind, number, truth
from celeryfleet.fleetfile.subjects import subject
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import Block, Entry, Node, Path, Scalar, at, child, entries, is_null

#: returns the settings that the installed Celery knows; a newer one may know more than the table
Names = Callable[[], Collection[str]]

_DEFAULT_QUEUE = "It is the exchange and routing_key of the default queue: write them in queues."
#: settings that would contradict what fleet.yaml says → where it says so
_OWNED: Final[Mapping[str, str]] = {
    "task_queues": "Write queues: at the top instead.",
    "task_routes": "Write routes: at the top instead.",
    "task_default_queue": "Write default_queue: at the top instead.",
    "task_default_exchange": _DEFAULT_QUEUE,
    "task_default_exchange_type": _DEFAULT_QUEUE,
    "task_default_routing_key": _DEFAULT_QUEUE,
    "beat_schedule": "Write beat: {schedule: …} at the top instead.",
    "broker_read_url": "Write broker: at the top instead.",
    "broker_write_url": "Write broker: at the top instead.",
    "worker_concurrency": "Write concurrency: in each pool instead.",
    "worker_pool": "Write pool: in each pool instead.",
}
#: settings that the top has a key for: one of the two may be written, and neither in a pool
_TOP_TWINS: Final[Mapping[str, str]] = {"broker_url": "broker", "result_backend": "results"}
#: settings that a pool has a key for: one of the two may be written
_TWINS: Final[Mapping[str, str]] = {
    "worker_prefetch_multiplier": "prefetch_multiplier",
    "worker_max_tasks_per_child": "max_tasks_per_child",
    "worker_max_memory_per_child": "max_memory_per_child",
    "task_time_limit": "time_limit",
    "task_soft_time_limit": "soft_time_limit",
    "worker_send_task_events": "events",
}


def sections(root: Node) -> Iterator[Path]:
    """Go through the paths of every `celery:`."""
    yield ("celery",)
    for name, _ in entries(child(root, "pools")):
        yield ("pools", name, "celery")


def problems(root: Node, newer: Names) -> Iterator[Problem]:
    """Find what is wrong under every `celery:`; `newer` is asked about a name that the table does not know."""
    for path in sections(root):
        for name, entry in entries(at(root, path)):
            holder = subject((*path, name))
            if misnamed := _name_problem(name, newer):
                what, hint, code = misnamed
                yield Problem(f"{holder} {what}", str(entry.mark), hint, code)
            elif wrong := _twin_problem(root, path, name):
                yield Problem(f"{holder} {wrong[0]}", str(entry.mark), wrong[1])
            elif wrong := _type_problem(name, entry.node):
                yield Problem(f"{holder} {wrong[0]}", str(entry.node.mark), wrong[1])


def _name_problem(name: str, newer: Names) -> tuple[str, str, str] | None:
    if name in _OWNED:
        return "is for the fleet to set.", _OWNED[name], codes.OWNED_SETTING
    if name in KNOWN:
        return None
    new = _new_name(name)
    if new is not None:
        return f"is called {new} now.", _OWNED.get(new, f"Write {new}"), codes.OLD_SETTING
    if name in newer():
        return None
    return "is no setting of Celery's.", did_you_mean(name, KNOWN), codes.UNKNOWN_SETTING


def _new_name(name: str) -> str | None:
    upper = name.upper()
    lower = upper.lower()
    for candidate in (OLD.get(upper), lower, lower.removeprefix("celery_")):
        if candidate != name and candidate in KNOWN:
            return candidate
    return None


def _twin_problem(root: Node, path: Path, name: str) -> tuple[str, str] | None:
    in_pool = len(path) > 1
    twin = (_TWINS if in_pool else _TOP_TWINS).get(name)
    if in_pool and name in _TOP_TWINS:
        return "is the same for all pools.", f"Write {_TOP_TWINS[name]}: at the top instead."
    if twin is None or child(at(root, path[:-1]), twin) is None:
        return None
    return f"says what {subject((*path[:-1], twin))} says too.", "Keep one of them."


def _type_problem(name: str, node: Node) -> tuple[str, str] | None:
    if not isinstance(node, Scalar) or node.failed or is_null(node):
        return None
    found = number(node)
    if name in BOOLEANS and truth(node) is None:
        return f"must be true or false, but it is {kind(node)}.", ""
    if name in INTEGERS and (not isinstance(found, int) or isinstance(found, bool)):
        return f"must be a whole number, but it is {kind(node)}.", ""
    if name in NUMBERS and (not isinstance(found, int | float) or isinstance(found, bool)):
        return f"must be a number, but it is {kind(node)}.", _in_seconds(node.text)
    return None


def _in_seconds(text: str) -> str:
    try:
        return f"Celery wants seconds here: write {units.duration(text):g}"
    except ValueError:
        return ""


def installed() -> Collection[str]:
    """Name the settings that the installed Celery knows; imported only to ask about a name that 5.7 does not have."""
    from celery.app.defaults import SETTING_KEYS

    return frozenset(SETTING_KEYS)


# --- Values -----------------------------------------------------------------------------------------------


def typed(root: Node) -> Node:
    """Return the tree with the scalars under every `celery:` as Celery wants them: `off` is false where it must be."""
    for path in sections(root):
        section = at(root, path)
        if isinstance(section, Block):
            changed = {name: Entry(entry.mark, _typed(name, entry.node)) for name, entry in section.entries.items()}
            root = _replaced(root, path, replace(section, entries=changed))
    return root


def _typed(name: str, node: Node) -> Node:
    if not isinstance(node, Scalar) or node.failed:
        return node
    if name in BOOLEANS and (found := truth(node)) is not None:
        return replace(node, text=str(found).lower(), plain=True)
    if name in INTEGERS | NUMBERS and isinstance(number(node), int | float):
        return replace(node, plain=True)
    return node


def _replaced(node: Node, path: Path, new: Node) -> Node:
    if not path or not isinstance(node, Block):
        return new
    key = str(path[0])
    entry = node.entries[key]
    changed = Entry(entry.mark, _replaced(entry.node, path[1:], new))
    return replace(node, entries={**node.entries, key: changed})
