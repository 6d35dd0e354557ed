"""What may stand under `celery:`: known names, values of the right type, and nothing that fleet.yaml says itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import units
from celeryfleet.fleetfile.celery_names import BOOLEANS, INTEGERS, KNOWN, NUMBERS
from celeryfleet.fleetfile.cursor import Cursor
from celeryfleet.fleetfile.fields import mapping_of, number
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import ScalarNode, plain, truth

#: returns the name of today for every name that the installed Celery knows
Names = Callable[[], Mapping[str, str]]

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
_TOP_TWINS: Final[Mapping[str, str]] = {
    "broker_url": "broker",
    "result_backend": "results",
    "beat_scheduler": "beat.scheduler",
    "beat_max_loop_interval": "beat.max_interval",
}
#: settings that a pool has a key for: one of the two may be written, and of the last two the key alone
POOL_KEYS: Final[Mapping[str, str]] = {
    "worker_prefetch_multiplier": "prefetch_multiplier",
    "worker_max_tasks_per_child": "max_tasks_per_child",
    "worker_max_memory_per_child": "max_memory_per_child",
    "task_time_limit": "time_limit",
    "task_soft_time_limit": "soft_time_limit",
    "worker_send_task_events": "events",
    "worker_pool": "pool",
    "worker_concurrency": "concurrency",
}

# --- Values -----------------------------------------------------------------------------------------------


def _value(at: Cursor) -> Any:
    """Read a value as Celery wants it: `off` is false where it must be."""
    if not isinstance(at.node, ScalarNode) or not at.written:
        return plain(at.node)
    found = number(at.node)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if at.name in BOOLEANS:
        if truth(at.text) is None:
            raise at.refuse(f"must be true or false, but it is {at.shown}")
        return truth(at.text)
    if at.name in INTEGERS:
        if not isinstance(found, int) or not is_number:
            raise at.refuse(f"must be a whole number, but it is {at.shown}")
        return found
    if at.name in NUMBERS:
        if not is_number:
            raise at.refuse(f"must be a number, but it is {at.shown}", _in_seconds(at.node.text))
        return found
    return at.node.value


def _in_seconds(text: str) -> str:
    try:
        return f"Celery wants seconds here: write {units.duration(text):g}"
    except ValueError:
        return ""


celery_settings = mapping_of(_value)

# --- Names ------------------------------------------------------------------------------------------------


def problems(root: Cursor, newer: Names) -> Iterator[Problem]:
    """Find the names that may not stand under a `celery:`; `newer` is asked about one that the table does not know."""
    for setting in root["celery"]:
        yield from _problem(setting, root, {**_TOP_TWINS, "worker_send_task_events": "events"}, newer)
    for pool in root["pools"]:
        for setting in pool["celery"]:
            yield from _problem(setting, pool, POOL_KEYS, newer)


def _problem(setting: Cursor, holder: Cursor, twins: Mapping[str, str], newer: Names) -> Iterator[Problem]:
    name = setting.name
    what, hint, code = _name_problem(name, newer)
    if not what and holder.path and name in _TOP_TWINS:
        what, hint = "is the same for all pools", f"Write {_TOP_TWINS[name]}: at the top instead."
    elif not what and name in twins:
        twin = functools.reduce(Cursor.__getitem__, twins[name].split("."), holder)
        what, hint = (f"says what {twin.subject} says too", "Keep one of them.") if twin.written else ("", "")
    if what:
        yield Problem(f"{setting.subject} {what}.", str(setting.key), hint, code)


def _name_problem(name: str, newer: Names) -> tuple[str, str, str]:
    if name in _OWNED:
        return "is for the fleet to set", _OWNED[name], "CF004"
    if name in KNOWN:
        return "", "", ""
    names = newer()
    lower = name.lower()
    candidates = (names.get(name.upper()), lower, lower.removeprefix("celery_"))
    today = next((new for new in candidates if new in KNOWN or new in names), None)
    if today == name:
        return "", "", ""
    if today:
        return f"is called {today} now", _OWNED.get(today, f"Write {today}"), "CF003"
    return "is no setting of Celery's", did_you_mean(name, KNOWN), "CF002"


def installed() -> Mapping[str, str]:
    """Ask the installed Celery; imported only where the table does not know a name."""
    from celery.app.defaults import NAMESPACES, flatten

    options = dict(flatten(NAMESPACES))
    return {old.upper(): name for name, option in options.items() for old in option.old} | {n: n for n in options}
