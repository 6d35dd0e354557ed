"""What a fleet's things are called, for the completion of a shell: from a file beside its sockets, not from the app.

Nothing heavy may be imported here: a user waits for it at each press of the Tab key.
"""

from __future__ import annotations

import contextlib
import json
import os

from celeryfleet import private, trust
from celeryfleet.errors import FleetError

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    #: pools (name → replicas), queues, aliases, canvases; tasks (full name → short one); when fleet.yaml was written
    Words = dict[str, Any]


def known(file: str) -> Words:
    """Return what is known of a fleet: of fleet.yaml as it is now, and of the tasks that its supervisor last named."""
    trust.vet(file)
    found = before = _kept(file)
    written = _written(file)
    if found.get("written") != written:
        found = {**found, **_declared(file), "written": written}
    names = _running_tasks(file)
    if names and set(names) != set(found.get("tasks", ())):
        found = {**found, "tasks": _short(names)}
    if found != before:
        _keep(file, found)
    return found


def learn(file: str, tasks: Iterable[str]) -> None:
    """Note the tasks of an app that was imported anyway."""
    found = {**_kept(file), "tasks": _short(tasks)}
    _keep(file, found)


def _declared(file: str) -> Words:
    """Read fleet.yaml; one that is wrong, or half written, changes nothing."""
    from pathlib import Path

    from celeryfleet.fleetfile.load import read

    try:
        fleet = read(Path(file), os.environ)
    except FleetError:  # `check` says what it is; whoever presses Tab can be told nothing
        return {}
    return {
        "pools": {name: pool.replicas for name, pool in fleet.pools.items()},
        "queues": list(fleet.queues),
        "aliases": list(fleet.tasks),
        "canvases": list(fleet.canvases),
    }


def _running_tasks(file: str) -> tuple[str, ...]:
    """Ask the supervisor, if one runs, for the names of the app's tasks."""
    from celeryfleet.protocol import GetTasks, Tasks
    from celeryfleet.supervise.control_client import Client

    with contextlib.suppress(OSError, FleetError), Client(os.readlink(f"{_base(file)}.sock"), timeout=1.0) as client:
        return client.ask(GetTasks(), Tasks).names
    return ()


def _short(names: Iterable[str]) -> dict[str, str]:
    from celeryfleet.client.names import short_names

    return short_names(sorted(name for name in names if not name.startswith("celery.")))


# --- The file ---------------------------------------------------------------------------------------------


def _base(file: str) -> str:
    folder, name = os.path.split(file)
    return f"{folder}/.celeryfleet/{name}"


def _written(file: str) -> list[int]:
    """Tell when fleet.yaml and the override beside it were written; 0: it is not there."""
    stem, suffix = os.path.splitext(file)
    times = []
    for path in (file, f"{stem}.override{suffix}"):
        try:
            times.append(os.stat(path).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def _kept(file: str) -> Words:
    try:
        with open(f"{_base(file)}.words", encoding="utf-8") as kept:
            found = json.load(kept)
    except (OSError, ValueError):  # none was kept yet, or what was is not ours
        return {}
    return found if isinstance(found, dict) else {}


def _keep(file: str, words: Words) -> None:
    """Write them down, where a fleet has been up; elsewhere they are read anew each time."""
    with contextlib.suppress(OSError):
        private.write(f"{_base(file)}.words", json.dumps(words).encode())
