"""The generated settings as one JSON text that holds no credential: what came from a `${VAR}` is `${VAR}` again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.fleetfile.variables import Variable, segments
from celeryfleet.plan.secrets import MASK, is_secret, masked, masked_origin, secret_variables

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan, PoolPlan

#: what a worker has for itself under the supervisor, which brings back what it had taken: elsewhere all share one
_OWN_KEYS = ("unacked_key", "unacked_index_key", "unacked_mutex_key")


def document(plan: Plan, folder: str) -> tuple[str, dict[str, str]]:
    """Write the settings of all, of each pool and of beat; return them and the variables that they need.

    A `$$` in them is a `$`. Paths are relative to `folder`.
    """
    pools = {pool.name: {"conf": _shareable(pool), "defaults": pool.defaults} for pool in plan.pools}
    if plan.beat is not None:
        pools["beat"] = {"conf": plan.beat.conf, "defaults": {}}
    settings = portable(plan.settings, plan.origins, (), folder)
    whole = {"celeryfleet": 1, "fleet": plan.fleet, "settings": settings, "pools": portable(pools, {}, (), folder)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n", named(whole)


def _shareable(pool: PoolPlan) -> dict[str, Any]:
    """Return a pool's settings with the keys that all workers share, and with the order in which it reads."""
    options = pool.conf.get("broker_transport_options")
    if options is None:
        return dict(pool.conf)
    kept = {key: item for key, item in options.items() if key not in _OWN_KEYS}
    order = {"reading_order": pool.queues} if kept.get("queue_order_strategy") == "priority" else {}
    return {**pool.conf, "broker_transport_options": kept | order}


def named(value: Any) -> dict[str, str]:
    """Return the variables that texts name, and what is written of each."""
    found: dict[str, str] = {}
    if not isinstance(value, str):
        for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
            found |= named(item)
        return found
    for part in segments(value):
        if isinstance(part, Variable):
            found.setdefault(part.name, _form(part, part.other))
            found |= {name: form for name, form in named(part.other).items() if name not in found}
    return found


def portable(value: Any, origins: Mapping[str, str], path: tuple[str, ...], folder: str) -> Any:
    """Return a value whose texts hold no credential; `origins` has the texts as they were written, by their path."""
    if isinstance(value, Mapping):
        return {key: portable(item, origins, (*path, str(key)), folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item, origins, (*path, str(index)), folder) for index, item in enumerate(value)]
    if not isinstance(value, str) or not value:
        return value
    secret, written = bool(path) and is_secret(path[-1]), origins.get("/".join(path))
    if written is None:
        hidden = secret or masked(value) != value
        return _variable(path) if hidden else _escaped(value.removeprefix(f"{folder}/") if folder else value)
    parts = [part for part in segments(written) if part]
    if MASK in masked_origin(written) or (secret and any(isinstance(part, str) for part in parts)):
        return _variable(path)
    names = {part.name for part in parts if isinstance(part, Variable)} if secret else secret_variables(written)
    return "".join(_escaped(part) if isinstance(part, str) else _kept(part, names) for part in parts)


def _variable(path: tuple[str, ...]) -> str:
    """Name the variable that a credential is read from where it is written in fleet.yaml: CELERY_BROKER_URL."""
    return f"${{{re.sub('[^A-Z0-9]', '_', '_'.join(('celery', *path)).upper())}}}"


def _kept(variable: Variable, hidden: Collection[str]) -> str:
    """Write a variable; a default that is a credential, or may be, is left out."""
    other = variable.other
    harmless = variable.name not in hidden and MASK not in masked_origin(other) and not secret_variables(other)
    return _form(variable, other if harmless else "")


def _form(variable: Variable, other: str) -> str:
    return f"${{{variable.name}{variable.operator}{other}}}" if other else f"${{{variable.name}}}"


def _escaped(text: str) -> str:
    return text.replace("$", "$$")
