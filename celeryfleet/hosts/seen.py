"""The hosts of a fleet as they are seen from one of them, and the fleet as a whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from celeryfleet.hosts.messages import SILENT, HostStatus, Report, state_of
from celeryfleet.protocol import PoolStatus, Status
from celeryfleet.text import age, listed


def seen(
    named: Iterable[str], reports: Mapping[str, tuple[Report, float]], here: Status | None, absent: str = "missing"
) -> tuple[HostStatus, ...]:
    """Say how each host is, in the order in which fleet.yaml names them, the others after them.

    `reports` have their age in seconds; `here` is what the supervisor of this host says itself, if it runs; hosts
    without a report are `absent`.
    """
    own = here.host if here is not None else ""
    names = dict.fromkeys([*named, *sorted(reports), *([own] if own else [])])
    return tuple(
        HostStatus(name, "reporting", 0.0, True, status=here) if name == own else _told(name, reports.get(name), absent)
        for name in names
    )


def _told(name: str, found: tuple[Report, float] | None, absent: str) -> HostStatus:
    if found is None:
        return HostStatus(name, absent)
    report, seconds = found
    state = "silent" if seconds > SILENT else "reporting"
    return HostStatus(name, state, round(seconds, 1), place=report.place, status=report.status)


def troubles(hosts: Iterable[HostStatus]) -> list[str]:
    """Say which hosts do not report."""
    found = list(hosts)
    told = [
        f"Host {host.name} is silent: its latest report is {age(host.age_s or 0)} old. It died, or lost the broker."
        for host in found
        if host.state == "silent"
    ]
    if missing := [host.name for host in found if host.state == "missing"]:
        are = "s are" if len(missing) > 1 else " is"
        told.append(f"Of {listed(missing)} there is no report: the host{are} not up, or cannot reach the broker.")
    return told


def as_one(first: Status, hosts: Iterable[HostStatus], everywhere: bool = False) -> Status:
    """Return the fleet as a whole: workers of other hosts as `web-1@b`, their pools as `web@b`; `everywhere`: all so.

    `first` is this host's, running or not.
    """
    told = list(hosts)
    pools, said = list[PoolStatus](), list[str]()
    consumers: dict[str, int] = {}
    unacked = dict(first.backlog.unacked)
    for host, status in [(host, host.status) for host in told if host.status is not None]:
        pools += [_at(pool, host) for pool in status.pools] if everywhere or not host.here else status.pools
        unacked |= status.backlog.unacked
        for queue in status.queues if host.state == "reporting" else ():
            consumers[queue.name] = consumers.get(queue.name, 0) + queue.consumers
        if host.state == "reporting" and not host.here:
            said += [f"Host {host.name}: {note}" for note in status.notes if note not in first.notes]
    wrong = troubles(told)
    state, reason = _state(told, first), next(iter(wrong), "")
    return first.but(
        state=state,
        pools=tuple(pools),
        queues=tuple(queue.but(consumers=consumers.get(queue.name, 0)) for queue in first.queues),
        reason=first.reason or reason,
        notes=(*first.notes, *said, *wrong),
        backlog=first.backlog.but(unacked=unacked),
    )


def _state(hosts: Iterable[HostStatus], first: Status) -> str:
    """Judge the fleet by its hosts: down or ready if all are, starting or stopping if the rest is, else degraded."""
    states = {state_of(host) for host in hosts}
    if first.broker.state != "up" or not states:
        return first.state
    if states == {"missing"}:
        return "down"
    states = states - {"ready"} or {"ready"}
    return states.pop() if states in ({"ready"}, {"starting"}, {"stopping"}) else "degraded"


def _at(pool: PoolStatus, host: HostStatus) -> PoolStatus:
    """Return a pool with the host in its name and in those of its workers, which do not run as far as is known."""
    workers = [one.but(name=f"{one.name}@{host.name}") for one in pool.workers]
    pool = pool.but(name=f"{pool.name}@{host.name}", workers=tuple(workers))
    if host.state == "reporting":
        return pool
    cause = f"host {host.name} is silent"
    gone = [one.but(state="stopped", cause=cause, pid=None, active=0, rss_bytes=None) for one in workers]
    return pool.but(ready=0, workers=tuple(gone), reason=cause)
