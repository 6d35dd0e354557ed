"""Rules about what a machine and a broker hold: processors, memory, connections, and what is thrown away when full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.text import counted, size

if TYPE_CHECKING:
    from celeryfleet.plan.values import PoolPlan

#: what a forked process has to itself, of the memory of the one it was forked from: 13 of 42 MB were measured for a
#: worker that had run tasks, and so for each of its pool processes
_OWN_SHARE = 1 / 3

#: connections to Redis of one worker at rest, of any kind of pool: one blocks on the queues, one reads and restores
#: what is unacknowledged, one hears remote control, one answers it (CLIENT LIST, celery 5.7, lean workers)
CONNECTIONS = 4
#: and of each task at once, which stores a result …
CONNECTIONS_PER_TASK = 1
#: … and of each whose tasks send tasks too, with what it hears of their results
CONNECTIONS_PER_SENDER = 3


def replicas(pool: PoolPlan) -> int:
    """Return how many workers a pool may come to."""
    return pool.replicas if pool.autoscale is None else max(pool.replicas, pool.autoscale.max)


@rule("CF035", "processes-over-cores", "More task processes than processors", Level.INFO, "machine")
def processes_over_cores(case: Case) -> Iterator[Found]:
    """Count the processes that compute at once."""
    processes = sum(replicas(pool) * pool.concurrency for pool in case.plan.pools if pool.implementation == "prefork")
    if case.machine is not None and processes > case.machine.cpus:
        yield Found(
            case.fleet.where("pools"),
            f"{counted(processes, 'task process')} share {counted(case.machine.cpus, 'processor')}.",
            "That is right for tasks that wait, and slow for those that compute.",
        )


@rule("CF036", "processes-over-memory", "More processes than the memory holds", Level.WARNING, "machine")
def processes_over_memory(case: Case) -> Iterator[Found]:
    """Add up what the processes take before they have done anything, and what they may grow to."""
    memory, each = (case.machine.memory, case.machine.process) if case.machine is not None else (None, None)
    if memory is None:
        return
    least = _at_rest(case, each) if each is not None else 0
    if least > memory:
        yield Found(
            case.fleet.where("pools"),
            f"the fleet takes about {size(least)} before its first task, and there are {size(memory)} of memory: "
            "the kernel will kill workers.",
            "Fewer replicas or less concurrency; tasks that wait can share a process: `pool: threads` or gevent.",
        )
        return
    limited = [
        pool
        for pool in case.plan.pools
        if pool.implementation == "prefork" and pool.conf.get("worker_max_memory_per_child")
    ]
    most = sum(replicas(p) * p.concurrency * p.conf["worker_max_memory_per_child"] * 1024 for p in limited)
    if most > memory:
        yield Found(
            case.where(("pools", limited[0].name, "max_memory_per_child"), ("pools", limited[0].name)),
            f"the task processes may come to {size(most)} before max_memory_per_child replaces them, "
            f"and there are {size(memory)} of memory.",
            "Lower it, or run fewer processes.",
            Level.INFO,
        )


def _at_rest(case: Case, each: int) -> float:
    """Return the bytes of all workers at rest; `each` is those of a process that has imported the app."""
    total = float(each if any(pool.fork for pool in case.plan.pools) else 0)  # the fork server
    for pool in case.plan.pools:
        main = each * _OWN_SHARE if pool.fork else each
        children = pool.concurrency if pool.implementation == "prefork" else 0
        total += replicas(pool) * (main + children * each * _OWN_SHARE)
    return total


# --- What the broker tells --------------------------------------------------------------------------------


@rule("CF043", "connections-over-limit", "More connections than the broker takes", Level.WARNING, "server")
def too_many_connections(case: Case) -> Iterator[Found]:
    """Count the connections that the workers hold, for certain and at most."""
    most = case.server.max_clients if case.server is not None else None
    if most is None or not case.on_redis:
        return
    stored = CONNECTIONS_PER_TASK if case.plan.broker.results == case.plan.broker.url else 0
    workers = sum(replicas(pool) for pool in case.plan.pools)
    at_once = sum(replicas(pool) * pool.concurrency for pool in case.plan.pools)
    hold, takes = f"{counted(workers, 'worker')} hold", f"but the broker takes {most} (maxclients)"
    least, up_to = CONNECTIONS * workers + stored * at_once, CONNECTIONS * workers + CONNECTIONS_PER_SENDER * at_once
    if least > most:
        yield Found(
            case.where(("broker",), ("pools",)),
            f"{hold} at least {least} connections, {takes}: some can never connect.",
            "Raise maxclients on the server, or run fewer workers; more concurrency in each takes fewer connections.",
        )
    elif up_to > most:
        yield Found(
            case.where(("broker",), ("pools",)),
            f"{hold} up to {up_to} connections once their tasks send tasks, {takes}.",
            "Raise maxclients on the server, or run fewer workers.",
            Level.INFO,
        )


@rule("CF044", "eviction", "A broker that throws messages away when its memory is full", Level.WARNING, "server")
def eviction(case: Case) -> Iterator[Found]:
    """Find a Redis that is set up as a cache."""
    server = case.server
    if server is None or not case.on_redis or not server.max_memory or not (server.policy or "").startswith("allkeys"):
        return
    yield Found(
        case.where(("broker",), ("pools",)),
        f"the broker is set up as a cache: once it holds {size(server.max_memory)} it throws queues away "
        f"(maxmemory-policy {server.policy}).",
        "Set maxmemory-policy to noeviction on the server.",
    )


RULES = (processes_over_cores, processes_over_memory, too_many_connections, eviction)
