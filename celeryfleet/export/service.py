"""What an engine is to run for a fleet, out of the Plan that `up` runs: one frozen value for each service."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from celeryfleet.app.exported import POOL_VARIABLE
from celeryfleet.app.install import LOADER, SETTINGS_VARIABLE
from celeryfleet.errors import FleetError
from celeryfleet.export.settings import document, portable
from celeryfleet.fleetfile.variables import Variable, segments
from celeryfleet.importers.environment import is_credential
from celeryfleet.plan.broker import is_embedded
from celeryfleet.plan.build import build, everywhere
from celeryfleet.plan.values import BrokerPlan
from celeryfleet.text import listed
from celeryfleet.worker_protocol import FLAGS

if TYPE_CHECKING:
    from celeryfleet.export.formats import Engine
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.facts import Facts
    from celeryfleet.plan.values import Plan, PoolPlan

#: the name of the file that holds the generated settings
SETTINGS = "celery-settings.json"
#: names the file that a worker touches as long as it lives
ALIVE_VARIABLE = "CELERYFLEET_ALIVE"
BEAT = "beat"
_OPTIONAL = re.compile(r"\$\{\w+:?-")
__all__ = ["ALIVE_VARIABLE", "BEAT", "SETTINGS", "SETTINGS_VARIABLE", "Deployment", "Files", "Service", "deployment"]
_KIB = 1024
#: bytes of a worker's main process, and what a child may go over its limit by before it is replaced
_MAIN, _OVER = 200 * _KIB * _KIB, 1.25


@dataclass(frozen=True, slots=True)
class Service:
    """N identical processes: a pool, or the one beat."""

    #: of the pool, or `beat`
    name: str
    #: of the fleet
    fleet: str
    #: a `celery … worker` or `celery … beat`; see `command`
    argv: tuple[str, ...]
    #: as they are; none is a credential. CELERYFLEET_SETTINGS and CELERYFLEET_ALIVE are for the format to add
    env: Mapping[str, str]
    #: variables that come from outside → what is written of them: `${VAR}`, `${VAR:-default}`
    references: Mapping[str, str]
    #: the pool as it is planned: queues, autoscale, restart, health; None: this is beat
    pool: PoolPlan | None = None
    replicas: int = 1
    #: seconds from SIGTERM, after which running tasks are finished, to SIGKILL
    grace: float = 60.0
    #: bytes that all its processes may take; None: fleet.yaml sets no limit
    memory: int | None = None
    #: processes that may be busy at once
    processes: int = 1

    def command(self, worker: str, schedule: str = "beat-schedule") -> tuple[str, ...]:
        """Return the command of one of its workers, named before the @ of its node, or of beat with this file."""
        node = f"{worker}@{self.fleet}.%h"
        return tuple(part.replace("{node}", node).replace("{schedule}", schedule) for part in self.argv)

    def probe(self, file: str) -> tuple[str, ...]:
        """Return a command that fails if its file is old: the worker named in CELERYFLEET_ALIVE touches it."""
        patience = self.pool.health.heartbeat_within if self.pool else 0
        code = f"import os, sys, time; sys.exit(time.time() - os.stat({file!r}).st_mtime > {patience:g})"
        return ("python", "-c", code)


@dataclass(frozen=True, slots=True)
class Deployment:
    """All that an engine is to run for one fleet."""

    fleet: str
    #: absolute path of fleet.yaml's folder, from which the app is imported
    folder: str
    services: tuple[Service, ...]
    #: the text of the file that CELERYFLEET_SETTINGS names, and the variables that it needs
    settings: str
    variables: Mapping[str, str]
    #: absolute path of the program `celery`, for an engine on this machine
    celery: str = "celery"
    #: whether the fleet runs a broker of its own, so that the format has to bring one
    embedded: bool = False
    #: with its credentials: for what is not one, such as its host
    broker: BrokerPlan = field(default_factory=lambda: BrokerPlan("", "", ""), repr=False)
    #: as fleet.yaml writes them, relative to the folder, and the names of the variables that they set
    env_files: tuple[str, ...] = ()
    in_files: frozenset[str] = frozenset()
    #: what is to be said of it all
    notes: tuple[str, ...] = ()

    @property
    def references(self) -> dict[str, str]:
        """Return all variables that come from outside, and what is written of each."""
        return {name: text for service in self.services for name, text in service.references.items()}

    @property
    def required(self) -> list[str]:
        """Name the variables that an engine which replaces nothing must be given."""
        own = [name for service in self.services for name in self.own(service)]
        return list(
            dict.fromkeys([*(name for name, text in self.variables.items() if not _OPTIONAL.match(text)), *own])
        )

    @property
    def missing(self) -> list[str]:
        """Name those of the required ones that no env file sets."""
        return [name for name in self.required if name not in self.in_files]

    def env_paths(self) -> list[PurePath]:
        """Return the absolute paths of the env files."""
        return [PurePath(self.folder) / name for name in self.env_files]

    def own(self, service: Service) -> dict[str, str]:
        """Return those of a service's references that are made of others: the rest goes by its own name."""
        return {name: text for name, text in service.references.items() if self.variables.get(name) != text}


@dataclass(frozen=True, slots=True)
class Files:
    """What a format makes of a fleet."""

    #: name → text
    texts: Mapping[str, str]
    #: what it could not carry over, or what is to be done by hand: a sentence each
    notes: tuple[str, ...] = field(default=())


def deployment(
    fleet: Fleet,
    facts: Facts,
    profiles: Collection[str],
    engine: Engine,
    celery: str = "celery",
    in_files: Collection[str] = (),
) -> Deployment:
    """Plan a fleet for an engine; `in_files` names what its env files set.

    Raises FleetError where the fleet has an embedded broker and the engine none.
    """
    embedded = is_embedded(fleet)
    if embedded and not engine.broker:
        raise FleetError(
            f"the fleet runs a broker of its own, which {engine.name} would not have.",
            fleet.where("broker"),
            "Name one: `broker: ${CELERY_BROKER_URL:-embedded}`, with the variable set for this command too.",
        )
    if embedded:
        fleet = replace(fleet, broker=replace(fleet.broker, url=engine.broker))
    plan = everywhere(fleet, build(fleet, facts, profiles))
    if embedded:  # `${VAR:-embedded}` is no URL
        plan = replace(plan, origins={key: text for key, text in plan.origins.items() if key not in _URLS})
    folder = str(PurePath(plan.state_dir).parent.parent)
    settings, shared = document(plan, folder)
    return Deployment(
        fleet=plan.fleet,
        folder=folder,
        services=tuple(_services(plan, fleet, shared)),
        settings=settings,
        variables=shared,
        celery=celery,
        embedded=embedded,
        broker=plan.broker,
        env_files=fleet.env_file,
        in_files=frozenset(in_files),
        notes=tuple(_notes(plan, engine.scales)),
    )


_URLS = ("broker_url", "result_backend")


def _services(plan: Plan, fleet: Fleet, shared: Mapping[str, str]) -> Iterator[Service]:
    for pool in plan.pools:
        env, references = _environment(fleet, pool)
        auto, order = fleet.pools[pool.name].concurrency == "auto", fleet.pools[pool.name].order
        said = {"CELERYFLEET_CONCURRENCY": "auto"} if auto else {}
        said |= {"CELERYFLEET_ORDER": order} if order != "strict" else {}
        prefork = pool.implementation == "prefork"  # elsewhere nobody minds what a task takes
        concurrency = pool.concurrency if prefork else 1
        most = {**pool.defaults, **pool.conf, **plan.settings}.get("worker_max_memory_per_child")
        yield Service(
            name=pool.name,
            fleet=plan.fleet,
            argv=_worker(pool, auto),
            env=_base(plan, pool.app, pool.name) | said | env,
            references={**shared, **references},
            pool=pool,
            replicas=pool.replicas,
            grace=pool.grace,
            memory=int(most * _KIB * concurrency * _OVER) + _MAIN if most and prefork else None,
            processes=concurrency,
        )
    if plan.beat is not None:
        argv = tuple("{schedule}" if part == plan.beat.file else part for part in plan.beat.argv)
        yield Service(BEAT, plan.fleet, argv, _base(plan, plan.beat.app, BEAT), shared, grace=10)


def _worker(pool: PoolPlan, auto: bool) -> tuple[str, ...]:
    """Return the command of a pool's workers without what their app may say itself, or their machine tells."""
    open_ = [flag for flag, key in FLAGS.items() if key not in pool.conf or (auto and flag == "-c")]
    return tuple(part for before, part in pairwise(("", *pool.argv)) if part not in open_ and before not in open_)


def _base(plan: Plan, app: str, name: str) -> dict[str, str]:
    django = plan.app(app).django
    log = {"CELERYFLEET_LOG_FORMAT": plan.logs.format} if plan.logs.format != "text" else {}
    return {
        "CELERY_LOADER": LOADER,
        POOL_VARIABLE: name,
        **log,
        **({"DJANGO_SETTINGS_MODULE": django} if django else {}),
    }


def _environment(fleet: Fleet, pool: PoolPlan) -> tuple[dict[str, str], dict[str, str]]:
    """Return a pool's own variables: those that are as they are, and those that come from outside."""
    env: dict[str, str] = {}
    references: dict[str, str] = {}
    for name, value in pool.env.items():
        written = fleet.origin("pools", pool.name, "env", name)
        if written is not None and any(isinstance(part, Variable) for part in segments(written)):
            references[name] = portable(value, {name: written}, (name,), "")
        elif is_credential(name, value):
            references[name] = f"${{{name}}}"
        else:
            env[name] = value
    return env, references


def _notes(plan: Plan, scales: bool) -> Iterator[str]:
    """Say what no engine has: what the supervisor does."""
    yield (
        "`celeryfleet up` does more than its workers: pause, scale and the ledger (why, failed, retry), parking of a "
        "task that ends its workers, one import for all workers. Under another engine there is none of it"
    )
    if plan.hosts:
        counts = ", ".join(f"{pool.name} {pool.replicas}" for pool in plan.pools)
        yield f"which of `hosts` runs what: a pool has the replicas of all of them together ({counts})"
    if plan.alerts:
        yield "alerts: they are told by the supervisor"
    for pool in plan.pools:
        if pool.autoscale and not scales:
            most = f"{pool.autoscale.min} to {pool.autoscale.max}"
            yield f"autoscale of {pool.name}, {most}: it has {pool.replicas}. `celeryfleet export keda` carries it over"
    if bounded := [pool.name for pool in plan.pools if pool.health.consuming_within != 60]:
        yield f"healthcheck.consuming_within of {listed(bounded)}: a worker that lives and reads nothing is not found"
