"""What an event makes of the state. Pure: `now` is a number, and the state before is left as it was."""

from __future__ import annotations

from dataclasses import replace

from celeryfleet.plan.values import WorkerSpec
from celeryfleet.supervise.decide.actions import (
    Action,
    Cold,
    Fail,
    Finish,
    Forget,
    GiveUpBroker,
    Kill,
    Restore,
    SetPaused,
    Spawn,
    StartBroker,
    StartServer,
    Stop,
    StopBroker,
    StopServer,
)
from celeryfleet.supervise.decide.events import (
    Beaten,
    BrokerExited,
    BrokerUp,
    Did,
    Event,
    Exited,
    Hello,
    Leftover,
    Overslept,
    PauseAsked,
    Ready,
    RestartAsked,
    Restored,
    RetryAsked,
    ServerBroken,
    ServerExited,
    ServerReady,
    StopAsked,
)
from celeryfleet.supervise.decide.state import Beat, FleetState, Part, Phase, Status, Worker
from celeryfleet.supervise.decide.timing import COLD_SECONDS, PART_RESTART, PART_SECONDS


def apply(state: FleetState, event: Event, now: float) -> FleetState:
    """Return the state after an event."""
    match event:
        case Did(action):
            return _apply_action(state, action, now)
        case Hello(name, pid):
            return state.change(name, pid=pid, seen_at=now)
        case Ready(name):
            return _apply_ready(state, name, now)
        case Beaten(name, beat):
            return _apply_beat(state, name, beat, now)
        case Exited():
            return _apply_exit(state, event, now)
        case Leftover(name, pool, node, pid, grace):
            worker = Worker(name, pool, node, Status.STOPPING, pid=pid, grace=grace, started_at=now)
            cause = "the supervisor it had is gone"
            return state.with_worker(replace(worker, cause=cause, deadline=now + grace))
        case BrokerUp(pid):
            return replace(state, broker=replace(state.broker, phase=Phase.UP, pid=pid, error=""))
        case BrokerExited(reason):
            return replace(state, broker=Part(deaths=_deaths(state.broker, now), error=reason))
        case ServerReady() | ServerBroken() | ServerExited():
            return replace(state, server=_apply_server(state.server, event, now))
        case StopAsked(cold, grace):
            return _apply_stop(state, cold, grace, now)
        case RestartAsked(pools, rolling):
            return _apply_restart(state, pools, rolling)
        case RetryAsked():
            return _apply_retry(state)
        case PauseAsked(queues):
            return replace(state, paused=queues)
        case Restored(name, nodes):
            restoring = state.workers[name].restoring if name in state.workers else frozenset()
            return state.change(name, restoring=restoring - set(nodes))
        case Overslept(seconds):
            return _apply_overslept(state, seconds, now)


def _apply_overslept(state: FleetState, seconds: float, now: float) -> FleetState:
    """Hold no silence against anyone, and no slowness to stop."""
    for worker in state.workers.values():
        deadline = None if worker.deadline is None else worker.deadline + seconds
        state = state.change(worker.name, seen_at=now, consuming_at=now, deadline=deadline)
    return state


def _apply_beat(state: FleetState, name: str, beat: Beat, now: float) -> FleetState:
    worker = state.workers.get(name)
    if worker is None:
        return state
    consuming_at = now if beat.consuming or beat.connecting else worker.consuming_at
    cut_off_at = (worker.cut_off_at or now) if beat.connecting else None
    return state.change(name, beat=beat, seen_at=now, consuming_at=consuming_at, cut_off_at=cut_off_at)


def _apply_ready(state: FleetState, name: str, now: float) -> FleetState:
    worker = state.workers.get(name)
    if worker is None:
        return state
    status = Status.READY if worker.status is Status.STARTING else worker.status
    beat = replace(worker.beat, consuming=True)
    return state.with_worker(replace(worker, status=status, seen_at=now, consuming_at=now, beat=beat))


def _apply_exit(state: FleetState, event: Exited, now: float) -> FleetState:
    worker = state.workers.get(event.name)
    if worker is None:
        return state
    expected = worker.status in (Status.STOPPING, Status.STUCK)
    gone = replace(
        worker,
        status=Status.STOPPED if expected else Status.BACKOFF,
        pid=None,
        deadline=None,
        cold=False,
        outdated=False,
        restoring=frozenset(),
        deaths=worker.deaths if expected else (*worker.deaths[-49:], now),
        last_exit=event.last,
        cause=worker.cause if expected else event.last.reason,
        beat=Beat(),
        processed_before=worker.processed_before + worker.beat.processed,
        failed_before=worker.failed_before + worker.beat.failed,
    )
    unclean = event.last.code != 0 or not expected
    bereft = state.bereft | worker.restoring | ({worker.node} if unclean else set())
    return replace(state.with_worker(gone), bereft=bereft)


def _apply_server(server: Part, event: ServerReady | ServerBroken | ServerExited, now: float) -> Part:
    match event:
        case ServerReady(generation, unfit):
            if generation != server.generation:
                return server
            return replace(server, phase=Phase.UP, error=unfit)
        case ServerBroken(error):
            return replace(server, phase=Phase.BROKEN, error=error)
        case ServerExited(reason):
            if server.phase in (Phase.UNFIT, Phase.BROKEN, Phase.DOWN):
                return replace(server, pid=None)
            deaths = _deaths(server, now)
            recent = [at for at in deaths if at > now - PART_RESTART.window]
            phase = Phase.FAILED if len(recent) > PART_RESTART.max_restarts else Phase.DOWN
            return Part(phase=phase, generation=server.generation, deaths=deaths, error=reason)


def _deaths(part: Part, now: float) -> tuple[float, ...]:
    """Add a death; a part that had been up may wait ever longer, but is never given up on."""
    kept = PART_RESTART.max_restarts - 1 if part.phase is Phase.UP else 2 * PART_RESTART.max_restarts
    return (*part.deaths[-kept:], now)


def _apply_stop(state: FleetState, cold: bool, grace: float | None, now: float) -> FleetState:
    state = replace(state, stopping=True, cold=state.cold or cold, grace=grace if grace is not None else state.grace)
    if grace is None:
        return state
    for worker in state.workers.values():
        if worker.deadline is not None and not worker.cold:
            state = state.change(worker.name, deadline=min(worker.deadline, now + grace))
    return state


def _apply_restart(state: FleetState, pools: frozenset[str], rolling: bool) -> FleetState:
    for worker in state.workers.values():
        if worker.pool not in pools:
            continue
        if worker.status in (Status.STARTING, Status.READY):
            state = state.change(worker.name, outdated=True)
        elif worker.status in (Status.FAILED, Status.BACKOFF):
            state = state.change(worker.name, status=Status.STOPPED, deaths=(), cause="a restart was asked for")
    return replace(state, rolling=state.rolling | pools if rolling else state.rolling - pools)


def _apply_retry(state: FleetState) -> FleetState:
    for worker in state.workers.values():
        if worker.status in (Status.FAILED, Status.BACKOFF):
            state = state.change(worker.name, status=Status.STOPPED, deaths=(), cause="another try was asked for")
    broker, server = state.broker, state.server
    if broker.phase in (Phase.FAILED, Phase.DOWN):
        broker = Part()
    if server.phase in (Phase.FAILED, Phase.DOWN, Phase.BROKEN, Phase.UNFIT):
        server = Part()
    return replace(state, broker=broker, server=server)


def _apply_action(state: FleetState, action: Action, now: float) -> FleetState:
    match action:
        case Spawn(spec, _, grace, cause):
            return _apply_spawn(state, spec, grace, cause, now)
        case Stop(name, grace, cause, stuck):
            status = Status.STUCK if stuck else Status.STOPPING
            return state.change(name, status=status, deadline=now + grace, cause=cause)
        case Cold(name, cause):
            return state.change(name, status=Status.STOPPING, cold=True, deadline=now + COLD_SECONDS, cause=cause)
        case Kill(name, cause):
            return state.change(name, deadline=now + COLD_SECONDS, cause=cause)
        case Fail(name, cause):
            return _apply_fail(state, name, cause)
        case Forget(name):
            return state.without_worker(name)
        case Restore(name, nodes):
            restoring = state.workers[name].restoring | set(nodes)
            return replace(state.change(name, restoring=restoring), bereft=state.bereft - set(nodes))
        case SetPaused(name, pause, resume):
            beat = state.workers[name].beat
            paused = tuple(sorted((set(beat.paused) | set(pause)) - set(resume)))
            return state.change(name, beat=replace(beat, paused=paused))
        case StartBroker():
            return replace(state, broker=replace(state.broker, phase=Phase.STARTING, error=""))
        case StopBroker():
            return replace(state, broker=replace(state.broker, deadline=now + PART_SECONDS))
        case GiveUpBroker(cause):
            return replace(state, broker=replace(state.broker, phase=Phase.FAILED, error=cause))
        case StartServer(generation):
            return replace(state, server=Part(Phase.STARTING, generation=generation, deaths=state.server.deaths))
        case StopServer():
            unfit = Phase.UNFIT if state.server.error and not state.stopping else Phase.DOWN
            return replace(state, server=replace(state.server, phase=unfit))
        case Finish():
            return state


def _apply_spawn(state: FleetState, spec: WorkerSpec, grace: float, cause: str, now: float) -> FleetState:
    old = state.workers.get(spec.name)
    worker = Worker(spec.name, spec.pool, spec.node, Status.STARTING, spec.digest, grace=grace)
    worker = replace(worker, started_at=now, seen_at=now, consuming_at=now, cause=cause)
    if old is not None:
        started_before = old.last_exit is not None
        worker = replace(
            worker,
            deaths=() if old.status is Status.FAILED else old.deaths,
            restarts=old.restarts + started_before,
            last_exit=old.last_exit,
            processed_before=old.processed_before,
            failed_before=old.failed_before,
        )
    return replace(state.with_worker(worker), bereft=state.bereft - {spec.node})


def _apply_fail(state: FleetState, name: str, cause: str) -> FleetState:
    worker = state.workers.get(name)
    if worker is None:
        pool, _, _ = name.rpartition("-")
        return state.with_worker(Worker(name, pool, "", Status.FAILED, cause=cause))
    return state.change(name, status=Status.FAILED, cause=cause)
