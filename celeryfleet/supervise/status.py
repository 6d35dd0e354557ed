"""What the supervisor tells of the fleet when asked: plain JSON made of its state. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from celeryfleet.supervise.decide.state import FleetState, Phase, Status, Worker
from celeryfleet.supervise.decide.target import Target

#: seconds without the broker that are worth telling
CUT_OFF_SECONDS = 1.5


def describe(target: Target, state: FleetState, now: float, resident: Mapping[int, int]) -> dict[str, Any]:
    """Return the status value of the control protocol; `resident` is bytes by pid of a worker's main process."""
    plan = target.plan
    pools = []
    for pool in target.pools.values():
        workers = [worker for worker in state.workers.values() if worker.pool == pool.name]
        missing = [spec for spec in target.specs.values() if spec.pool == pool.name and spec.name not in state.workers]
        listed = [_worker(worker, now, resident) for worker in workers]
        listed += [_worker(Worker(s.name, s.pool, s.node, Status.STARTING), now, resident, True) for s in missing]
        listed.sort(key=lambda worker: int(worker["name"].rpartition("-")[2]))
        pools.append(
            {
                "name": pool.name,
                "queues": list(pool.queues),
                "want": pool.replicas,
                "ready": sum(worker["state"] == Status.READY for worker in listed),
                "kind": pool.kind,
                "concurrency": pool.concurrency,
                "workers": listed,
            }
        )
    return {
        "fleet": plan.fleet,
        "state": fleet_state(target, state),
        "notes": notes(target, state, now),
        "pools": pools,
        "broker": {key: value for key, value in asdict(plan.broker).items() if key not in ("argv", "data", "results")},
        "queues": [_queue(target, state, queue.name) for queue in plan.queues],
        "unacked_keys": sorted({f"unacked:{spec.node}" for spec in target.specs.values()} | _unacked(state)),
        "paused": sorted(state.paused),
    }


def fleet_state(target: Target, state: FleetState) -> str:
    """Sum the fleet up in one word: ready, degraded, starting or stopping."""
    if state.stopping:
        return "stopping"
    wanted = [state.workers.get(name) for name in target.specs]
    if target.embeds and state.broker.phase is Phase.FAILED:
        return "degraded"
    if all(worker is not None and worker.status is Status.READY for worker in wanted):
        return "ready" if not target.embeds or state.broker.phase is Phase.UP else "degraded"
    fresh = [w for w in wanted if w is None or (w.status is Status.STARTING and w.last_exit is None)]
    troubled = [w for w in wanted if w is not None and w.status is not Status.READY and w not in fresh]
    return "degraded" if troubled else "starting"


def notes(target: Target, state: FleetState, now: float) -> list[str]:
    """Say what a user should know beside the numbers."""
    found = []
    server, broker = state.server, state.broker
    if server.phase is Phase.BROKEN:
        found.append(f"The app does not import: {server.error}\nMend it, then: celeryfleet reload")
    elif server.phase in (Phase.UP, Phase.UNFIT) and server.error:
        found.append(f"Workers are started one by one, not forked: {server.error}.")
    elif server.phase is Phase.FAILED:
        found.append(f"The fork server keeps dying: {server.error}. See `celeryfleet logs preload`.")
    if broker.phase is Phase.FAILED:
        found.append(f"The broker does not start: {broker.error}.")
    cut_off = [
        worker.name
        for worker in state.workers.values()
        if worker.cut_off_at is not None and now - worker.cut_off_at >= CUT_OFF_SECONDS
    ]
    if cut_off:
        found.append(f"{_names(cut_off)} cannot reach the broker {target.plan.broker.shown}.")
    if state.paused:
        found.append(f"Paused queues: {', '.join(sorted(state.paused))}.")
    return found


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} workers"


def _worker(worker: Worker, now: float, resident: Mapping[int, int], planned: bool = False) -> dict[str, Any]:
    last = worker.last_exit
    return {
        "name": worker.name,
        "node": worker.node,
        "pid": worker.pid,
        "state": str(worker.status),
        "uptime_s": round(now - worker.started_at, 1) if worker.live and not planned else 0.0,
        "restarts": worker.restarts,
        "active": worker.beat.active,
        "processed": worker.processed_before + worker.beat.processed,
        "failed": worker.failed_before + worker.beat.failed,
        "rss_bytes": resident.get(worker.pid or 0),
        "last_exit": None
        if last is None
        else {
            "code": last.code,
            "signal": last.reason.rpartition(" ")[2] if last.code < 0 else None,
            "at": round(last.at, 3),
            "reason": last.reason,
            "log": list(last.log),
        },
        "cause": worker.cause,
    }


def _queue(target: Target, state: FleetState, name: str) -> dict[str, Any]:
    pools = {pool.name for pool in target.pools.values() if name in pool.queues}
    ready = [w for w in state.workers.values() if w.pool in pools and w.status is Status.READY and w.beat.consuming]
    queue = next(queue for queue in target.plan.queues if queue.name == name)
    return {
        "name": name,
        "exchange": queue.exchange,
        "exchange_type": queue.exchange_type,
        "routing_key": queue.routing_key,
        "max_age": queue.max_age,
        "consumers": 0 if name in state.paused else len(ready),
    }


def _unacked(state: FleetState) -> set[str]:
    workers = state.workers.values()
    nodes = state.bereft.union((worker.node for worker in workers), *(worker.restoring for worker in workers))
    return {f"unacked:{node}" for node in nodes if node}
