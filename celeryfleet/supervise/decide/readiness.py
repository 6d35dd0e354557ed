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


def readiness(target: Target, state: FleetState, pools: Collection[str] = ()) -> Readiness:
    """Say whether all that is wanted is ready, in the whole fleet or in some pools."""
    if state.stopping:
        return Readiness("stopping", f"{target.plan.fleet} is stopping", None)
    specs = [spec for spec in target.specs.values() if not pools or spec.pool in pools]
    wanted = [state.workers.get(spec.name) for spec in specs]
    apps = sorted({spec.app for spec in specs})
    reasons = [*_broker(target, state), *(text for app in apps for text in _code(target, state, app))]
    for found in target.pools.values():
        if not pools or found.name in pools:
            reasons += _lack(target, state, found)
    if not reasons:
        pairs = zip(wanted, specs, strict=True)
        follows = all(w and target.follows(spec, w.digest) and not w.outdated for w, spec in pairs)
        return Readiness("ready", "", True if follows and not _surplus(target, state, pools) else None)
    failed = any(worker is not None and worker.status is Status.FAILED for worker in wanted)
    stays = failed or state.broker.phase is Phase.FAILED or any(_cannot_import(target, state, app) for app in apps)
    begins = all(worker is None or worker.status is Status.READY or _is_fresh(worker) for worker in wanted)
    starting = begins and not stays and not all(worker and worker.status is Status.READY for worker in wanted)
    return Readiness("starting" if starting else "degraded", "; ".join(reasons), False if stays else None)


def _surplus(target: Target, state: FleetState, pools: Collection[str]) -> bool:
    """Tell whether a worker still stops; one that the autoscaler has no use for may take all the time it wants."""
    others = [worker for name, worker in state.workers.items() if name not in target.specs]
    return any(w.live and w.deadline != math.inf for w in others if not pools or w.pool in pools)


def gone(target: Target, state: FleetState, pools: Collection[str]) -> bool | None:
    """Tell whether nothing of these pools is wanted, nor runs; of the whole fleet, the supervisor's end tells."""
    left = [worker.pool for worker in state.workers.values() if worker.live]
    return None if not pools or any(pool in target.pools or pool in left for pool in pools) else True


def failed(target: Target, state: FleetState, pools: Collection[str]) -> bool | None:
    """Tell whether none of these pools, or of all, does anything, and that stays so."""
    wanted = [state.workers.get(spec.name) for spec in target.specs.values() if not pools or spec.pool in pools]
    given_up = state.broker.phase is Phase.FAILED or all(w and w.status is Status.FAILED for w in wanted)
    return True if wanted and given_up else None


def imported(target: Target, state: FleetState, pools: Collection[str] = ()) -> bool | None:
    """Tell whether the apps, of these pools or of all, are imported, one can't be, or not yet."""
    if state.stopping:
        return True
    apps = {spec.app for spec in target.specs.values() if not pools or spec.pool in pools}
    found = [_imported(target, state, app) for app in sorted(apps)]
    return False if False in found else None if None in found else True


def _imported(target: Target, state: FleetState, app: str) -> bool | None:
    server = state.app(app).fork_server
    if not target.forks(app):
        return _imported_by_workers(target, state, app)
    if server.generation != target.plan.generation:
        return None
    if server.cannot_import:
        return False
    return True if server.phase in (Phase.UP, Phase.UNFIT) else None


def _imported_by_workers(target: Target, state: FleetState, app: str) -> bool | None:
    """Tell the same where each worker imports the app: one that is ready has, one that has died meanwhile has not."""
    specs = [spec for spec in target.specs.values() if spec.app == app]
    found = [(worker, spec) for spec in specs if (worker := state.workers.get(spec.name))]
    if any(worker.status is Status.READY and target.follows(spec, worker.digest) for worker, spec in found):
        return True
    died = any(worker.deaths or worker.status is Status.FAILED for worker, _ in found)
    return False if died else None


def _is_fresh(worker: Worker) -> bool:
    return worker.status is Status.STARTING and worker.last_exit is None


def _broker(target: Target, state: FleetState) -> Iterator[str]:
    if not target.embeds or state.broker.phase is Phase.UP:
        return
    failed = state.broker.phase is Phase.FAILED
    yield f"the broker does not start: {state.broker.error}" if failed else "the broker is not up yet"


def _code(target: Target, state: FleetState, app: str) -> Iterator[str]:
    if not _cannot_import(target, state, app):
        return
    why = state.app(app).fork_server.error.partition("\n")[0].removesuffix(" It fails here:")
    go_on = "workers go on with older code: " if on_older_code(target, state, app) else ""
    yield f"{go_on}{why} (see `celeryfleet logs {target.plan.app(app).preload_log}`)"


def on_older_code(target: Target, state: FleetState, app: str) -> bool:
    """Tell whether workers of an app's older code are still at work."""
    specs = [spec for spec in target.specs.values() if spec.fork and spec.app == app]
    found = [(state.workers.get(spec.name), spec) for spec in specs]
    return any(worker is not None and worker.live and worker.digest != spec.digest for worker, spec in found)


def _cannot_import(target: Target, state: FleetState, app: str) -> bool:
    server = state.app(app).fork_server
    return target.forks(app) and server.cannot_import and server.generation == target.plan.generation


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
