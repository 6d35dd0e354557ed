"""What an event makes of the state. Pure: `now` is a number, and the state before is left as it was."""

from __future__ import annotations

import math
from dataclasses import replace

from celeryfleet import protocol, worker_protocol
from celeryfleet.plan.values import WorkerSpec
from celeryfleet.supervise.decide import actions, events
from celeryfleet.supervise.decide.state import FleetState, Part, Phase, Status, Worker
from celeryfleet.supervise.decide.timing import COLD_SECONDS, PART_RESTART, PART_SECONDS


def apply(state: FleetState, event: events.Event, now: float) -> FleetState:
    """Return the state after an event."""
    match event:
        case events.Did(action):
            return _apply_action(state, action, now)
        case events.Heard(name, message):
            return _apply_heard(state, name, message, now)
        case events.Exited():
            return _apply_exit(state, event, now)
        case events.Leftover(name, pool, node, pid, grace):
            worker = Worker(name, pool, node, Status.STOPPING, pid=pid, grace=grace, started_at=now)
            cause = "the supervisor it had is gone"
            return state.with_worker(replace(worker, cause=cause, deadline=now + grace))
        case events.DeadNodes(nodes):
            return replace(state, dead_nodes=state.dead_nodes | nodes)
        case events.BrokerFound():
            return replace(state, broker=replace(state.broker, phase=Phase.STARTING))
        case events.BrokerUp():
            return replace(state, broker=replace(state.broker, phase=Phase.UP, error=""))
        case events.BrokerExited(reason):
            return replace(state, broker=Part(deaths=_deaths(state.broker, now), error=reason))
        case events.ForkServerExited(_, True, app):
            return state.change_app(app, former_server=Part())
        case events.ForkServerReady() | events.ForkServerBroken() | events.ForkServerExited():
            known = state.app(event.app)
            tasks = event.tasks if isinstance(event, events.ForkServerReady) else known.tasks
            server = _apply_fork_server(known.fork_server, event, now)
            return state.change_app(event.app, fork_server=server, tasks=tasks)
        case protocol.Stop():
            return _apply_stop(state, event, now)
        case protocol.Restart(pools, rolling):
            return _apply_restart(state, pools, rolling)
        case events.RetryAsked(pools):
            return _apply_retry(state, pools, "another try was asked for")
        case protocol.Pause(queues):
            since = {queue: state.paused_since.get(queue, now) for queue in queues}
            return replace(state, paused=frozenset(queues), paused_since=since)
        case protocol.Marks():
            return _apply_marks(state, event, now)
        case events.Overslept(seconds):
            return _apply_overslept(state, seconds, now)


def _apply_marks(state: FleetState, found: protocol.Marks, now: float) -> FleetState:
    marks = {mark.queue: mark for mark in protocol.newer(found.marks, state.marks.values())}
    since = {queue: at for queue, at in state.paused_since.items() if queue not in marks}
    since |= {queue: now - max(0.0, found.now - mark.at) for queue, mark in marks.items() if mark.paused}
    return replace(state, marks={**state.marks, **marks}, paused=frozenset(since), paused_since=since)


def _apply_overslept(state: FleetState, seconds: float, now: float) -> FleetState:
    """Hold no silence against anyone, and no slowness to stop."""
    for worker in state.workers.values():
        deadline = None if worker.deadline is None else worker.deadline + seconds
        state = state.change(worker.name, seen_at=now, consuming_at=now, deadline=deadline)
    return state


def _apply_heard(state: FleetState, name: str, message: worker_protocol.Said, now: float) -> FleetState:
    worker = state.workers.get(name)
    if worker is None:
        return state
    match message:
        case worker_protocol.Hello(pid):
            return state.change(name, pid=pid, seen_at=now)
        case worker_protocol.Ready(tasks, pool, concurrency):
            state = state.change_app(worker.app, tasks=tasks or state.app(worker.app).tasks)
            status = Status.READY if worker.status is Status.STARTING else worker.status
            conf = {"worker_pool": pool, "worker_concurrency": concurrency} if pool else {}
            return state.change(name, status=status, seen_at=now, consuming_at=now, conf=conf)
        case worker_protocol.Beat():
            consuming_at = now if message.consuming or message.connecting else worker.consuming_at
            cut_off_at = (worker.cut_off_at or now) if message.connecting else None
            return state.change(name, beat=message, seen_at=now, consuming_at=consuming_at, cut_off_at=cut_off_at)
        case worker_protocol.Restored(nodes):
            return state.change(name, restoring=worker.restoring - set(nodes))
        case worker_protocol.Revoked() | worker_protocol.Strikes():
            return state


def _apply_exit(state: FleetState, event: events.Exited, now: float) -> FleetState:
    worker = state.workers.get(event.name)
    if worker is None:
        return state
    killed = bool(worker.stuck) and event.last.code != 0
    expected = worker.status in (Status.STOPPING, Status.STUCK) and not killed
    last = event.last.but(reason=f"{worker.stuck}; {event.last.reason}") if worker.stuck else event.last
    gone = replace(
        worker,
        status=Status.STOPPED if expected else Status.BACKOFF,
        pid=None,
        deadline=None,
        cold=False,
        outdated=False,
        restoring=frozenset(),
        deaths=worker.deaths if expected else (*worker.deaths[-49:], now),
        last_exit=last,
        cause=worker.cause if expected else last.reason,
        beat=worker_protocol.Beat(),
        processed_before=worker.processed_before + worker.beat.processed,
        failed_before=worker.failed_before + worker.beat.failed,
    )
    unclean = event.last.code != 0 or not expected
    dead_nodes = state.dead_nodes | worker.restoring | ({worker.node} if unclean else set())
    return replace(state.with_worker(gone), dead_nodes=dead_nodes)


def _apply_fork_server(
    server: Part, event: events.ForkServerReady | events.ForkServerBroken | events.ForkServerExited, now: float
) -> Part:
    match event:
        case events.ForkServerReady(generation, unfit):
            if generation != server.generation:
                return server
            return replace(server, phase=Phase.UP, error=unfit, stillborn=0)
        case events.ForkServerBroken(error):
            return replace(server, phase=Phase.BROKEN, error=error, stillborn=0)
        case events.ForkServerExited(reason):
            if server.phase in (Phase.UNFIT, Phase.BROKEN, Phase.DOWN):
                return server
            deaths = _deaths(server, now)
            recent = [at for at in deaths if at > now - PART_RESTART.window]
            phase = Phase.FAILED if len(recent) > PART_RESTART.max_restarts else Phase.DOWN
            stillborn = server.stillborn + 1 if server.phase is Phase.STARTING else 0
            return Part(phase, server.generation, deaths, error=reason, stillborn=stillborn)


def _deaths(part: Part, now: float) -> tuple[float, ...]:
    """Add a death; a part that had been up may wait ever longer, but is never given up on."""
    kept = PART_RESTART.max_restarts - 1 if part.phase is Phase.UP else 2 * PART_RESTART.max_restarts
    return (*part.deaths[-kept:], now)


def _apply_stop(state: FleetState, stop: protocol.Stop, now: float) -> FleetState:
    """Note how long workers may take to stop; those of some pools do since nobody wants them any more."""
    given = 0.0 if stop.cold and stop.pools else stop.grace
    if not stop.pools:
        state = replace(state, stopping=True, cold=state.cold or stop.cold)
    for worker in state.workers.values():
        if stop.pools and worker.pool not in stop.pools:
            continue
        grace = worker.grace if given is None else given
        state = state.change(worker.name, grace=grace)
        if worker.deadline is not None and not worker.cold and (given is not None or worker.deadline == math.inf):
            state = state.change(worker.name, deadline=min(worker.deadline, now + grace))
    return state


def _apply_restart(state: FleetState, names: tuple[str, ...], rolling: bool) -> FleetState:
    state = _apply_retry(state, names, "a restart was asked for")
    pools = frozenset(names or (worker.pool for worker in state.workers.values()))
    for worker in state.workers.values():
        if worker.pool in pools and worker.status in (Status.STARTING, Status.READY):
            state = state.change(worker.name, outdated=True)
    return replace(state, rolling=state.rolling | pools if rolling else state.rolling - pools)


def _apply_retry(state: FleetState, pools: tuple[str, ...], cause: str) -> FleetState:
    """Give the workers that have failed, of these pools or of all, another try, and the parts that all need."""
    for worker in state.workers.values():
        if worker.status in (Status.FAILED, Status.BACKOFF) and (not pools or worker.pool in pools):
            state = state.change(worker.name, status=Status.STOPPED, deaths=(), cause=cause)
    broker = state.broker
    if broker.phase in (Phase.FAILED, Phase.DOWN):
        broker = Part()
    for name, app in state.apps.items():
        again = app.fork_server.phase in (Phase.FAILED, Phase.DOWN, Phase.BROKEN, Phase.UNFIT)
        state = state.change_app(name, fork_server=Part() if again else replace(app.fork_server, stillborn=0))
    return replace(state, broker=broker)


def _apply_action(state: FleetState, action: actions.Action, now: float) -> FleetState:
    match action:
        case actions.Spawn(spec, _, grace, cause):
            return _apply_spawn(state, spec, grace, cause, now)
        case actions.Stop(name, grace, cause, stuck):
            status = Status.STUCK if stuck else Status.STOPPING
            return state.change(name, status=status, deadline=now + grace, cause=cause, stuck=cause if stuck else "")
        case actions.Cold(name, cause):
            return state.change(name, status=Status.STOPPING, cold=True, deadline=now + COLD_SECONDS, cause=cause)
        case actions.Kill(name, cause):
            return state.change(name, deadline=now + COLD_SECONDS, cause=cause)
        case actions.Fail(name, cause):
            return _apply_fail(state, name, cause)
        case actions.Forget(name):
            return state.without_worker(name)
        case actions.Restore(name, nodes):
            restoring = state.workers[name].restoring | set(nodes)
            return replace(state.change(name, restoring=restoring), dead_nodes=state.dead_nodes - set(nodes))
        case actions.SetQueues(name, queues):
            return state.change(name, told=queues, told_at=now)
        case actions.StartBroker():
            return replace(state, broker=replace(state.broker, phase=Phase.STARTING, error=""))
        case actions.StopBroker():
            return replace(state, broker=replace(state.broker, deadline=now + PART_SECONDS))
        case actions.GiveUpBroker(cause):
            return replace(state, broker=replace(state.broker, phase=Phase.FAILED, error=cause))
        case actions.StartForkServer():
            return _apply_start_of_server(state, action)
        case actions.StopForkServer(_, True, app):
            return state.change_app(app, former_server=Part())
        case actions.StopForkServer(_, _, app):
            server = state.app(app).fork_server
            unfit = Phase.UNFIT if server.error and not state.stopping else Phase.DOWN
            return state.change_app(app, fork_server=replace(server, phase=unfit))
        case actions.Finish():
            return state


def _apply_start_of_server(state: FleetState, action: actions.StartForkServer) -> FleetState:
    known = state.app(action.app)
    old = known.fork_server
    again = old if old.generation == action.generation else Part()
    fresh = Part(Phase.STARTING, action.generation, old.deaths, error=again.error, stillborn=again.stillborn)
    former = old if action.keep else known.former_server
    return state.change_app(action.app, fork_server=fresh, former_server=former)


def _apply_spawn(state: FleetState, spec: WorkerSpec, grace: float, cause: str, now: float) -> FleetState:
    old = state.workers.get(spec.name)
    worker = Worker(spec.name, spec.pool, spec.node, Status.STARTING, spec.app, spec.digest, grace=grace)
    told = tuple(queue for queue in spec.options.get("queues", ()) if queue not in state.paused)
    worker = replace(worker, started_at=now, seen_at=now, consuming_at=now, told=told, told_at=now, cause=cause)
    if old is not None:
        unplanned = old.status is Status.BACKOFF or bool(old.stuck)
        worker = replace(
            worker,
            deaths=() if old.status is Status.FAILED else old.deaths,
            restarts=old.restarts + unplanned,
            last_exit=old.last_exit,
            processed_before=old.processed_before,
            failed_before=old.failed_before,
        )
    return replace(state.with_worker(worker), dead_nodes=state.dead_nodes - {spec.node})


def _apply_fail(state: FleetState, name: str, cause: str) -> FleetState:
    worker = state.workers.get(name)
    if worker is None:
        pool, _, _ = name.rpartition("-")
        return state.with_worker(Worker(name, pool, "", Status.FAILED, cause=cause))
    return state.change(name, status=Status.FAILED, cause=cause)
