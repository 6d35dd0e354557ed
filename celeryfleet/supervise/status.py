"""A fleet as it is shown: a Status made of its state. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celeryfleet.plan.values import AppPlan, PoolPlan, number_of
from celeryfleet.protocol import (
    CONNECTING,
    Backlog,
    BrokerStatus,
    PoolStatus,
    QueueStatus,
    Status,
    SupervisorStatus,
    WorkerStatus,
)
from celeryfleet.routing.queue import Queue
from celeryfleet.supervise.decide.readiness import lack, on_older_code, readiness
from celeryfleet.supervise.decide.state import STILLBORN, FleetState, Phase, Worker
from celeryfleet.supervise.decide.state import Status as State
from celeryfleet.supervise.decide.target import Target
from celeryfleet.text import clean

#: seconds without the broker that are worth telling
CUT_OFF_SECONDS = 1.5


def describe(
    target: Target,
    state: FleetState,
    now: float,
    supervisor: SupervisorStatus,
    resident: Mapping[int, int],
) -> Status:
    """Say how a fleet is; `resident` is bytes by pid of a worker's main process."""
    plan, found = target.plan, readiness(target, state)
    return Status(
        fleet=plan.fleet,
        state=found.state,
        supervisor=supervisor,
        broker=BrokerStatus(plan.broker.shown, embedded=target.embeds),
        pools=tuple(_pool(target, state, pool, now, resident) for pool in target.pools.values()),
        queues=tuple(
            QueueStatus(queue.name, consumers=_consumers(state, queue.name), max_age=queue.max_age)
            for queue in plan.queues
        ),
        reason=found.reason,
        notes=tuple(notes(target, state, now)),
        paused=tuple(sorted(state.paused)),
        backlog=backlog(target, state),
        paused_s={queue: round(now - since, 1) for queue, since in state.paused_since.items()},
        paused_by=_paused_by(state),
        host=plan.host,
        hosts={host: tuple(queues) for host, queues in plan.hosts.items()},
    )


def stopped(target: Target) -> Status:
    """Say how a fleet is whose supervisor does not run."""
    found = describe(target, FleetState(), 0.0, SupervisorStatus(), {})
    pools = [
        pool.but(workers=tuple(worker.but(state=str(State.STOPPED)) for worker in pool.workers)) for pool in found.pools
    ]
    reason = "The fleet is not running."
    return found.but(state="down", reason=reason, pools=tuple(pool.but(reason=reason) for pool in pools))


def backlog(target: Target, state: FleetState) -> Backlog:
    """Say how the broker is asked what waits, also of the messages that workers have taken."""
    plan, broker = target.plan, target.plan.broker
    workers = state.workers.values()
    read: dict[str, tuple[str, ...]] = dict.fromkeys(
        state.dead_nodes.union(*(worker.restoring for worker in workers)), ()
    )
    read |= {worker.node: _queues(target, worker.pool) for worker in workers if worker.node}
    read |= {spec.node: _queues(target, spec.pool) for spec in target.specs.values()}
    return Backlog(
        url=broker.url,
        transport=broker.transport,
        settings={key: plan.settings[key] for key in CONNECTING if key in plan.settings},
        steps=broker.steps,
        sep=broker.sep,
        key_prefix=broker.key_prefix,
        unacked={f"unacked:{node}": queues for node, queues in sorted(read.items())},
        queues=tuple(
            {key: getattr(queue, key) for key in ("name", "exchange", "exchange_type", "routing_key")}
            for queue in (*plan.queues, Queue(plan.parked, "", "direct", plan.parked))
        ),
        parked=plan.parked,
    )


def notes(target: Target, state: FleetState, now: float) -> Iterator[str]:
    """Say what a user should know beside the numbers."""
    broker = state.broker
    for app in target.plan.apps:
        yield from _app(target, state, app)
    if broker.phase is Phase.FAILED:
        yield f"The broker does not start: {broker.error}."
    cut_off = [
        worker.name
        for worker in state.workers.values()
        if worker.cut_off_at is not None and now - worker.cut_off_at >= CUT_OFF_SECONDS
    ]
    if cut_off:
        names = ", ".join(cut_off) if len(cut_off) <= 3 else f"{len(cut_off)} workers"
        yield f"{names} cannot reach the broker {target.plan.broker.shown}."
    if state.paused:
        by = {queue: f" (by {who})" for queue, who in _paused_by(state).items()}
        yield f"Paused queues: {', '.join(queue + by.get(queue, '') for queue in sorted(state.paused))}."


def _paused_by(state: FleetState) -> dict[str, str]:
    """Say who has paused queues on all hosts; what other hosts say of it may be anything."""
    marks = (mark for mark in state.marks.values() if mark.paused and mark.queue in state.paused)
    return {mark.queue: clean(mark.by) for mark in marks}


def _app(target: Target, state: FleetState, app: AppPlan) -> Iterator[str]:
    server, of = state.app(app.name).fork_server, f" of {app.name}" if app.name else ""
    if server.phase is Phase.BROKEN or server.stillborn >= STILLBORN:
        go_on = f" Workers{of} go on with older code." if on_older_code(target, state, app.name) else ""
        yield f"T{str(app)[1:]} does not import: {server.error}\nSee `celeryfleet logs {app.preload_log}`.{go_on}"
        yield "Mend it, then: celeryfleet reload"
    elif server.phase in (Phase.UP, Phase.UNFIT) and server.error:
        yield f"Workers{of} are started one by one, not forked: {server.error}."
    elif server.phase is Phase.FAILED:
        yield f"The fork server{of} keeps dying: {server.error}. See `celeryfleet logs {app.preload_log}`."


def _pool(target: Target, state: FleetState, pool: PoolPlan, now: float, resident: Mapping[int, int]) -> PoolStatus:
    known = {worker.name: worker for worker in state.workers.values() if worker.pool == pool.name}
    planned = {s.name: WorkerStatus(s.name, s.node, None, str(State.STARTING)) for s in target.specs.values()
               if s.pool == pool.name}  # fmt: skip
    settled = state.settled(pool)
    lacks = {name: lack(worker, pool, state.paused) for name, worker in known.items()}
    shown = planned | {name: _worker(worker, lacks[name], now, resident) for name, worker in known.items()}
    return PoolStatus(
        name=pool.name,
        queues=pool.queues,
        want=pool.replicas,
        ready=sum(not text for text in lacks.values()),
        workers=tuple(sorted(shown.values(), key=lambda worker: number_of(worker.name))),
        implementation=settled.implementation,
        concurrency=settled.concurrency,
        reason=readiness(target, state, (pool.name,)).reason,
    )


def _worker(worker: Worker, lack: str, now: float, resident: Mapping[int, int]) -> WorkerStatus:
    standby = worker.beat.standby if worker.status is State.READY else ""
    return WorkerStatus(
        name=worker.name,
        node=worker.node,
        pid=worker.pid,
        state="standby" if standby else str(worker.status),
        uptime_s=round(now - worker.started_at, 1) if worker.live else 0.0,
        restarts=worker.restarts,
        active=worker.beat.active,
        processed=worker.processed_before + worker.beat.processed,
        failed=worker.failed_before + worker.beat.failed,
        rss_bytes=resident.get(worker.pid or 0),
        last_exit=worker.last_exit,
        cause=f"beat runs on {standby}" if standby else lack if worker.status is State.READY else worker.cause,
        reserved=worker.beat.reserved,
    )


def _consumers(state: FleetState, queue: str) -> int:
    ready = [worker for worker in state.workers.values() if worker.status is State.READY]
    return sum(queue in worker.beat.queues for worker in ready)


def _queues(target: Target, pool: str) -> tuple[str, ...]:
    return target.pools[pool].queues if pool in target.pools else ()
