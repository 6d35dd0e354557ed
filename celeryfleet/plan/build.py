"""Fleet and facts → Plan: all that should run, decided here once for `up`, `config` and every exporter."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.plan import broker
from celeryfleet.plan.command import pool_plan, ranked
from celeryfleet.plan.facts import Facts, Paths, paths
from celeryfleet.plan.settings import queues, settings
from celeryfleet.plan.values import BeatPlan, LogPlan, Plan
from celeryfleet.routing.table import transport_of, wire

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet


def build(fleet: Fleet, facts: Facts, profiles: Collection[str] = ()) -> Plan:
    """Plan a fleet; a pool that names profiles is part of it only if one of them is given.

    Raises FleetError for a profile that no pool names.
    """
    _check_profiles(fleet, profiles)
    where = fleet_paths(fleet, facts)
    shared = settings(fleet, where)
    transport = transport_of(shared["broker_url"])
    first = ranked(fleet, transport)
    wanted = [name for name, pool in fleet.pools.items() if not pool.profiles or set(pool.profiles) & set(profiles)]
    return Plan(
        fleet=fleet.name,
        file=fleet.file,
        state_dir=where.state_dir,
        control=where.control,
        app=fleet.app,
        django=fleet.django or "",
        settings=shared,
        env=dict(fleet.variables),
        broker=broker.broker(fleet, where, shared, facts.server),
        queues=queues(fleet),
        pools=tuple(pool_plan(fleet, name, shared, transport, first, facts) for name in wanted),
        beat=_beat(fleet, where, transport),
        logs=LogPlan(**vars(fleet.logs)),
        preload=fleet.preload,
        origins=broker.origins(fleet, shared),
    )


def _check_profiles(fleet: Fleet, profiles: Collection[str]) -> None:
    known = sorted({profile for pool in fleet.pools.values() for profile in pool.profiles})
    for name in profiles:
        if name not in known:
            hint = f"The profiles are {', '.join(known)}." if known else "No pool of fleet.yaml names profiles."
            raise FleetError(f'there is no profile "{name}".', hint=hint)


def fleet_paths(fleet: Fleet, facts: Facts) -> Paths:
    """Lay out the fleet's files on this machine."""
    folder = facts.folder or str(PurePath(fleet.file).parent)
    return paths(folder, fleet.name, facts.uid, facts.runtime_dir)


def _beat(fleet: Fleet, where: Paths, transport: str) -> BeatPlan | None:
    if fleet.beat is None or not fleet.beat.schedule:
        return None
    schedule = {name: _beat_entry(entry, transport) for name, entry in fleet.beat.schedule.items()}
    file = f"{where.state_dir}/beat-schedule"
    level = fleet.logs.level.upper()
    return BeatPlan(("celery", "-A", fleet.app, "beat", "-l", level, "-s", file, "--pidfile="), schedule, file)


def _beat_entry(entry: Any, transport: str) -> dict[str, Any]:
    """Write one entry as Celery does, but a crontab as {"crontab": "0 3 * * *"}; its priority is that of the wire."""
    options = dict(entry.options)
    if isinstance(options.get("priority"), int):
        options["priority"] = wire(transport, options["priority"])
    whole: dict[str, Any] = {
        "task": entry.task,
        "schedule": {"crontab": entry.crontab} if entry.crontab else entry.every,
        "args": list(entry.args),
        "kwargs": dict(entry.kwargs),
        "options": options,
    }
    return {key: value for key, value in whole.items() if value or key in ("task", "schedule")}
