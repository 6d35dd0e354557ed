"""Lays over what the file says of its workers what only their app could tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from celeryfleet.fleetfile.names import queue_problem
from celeryfleet.fleetfile.told import Told
from celeryfleet.fleetfile.writing import flow
from celeryfleet.importers import keys, yamltext
from celeryfleet.importers.environment import Setting
from celeryfleet.importers.found import Fate, Line, Note
from celeryfleet.importers.pools import Pool

#: of what the app says and the file does not
ORIGIN = "of the app's settings"


def lay(told: Told, found: Sequence[Pool], notes: list[Note]) -> None:
    """Have pools read what a worker without -Q reads, and be of the kind that the app wants."""
    notes[:] = [note for note in notes if note.what != keys.NO_QUEUES]
    notes += [Note(Fate.LOST, pool_place(found), what) for what in told.lost]
    for pool in found:
        options = pool.workers[0].options
        lines = {line.key: line for line in pool.lines}
        if "queues" not in options and told.queues:
            excluded = {name.strip() for name in options.get("exclude_queues", "").split(",")}
            pool.queues = [name for name in told.queues if name not in excluded and not queue_problem(name)]
            comment = (
                "no -Q: all of the app's task_queues" if len(told.queues) > 1 else "no -Q: the app's default queue"
            )
            lines["queues"] = Line("queues", yamltext.listing(pool.queues), comment)
            if len(pool.queues) > 1:
                lines = {"queues": lines.pop("queues"), "order": keys.ROUND_ROBIN, **lines}
        if told.pool and "pool" not in options:
            lines["pool"] = Line("pool", yamltext.scalar(told.pool), "the app's worker_pool")
        if told.concurrency and not {"concurrency", "autoscale"} & options.keys():
            lines["concurrency"] = Line("concurrency", str(told.concurrency), "the app's worker_concurrency")
        pool.lines = keys.accepted(
            list(lines.values()), lambda fate, what, where="": notes.append(Note(fate, where, what))
        )


def pool_place(found: Sequence[Pool]) -> str:
    """Return the place of what is said of the fleet as a whole."""
    return found[0].workers[0].where


def url(told: Told, key: str, found: Setting | None) -> Setting | None:
    """Return `broker` or `results`: what Celery's own options and variables say, else the app, else other variables."""
    value = told.broker if key == "broker" else told.results
    surest = found is not None and found.variable in ("", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
    return found if surest or not value else Setting(value, ORIGIN)


def queues(told: Told, read: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, where it comes from) of queues that the app has or sends to, and no worker reads."""
    named = dict.fromkeys(told.queues, "task_queues") | {told.default_queue: "task_default_queue"}
    for route in told.routes:
        if "queue" in route:
            named.setdefault(str(route["queue"]), "task_routes")
    for name, setting in named.items():
        if name not in read and not queue_problem(name):
            yield name, f"the app's {setting}; no worker of the file reads it"


def definition(told: Told | None, name: str) -> str:
    """Write what the app says of a queue, if anything."""
    said = told.queues.get(name) if told is not None else None
    return f" {flow(said)}" if said else ""
