"""What `celeryfleet export` wrote, known by its loader: its variables say what the commands do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml

from celeryfleet.app.exported import POOL_VARIABLE
from celeryfleet.app.install import LOADER
from celeryfleet.importers.found import Line, Worker


def is_ours(env: Mapping[str, str]) -> bool:
    """Tell whether a program with these variables was exported."""
    return env.get("CELERY_LOADER") == LOADER


def is_own(name: str, env: Mapping[str, str]) -> bool:
    """Tell whether a variable is there for the loader alone."""
    return is_ours(env) and name.startswith(("CELERY_LOADER", "CELERYFLEET_"))


def pool(worker: Worker) -> str:
    """Name a worker's pool; empty: it was not exported."""
    return worker.env.get(POOL_VARIABLE, "") if is_ours(worker.env) else ""


def fleet(worker: Worker) -> str:
    """Name the fleet, as the node of a worker does."""
    node = worker.options.get("hostname", "").partition("@")[2]
    return node.removesuffix(".%h") if is_ours(worker.env) else ""


def settings(text: str) -> str:
    """Return the generated settings that a file holds in itself; empty: it holds none."""
    with suppress(yaml.YAMLError):
        for value in _texts(list(yaml.safe_load_all(text))):
            if value.startswith("{") and '"celeryfleet": 1' in value:
                return value
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)


def lines(worker: Worker) -> Iterator[Line]:
    """Return the keys of a pool that are not options of its command."""
    for key in ("order", "concurrency"):
        if value := worker.env.get(f"CELERYFLEET_{key.upper()}"):
            yield Line(key, value, f"CELERYFLEET_{key.upper()}")
