"""Whether a fleet is ready, and why it is not: one answer for `status`, `health` and whoever waits. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from celeryfleet.plan.values import PoolPlan
from celeryfleet.supervise.decide.state import FleetState, Phase, Status, Worker
from celeryfleet.supervise.decide.target import Target
from celeryfleet.text import listed

#: workers that a reason names
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far a fleet, or one pool of it, is from what is wanted."""

    #: ready, degraded, starting or stopping; ready as soon as all that is wanted works, whatever else still stops
    state: str
    #: why it is not ready; empty if it is
    reason: str
    #: True: it is ready, and nothing is left to do; False: it can't become so by itself; None: not yet
    settled: bool | None


def readiness(target: Target, state: FleetState, pool: str = "") -> Readiness:
    """Say whether all that is wanted is ready, in the whole fleet or in one pool."""
    if state.stopping:
        return Readiness("stopping", f"{target.plan.fleet} is stopping", None)
    specs = [spec for spec in target.specs.values() if pool in ("", spec.pool)]
    wanted = [state.workers.get(spec.name) for spec in specs]
    reasons = [*_broker(target, state), *_code(target, state)]
    for found in target.pools.values():
        if pool in ("", found.name):
            reasons += _lack(target, state, found)
    if not reasons:
        follows = all(w and w.digest == spec.digest and not w.outdated for w, spec in zip(wanted, specs, strict=True))
        # One that the autoscaler has no use for may take all the time it wants.
        others = [w for w in state.workers.values() if w.name not in target.specs and w.deadline != math.inf]
        surplus = any(worker.live for worker in others)
        return Readiness("ready", "", True if follows and not surplus else None)
    failed = any(worker is not None and worker.status is Status.FAILED for worker in wanted)
    stays = failed or state.broker.phase is Phase.FAILED or _cannot_import(target, state)
    begins = all(worker is None or worker.status is Status.READY or _is_fresh(worker) for worker in wanted)
    starting = begins and not stays and not all(worker and worker.status is Status.READY for worker in wanted)
    return Readiness("starting" if starting else "degraded", "; ".join(reasons), False if stays else None)


def imported(target: Target, state: FleetState) -> bool | None:
    """Tell whether the app is imported (True, too, where each worker does that by itself), can't be, or not yet."""
    server = state.fork_server
    if state.stopping or not target.forks:
        return True
    if server.generation != target.plan.generation:
        return None
    if server.cannot_import:
        return False
    return True if server.phase in (Phase.UP, Phase.UNFIT) else None


def _is_fresh(worker: Worker) -> bool:
    return worker.status is Status.STARTING and worker.last_exit is None


def _broker(target: Target, state: FleetState) -> Iterator[str]:
    if not target.embeds or state.broker.phase is Phase.UP:
        return
    failed = state.broker.phase is Phase.FAILED
    yield f"the broker does not start: {state.broker.error}" if failed else "the broker is not up yet"


def _code(target: Target, state: FleetState) -> Iterator[str]:
    if not _cannot_import(target, state):
        return
    why = state.fork_server.error.partition("\n")[0].removesuffix(" It fails here:")
    go_on = "workers go on with older code: " if on_older_code(target, state) else ""
    yield f"{go_on}{why} (see `celeryfleet logs preload`)"


def on_older_code(target: Target, state: FleetState) -> bool:
    """Tell whether workers of older code are still at work."""
    found = [(state.workers.get(name), spec) for name, spec in target.specs.items() if spec.fork]
    return any(worker is not None and worker.live and worker.digest != spec.digest for worker, spec in found)


def _cannot_import(target: Target, state: FleetState) -> bool:
    server = state.fork_server
    return target.forks and server.cannot_import and server.generation == target.plan.generation


def lack(worker: Worker | None, pool: PoolPlan, paused: Collection[str]) -> str:
    """Say what keeps a worker from doing what it is for; empty if nothing does."""
    if worker is None or worker.status is not Status.READY:
        return str(worker.status if worker else Status.STARTING)
    beat = worker.beat
    if beat.connecting:
        return "cannot reach the broker"
    if not beat.consuming:
        return "takes no messages"
    missing = [queue for queue in pool.queues if queue not in paused and queue not in beat.queues]
    return f"does not read {listed(missing)}" if missing else ""


def _lack(target: Target, state: FleetState, pool: PoolPlan) -> Iterator[str]:
    """Say how many workers of a pool are not ready, or do not do what they are for, and which."""
    names = [spec.name for spec in target.specs.values() if spec.pool == pool.name]
    lacks = [(name, lack(state.workers.get(name), pool, state.paused)) for name in names]
    others = [f"{name} {text}" for name, text in lacks if text]
    if others:
        more = f", and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        yield f"{pool.name}: {len(names) - len(others)} of {len(names)} ready ({', '.join(others[:_NAMED])}{more})"
