"""Fleet and facts → Plan: all that should run, decided here once for `up`, `config` and every exporter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.alerts import OF_QUEUES
from celeryfleet.fleetfile.suggest import unknown
from celeryfleet.plan import broker
from celeryfleet.plan.command import pool_plan, ranked
from celeryfleet.plan.facts import Facts, Paths, paths
from celeryfleet.plan.settings import queues, settings
from celeryfleet.plan.values import AlertPlan, AppPlan, BeatPlan, LedgerPlan, LogPlan, Plan, PoolPlan
from celeryfleet.routing.table import transport_of, wire

if TYPE_CHECKING:
    from celeryfleet.fleetfile.alerts import Alert
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
    pools = tuple(pool_plan(fleet, name, shared, transport, first, facts) for name in wanted)
    return Plan(
        fleet=fleet.name,
        file=fleet.file,
        state_dir=where.state_dir,
        control=where.control,
        apps=tuple(AppPlan(name, app.app, app.django or "") for name, app in fleet.named_apps.items()),
        settings=shared,
        env=dict(fleet.variables),
        broker=broker.broker(fleet, where, shared, facts.server),
        queues=queues(fleet),
        pools=pools,
        beat=_beat(fleet, where, transport, pools),
        logs=LogPlan(**vars(fleet.logs)),
        ledger=LedgerPlan(f"{where.state_dir}/ledger.sqlite", **vars(fleet.ledger)) if fleet.ledger else None,
        alerts=tuple(_alert(fleet, alert) for alert in fleet.alerts),
        preload=fleet.preload,
        host=facts.host,
        hosts={
            name: [queue for pool in host.pools if pool != "beat" for queue in fleet.pools[pool].queues]
            for name, host in fleet.hosts.items()
        },
        origins=broker.origins(fleet, shared),
    )


def placed(fleet: Fleet, plan: Plan) -> Plan:
    """Return the part of the plan that runs on its host. Raises FleetError for a host that fleet.yaml does not name."""
    if not fleet.hosts:
        return plan
    host = fleet.hosts.get(plan.host)
    if host is None:
        error = unknown("host", plan.host, fleet.hosts).problems[0]
        told = f"{error.hint} This one goes by {plan.host}: say which it is with --host or CELERYFLEET_HOST."
        raise FleetError(f'fleet.yaml names no host "{plan.host}".', fleet.where("hosts"), told)
    others = [name for name in (*fleet.pools, "beat") if name not in host.pools]
    return plan.without(others).scaled(host.replicas)


def everywhere(fleet: Fleet, plan: Plan) -> Plan:
    """Return what all hosts of a fleet run, together."""
    hosts = fleet.hosts.values()
    counts: dict[str, int] = {}
    pools: list[PoolPlan] = []
    for pool in plan.pools:
        on = [host.replicas.get(pool.name, pool.replicas) for host in hosts if pool.name in host.pools]
        counts[pool.name], policy = sum(on), pool.autoscale
        if policy:  # each host has its own
            policy = replace(policy, min=policy.min * len(on), max=policy.max * len(on))
        pools.append(replace(pool, autoscale=policy))
    nowhere = {*counts, "beat"} - {name for host in hosts for name in host.pools}
    return replace(plan, pools=tuple(pools)).without(nowhere).scaled(counts) if hosts else plan


def _check_profiles(fleet: Fleet, profiles: Collection[str]) -> None:
    known = sorted({profile for pool in fleet.pools.values() for profile in pool.profiles})
    for name in profiles:
        if name not in known:
            raise unknown("profile", name, known)


def fleet_paths(fleet: Fleet, facts: Facts) -> Paths:
    """Lay out the fleet's files on this machine."""
    folder = facts.folder or str(PurePath(fleet.file).parent)
    return paths(folder, fleet.name, facts.uid, facts.runtime_dir)


#: seconds for which a condition must hold, or over which it is measured, where fleet.yaml does not say
_HOLD = {"backlog_growing": 300.0, "failure_rate": 300.0, "no_beat": 30.0}


def _alert(fleet: Fleet, alert: Alert) -> AlertPlan:
    over = alert.over[1] if alert.over else None
    if alert.when == "oldest_age":
        ages = {name: queue.max_age if over is None else over for name, queue in fleet.queues.items()}
        about = {name: age for name, age in ages.items() if age is not None and alert.queue in (None, name)}
    else:
        names = ["beat"] if alert.when == "no_beat" else fleet.queues if alert.when in OF_QUEUES else fleet.pools
        only = alert.queue or alert.pool
        about = {name: over or 0.0 for name in names if only in (None, name)}
    hold = _HOLD.get(alert.when, 0.0) if alert.for_ is None else alert.for_
    return AlertPlan(alert.when, about, hold, alert.command, alert.webhook or "", alert.format)


def _beat(fleet: Fleet, where: Paths, transport: str, pools: Sequence[PoolPlan]) -> BeatPlan | None:
    beat = fleet.beat
    if beat is None:
        return None
    conf = {
        "beat_schedule": {name: _beat_entry(entry, transport) for name, entry in beat.schedule.items()},
        "beat_scheduler": beat.scheduler,
        "beat_max_loop_interval": beat.max_interval,
    }
    file = f"{where.state_dir}/beat-schedule"
    app = fleet.app_of(beat)
    fork = any(pool.fork for pool in pools if pool.app == app)
    argv = ["celery", "-A", fleet.named_apps[app].app, "beat", "-l", fleet.logs.level.upper(), "-s", file, "--pidfile="]
    argv += ["-S", beat.scheduler] if beat.scheduler else []
    argv += ["--max-interval", f"{beat.max_interval:g}"] if beat.max_interval else []
    lease = beat.lease if transport in ("redis", "amqp") and not broker.is_embedded(fleet) else 0.0
    return BeatPlan(tuple(argv), {key: value for key, value in conf.items() if value}, file, app, fork, lease)


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
