"""Workers → pools: those that differ in their number only become replicas of one, and each gets a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from celeryfleet.fleetfile.names import pool_problem
from celeryfleet.importers import apps, exported, keys, variables
from celeryfleet.importers.environment import environment
from celeryfleet.importers.found import Fate, Line, Note, Worker

#: node names that say less than the name of the program
_PLAIN_NAMES = frozenset(("celery", "default", "node", "w", "worker"))
#: options that tell workers apart without making them different
_OWN = ("hostname", "logfile", "pidfile", "statedb")


@dataclass(slots=True)
class Pool:
    """A pool of the fleet."""

    name: str
    workers: list[Worker]
    queues: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> str:
        """Return what its workers call their app."""
        return self.workers[0].app

    @property
    def origin(self) -> str:
        """Say which workers it is made of."""
        named = list(dict.fromkeys(worker.name for worker in self.workers))
        shown = ", ".join(named) if len(named) <= 3 else f"{named[0]}, {named[1]}, … {named[-1]}"
        return f"{self.workers[0].where} {shown}"


def pools(workers: Sequence[Worker], notes: list[Note]) -> list[Pool]:
    """Make the pools of a fleet, in the order of the file."""
    groups: dict[object, list[Worker]] = {}
    for worker in workers:
        groups.setdefault(_alike(worker), []).append(worker)
    found = [Pool("", members) for members in groups.values()]
    for pool in found:
        _describe(pool, notes)
    _name(found)
    return found


def _alike(worker: Worker) -> object:
    """Return what workers of one pool have in common."""
    options = frozenset(item for item in worker.options.items() if item[0] not in _OWN)
    program = worker.program
    lines = tuple((line.key, line.value) for line in program.lines)
    alone = () if program.replicas.value.isdecimal() else (worker.name, worker.where)
    return (
        _stem(_label(worker)),
        apps.alike(worker.app),
        options,
        frozenset(worker.env.items()),
        lines,
        program.env_files,
        alone,
    )


def _describe(pool: Pool, notes: list[Note]) -> None:
    first = pool.workers[0]

    def tell(fate: Fate, what: str, where: str = "") -> None:
        notes.append(Note(fate, where or first.where, what, first.name))

    pool.queues, queues = keys.queues(first, first.known, tell)
    lines = [queues, *_replicas(pool.workers), *keys.lines(first, pool.queues, first.known, tell)]
    pool.lines = keys.accepted(lines, tell)
    config = first.options.get("config")
    env = {**first.env, "CELERY_CONFIG_MODULE": config} if config else first.env
    pool.env = environment(env, first.where, notes)
    for worker in pool.workers:
        notes += worker.program.leftovers


def _replicas(workers: Sequence[Worker]) -> Iterator[Line]:
    line = workers[0].program.replicas
    if line.value.isdecimal():
        count = sum(int(worker.program.replicas.value) for worker in workers)
        comment = line.comment or f"{len(workers)} workers that differ in name only"
        line = Line(line.key, str(count), comment, line.where)
    if line.value != "1":
        yield line


# --- Names ------------------------------------------------------------------------------------------------


def _label(worker: Worker) -> str:
    """Return what a worker is called: by -n if that says something, else by the file."""
    if pool := exported.pool(worker):
        return pool
    written = worker.options.get("hostname", "")
    node = (variables.settled(written, worker.known) or written).partition("@")[0][:200]
    node = re.sub(r"%+.|\$\{[^}]*\}|\$\([^)]*\)|\$\w+", "", node).strip("._-")
    return node if node and _stem(node).lower() not in _PLAIN_NAMES else worker.name


def _stem(label: str) -> str:
    """Return a name without the number at its end."""
    stem = label.rstrip("0123456789")
    return (stem[:-1] if stem != label and stem.endswith(("-", "_", ".")) else stem) or label


def _name(found: Sequence[Pool]) -> None:
    wanted = [_clean(_wanted(pool)) for pool in found]
    stems = [_clean(_stem(_label(pool.workers[0]))) for pool in found]
    taken: set[str] = set()
    for pool, name in zip(found, wanted, strict=True):
        shared = wanted.count(name) > 1 or (len(pool.workers) > 1 and stems.count(name) > 1)
        if shared and pool.queues[0] != name:
            name = _clean(f"{name}-{pool.queues[0]}")
        pool.name = _free(name, taken, wanted)
        taken.add(pool.name)


def _wanted(pool: Pool) -> str:
    label = _label(pool.workers[0])
    return _stem(label) if len({_label(worker) for worker in pool.workers}) > 1 else label


def _clean(name: str) -> str:
    """Make a pool's name of any text."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "worker"
    return cleaned if not pool_problem(cleaned) else "worker"


def _free(name: str, taken: set[str], wanted: Sequence[str]) -> str:
    """Return a name that no other pool has, nor one of another pool's workers, such as web-1 of web."""
    match = re.fullmatch(r"(.+)-([0-9]+)", name)
    if match and (match[1] in taken or match[1] in wanted):
        name = f"{match[1]}_{match[2]}"
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
