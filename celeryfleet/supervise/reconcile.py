"""The decisions: from what is wanted and what is, to what to do now. Pure: `now` is a number; nothing runs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from celeryfleet.plan.values import BeatPlan, Plan, PoolPlan, RestartPolicy, WorkerSpec
from celeryfleet.supervise.state import (
    Action,
    Beat,
    Beaten,
    BrokerExited,
    BrokerUp,
    Cold,
    Did,
    Event,
    Exited,
    Fail,
    Finish,
    FleetState,
    Forget,
    GiveUpBroker,
    Hello,
    Kill,
    Leftover,
    Part,
    PauseAsked,
    Phase,
    Ready,
    RestartAsked,
    Restore,
    RetryAsked,
    ServerBroken,
    ServerExited,
    ServerReady,
    SetPaused,
    Spawn,
    StartBroker,
    StartServer,
    Status,
    Stop,
    StopAsked,
    StopBroker,
    StopServer,
    Worker,
)

#: seconds that a worker told to stop cold has before SIGKILL
COLD_SECONDS = 5.0
#: seconds of warm stop for a worker that is stuck without any task
STUCK_SECONDS = 3.0
#: seconds that the broker or the fork server has to stop before SIGKILL
PART_SECONDS = 10.0
#: when the broker or the fork server that died comes back
PART_RESTART = RestartPolicy(backoff=0.5, max_backoff=10.0, max_restarts=6, window=60.0)


@dataclass(frozen=True, slots=True)
class Target:
    """A plan with every worker spelt out, in the order in which they start."""

    plan: Plan
    specs: Mapping[str, WorkerSpec]
    pools: Mapping[str, PoolPlan]

    @classmethod
    def of(cls, plan: Plan) -> Target:
        """Spell out a plan."""
        pools = plan.pools if plan.beat is None else (*plan.pools, _beat_pool(plan, plan.beat))
        specs = [plan.worker(pool, n) for pool in pools for n in range(1, pool.replicas + 1)]
        return cls(plan, {spec.name: spec for spec in specs}, {pool.name: pool for pool in pools})

    @property
    def forks(self) -> bool:
        """Tell whether some worker is to be forked from a preloaded server."""
        return any(spec.fork for spec in self.specs.values())

    @property
    def embeds(self) -> bool:
        """Tell whether the broker is part of the fleet."""
        return bool(self.plan.broker.argv)


def _beat_pool(plan: Plan, beat: BeatPlan) -> PoolPlan:
    """Treat the one `celery beat` as a pool of one, that reads no queue."""
    return PoolPlan(
        name="beat",
        queues=(),
        replicas=1,
        kind="beat",
        concurrency=1,
        argv=beat.argv,
        options={"hostname": f"{{name}}@{plan.fleet}", "pool": "beat", "schedule": beat.file, "loglevel": "INFO"},
        conf={"beat_schedule": beat.schedule},
        env={},
        fork=any(pool.fork for pool in plan.pools),
        grace=10.0,
    )


@dataclass(slots=True)
class _Draft:
    """A decision in the making."""

    actions: list[Action] = field(default_factory=list)
    wake_at: float | None = None
    #: pools of which a worker is replaced in this very decision
    replacing: set[str] = field(default_factory=set)

    def wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def decide(target: Target, state: FleetState, now: float) -> tuple[tuple[Action, ...], float | None]:
    """Say what to do now, in order, and when to ask again though nothing has happened (None: no need)."""
    draft = _Draft()
    if state.stopping:
        _wind_down(state, now, draft)
        return tuple(draft.actions), draft.wake_at
    _decide_broker(target, state, now, draft)
    _decide_server(target, state, now, draft)
    for spec in target.specs.values():
        _decide_worker(target, state, spec, now, draft)
    for worker in state.workers.values():
        if worker.name not in target.specs:
            _decide_unwanted(worker, now, draft)
    _decide_bereft(target, state, draft)
    return tuple(draft.actions), draft.wake_at


def settled(target: Target, state: FleetState) -> bool | None:
    """Tell whether everything wanted is ready (True), something has failed for good (False), or neither yet."""
    if state.stopping:
        return None
    wanted = [state.workers.get(name) for name in target.specs]
    if state.broker.phase is Phase.FAILED or any(w is not None and w.status is Status.FAILED for w in wanted):
        return False
    extra = any(worker.live for worker in state.workers.values() if worker.name not in target.specs)
    ready = all(
        w is not None and w.status is Status.READY and w.digest == spec.digest and not w.outdated
        for w, spec in zip(wanted, target.specs.values(), strict=True)
    )
    broker_up = not target.embeds or state.broker.phase is Phase.UP
    return True if ready and not extra and broker_up else None


def delay(name: str, deaths: int, policy: RestartPolicy) -> float:
    """Return the seconds to wait after the latest of `deaths`: none at first, then doubling, spread by 20 %."""
    if deaths <= 1:
        return 0.0
    spread = zlib.crc32(f"{name}/{deaths}".encode()) / 2**32
    return min(policy.max_backoff, policy.backoff * 2.0 ** (deaths - 2)) * (0.8 + 0.4 * spread)


# --- The parts --------------------------------------------------------------------------------------------


def _decide_broker(target: Target, state: FleetState, now: float, draft: _Draft) -> None:
    if not target.embeds or state.broker.phase is not Phase.DOWN:
        return
    match _comes_back("broker", state.broker, now):
        case None:
            draft.actions.append(GiveUpBroker(f"it died {len(state.broker.deaths)} times: {state.broker.error}"))
        case due if due <= now:
            draft.actions.append(StartBroker(state.broker.error or "the fleet starts"))
        case due:
            draft.wake(due)


def _decide_server(target: Target, state: FleetState, now: float, draft: _Draft) -> None:
    server, generation = state.server, target.plan.generation
    if not target.forks:
        if server.phase in (Phase.STARTING, Phase.UP):
            draft.actions.append(StopServer("no worker is forked"))
    elif server.phase is Phase.UP and server.error and target.plan.preload != "true":
        draft.actions.append(StopServer(server.error))
    elif server.phase is not Phase.DOWN and server.generation != generation:
        draft.actions.append(StartServer(generation, "the app is to be read anew"))
    elif server.phase is Phase.DOWN:
        due = _comes_back("server", server, now)
        if due is not None and due <= now:
            draft.actions.append(StartServer(generation, server.error or "the fleet starts"))
        elif due is not None:
            draft.wake(due)


def _comes_back(name: str, part: Part, now: float) -> float | None:
    """Say when a part may start; None: no more."""
    deaths = [at for at in part.deaths if at > now - PART_RESTART.window]
    if not deaths:
        return now
    if len(deaths) > PART_RESTART.max_restarts:
        return None
    return deaths[-1] + delay(name, len(deaths), PART_RESTART)


# --- Workers ----------------------------------------------------------------------------------------------


def _decide_worker(target: Target, state: FleetState, spec: WorkerSpec, now: float, draft: _Draft) -> None:
    worker, pool = state.workers.get(spec.name), target.pools[spec.pool]
    if worker is None:
        _start(target, state, spec, "it is wanted", draft)
        return
    match worker.status:
        case Status.STOPPED:
            _start(target, state, spec, worker.cause or "it is wanted", draft)
        case Status.BACKOFF:
            _come_back(target, state, worker, spec, now, draft)
        case Status.FAILED:
            if worker.digest != spec.digest:
                _start(target, state, spec, "its definition changed after it had failed", draft)
        case Status.STARTING | Status.READY:
            _keep(target, state, worker, spec, pool, now, draft)
        case Status.STOPPING | Status.STUCK:
            _enforce_deadline(worker, now, draft)


def _start(target: Target, state: FleetState, spec: WorkerSpec, cause: str, draft: _Draft) -> None:
    """Spawn the worker if what it needs is there; otherwise an event will bring us here again."""
    if target.embeds and state.broker.phase is not Phase.UP:
        return
    grace = target.pools[spec.pool].grace
    if not spec.fork:
        draft.actions.append(Spawn(spec, False, grace, cause))
        return
    server = state.server
    if server.generation != target.plan.generation:
        return
    if server.phase is Phase.UP and (not server.error or target.plan.preload == "true"):
        draft.actions.append(Spawn(spec, True, grace, cause))
    elif server.phase is Phase.UNFIT:
        draft.actions.append(Spawn(spec, False, grace, cause))
    elif server.phase in (Phase.BROKEN, Phase.FAILED):
        worker = state.workers.get(spec.name)
        if worker is None or worker.status is not Status.FAILED:
            draft.actions.append(Fail(spec.name, server.error))


def _come_back(target: Target, state: FleetState, worker: Worker, spec: WorkerSpec, now: float, draft: _Draft) -> None:
    policy = target.pools[spec.pool].restart
    deaths = [at for at in worker.deaths if at > now - policy.window]
    if len(deaths) > policy.max_restarts:
        reason = worker.last_exit.reason if worker.last_exit else "it died"
        draft.actions.append(Fail(worker.name, f"{reason}, {len(deaths)} times in {policy.window:g} s"))
        return
    due = worker.deaths[-1] + delay(worker.name, len(deaths), policy) if worker.deaths else now
    if due > now:
        draft.wake(due)
    else:
        _start(target, state, spec, worker.last_exit.reason if worker.last_exit else "it died", draft)


def _keep(
    target: Target,
    state: FleetState,
    worker: Worker,
    spec: WorkerSpec,
    pool: PoolPlan,
    now: float,
    draft: _Draft,
) -> None:
    """Leave a running worker alone, unless its definition, its health or someone says otherwise."""
    stale = worker.digest != spec.digest
    if (stale or worker.outdated) and _may_replace(target, state, worker, spec, draft):
        draft.replacing.add(worker.pool)
        cause = "its definition changed" if stale else "a restart was asked for"
        draft.actions.append(Stop(worker.name, pool.grace, cause))
    elif worker.status is Status.READY:
        _check_health(worker, pool, now, draft)
        _set_paused(state, worker, pool, draft)


def _may_replace(target: Target, state: FleetState, worker: Worker, spec: WorkerSpec, draft: _Draft) -> bool:
    """Hold a replacement back until its successor could start, and its turn in a rolling restart has come."""
    server = state.server
    if spec.fork and server.phase not in (Phase.UP, Phase.UNFIT):
        return False
    if spec.fork and server.generation != target.plan.generation:
        return False
    if worker.pool not in state.rolling:
        return True
    mates = [w for w in state.workers.values() if w.pool == worker.pool and w.name in target.specs]
    others_ready = all(mate.status is Status.READY for mate in mates if mate.name != worker.name)
    return others_ready and worker.pool not in draft.replacing


def _check_health(worker: Worker, pool: PoolPlan, now: float, draft: _Draft) -> None:
    beat, health = worker.beat, pool.health
    if beat.blocks:
        return
    silent_at = worker.seen_at + health.heartbeat_within
    idle_at = None if beat.consuming or beat.connecting else worker.consuming_at + health.consuming_within
    if now >= silent_at:
        cause = f"it has been silent for {now - worker.seen_at:.0f} s"
    elif idle_at is not None and now >= idle_at:
        cause = f"it has not consumed for {now - worker.consuming_at:.0f} s"
    else:
        draft.wake(silent_at if idle_at is None else min(silent_at, idle_at))
        return
    grace = pool.grace if beat.active else min(pool.grace, STUCK_SECONDS)
    draft.actions.append(Stop(worker.name, grace, cause, stuck=True))


def _set_paused(state: FleetState, worker: Worker, pool: PoolPlan, draft: _Draft) -> None:
    wanted = state.paused & set(pool.queues)
    actual = set(worker.beat.paused)
    if worker.beat.consuming and wanted != actual:
        pause, resume = tuple(sorted(wanted - actual)), tuple(sorted(actual - wanted))
        draft.actions.append(SetPaused(worker.name, pause, resume))


def _decide_unwanted(worker: Worker, now: float, draft: _Draft) -> None:
    match worker.status:
        case Status.STARTING | Status.READY:
            draft.actions.append(Stop(worker.name, worker.grace, "it is no longer wanted"))
        case Status.STOPPING | Status.STUCK:
            _enforce_deadline(worker, now, draft)
        case _:
            draft.actions.append(Forget(worker.name))


def _enforce_deadline(worker: Worker, now: float, draft: _Draft) -> None:
    if worker.deadline is None:
        return
    if now < worker.deadline:
        draft.wake(worker.deadline)
    elif worker.cold:
        draft.actions.append(Kill(worker.name, f"it did not stop cold within {COLD_SECONDS:g} s"))
    else:
        draft.actions.append(Cold(worker.name, "its grace period is over"))


def _decide_bereft(target: Target, state: FleetState, draft: _Draft) -> None:
    """Have some ready worker bring back what dead nodes without a successor had taken."""
    successors = {
        spec.node
        for name, spec in target.specs.items()
        if (worker := state.workers.get(name)) is None or worker.status is not Status.FAILED
    }
    alive = {worker.node for worker in state.workers.values() if worker.live}
    orphaned = state.bereft - successors - alive
    helper = next((w.name for w in state.workers.values() if w.status is Status.READY and w.beat.consuming), None)
    if orphaned and helper:
        draft.actions.append(Restore(helper, tuple(sorted(orphaned))))


# --- The end ----------------------------------------------------------------------------------------------


def _wind_down(state: FleetState, now: float, draft: _Draft) -> None:
    """Stop every worker in parallel, then the broker that they needed to finish."""
    if state.server.phase in (Phase.STARTING, Phase.UP):
        draft.actions.append(StopServer("the fleet stops"))
    live = [worker for worker in state.workers.values() if worker.live]
    for worker in live:
        if state.cold and not worker.cold:
            draft.actions.append(Cold(worker.name, "a cold stop was asked for"))
        elif worker.status in (Status.STARTING, Status.READY):
            grace = worker.grace if state.grace is None else state.grace
            draft.actions.append(Stop(worker.name, grace, "the fleet stops"))
        else:
            _enforce_deadline(worker, now, draft)
    if live:
        return
    broker = state.broker
    if broker.phase not in (Phase.STARTING, Phase.UP):
        draft.actions.append(Finish())
    elif broker.deadline is None:
        draft.actions.append(StopBroker())
    elif now >= broker.deadline:
        draft.actions.append(StopBroker(kill=True))
    else:
        draft.wake(broker.deadline)


# --- What happened ----------------------------------------------------------------------------------------


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
            deaths = (*state.broker.deaths[-9:], now)
            return replace(state, broker=Part(deaths=deaths, error=reason))
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
        deaths=worker.deaths if expected else (*worker.deaths[-49:], now),
        last_exit=event.last,
        cause=worker.cause if expected else event.last.reason,
        beat=Beat(),
        processed_before=worker.processed_before + worker.beat.processed,
        failed_before=worker.failed_before + worker.beat.failed,
    )
    unclean = event.last.code != 0 or not expected
    bereft = state.bereft | {worker.node} if unclean else state.bereft
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
            deaths = (*server.deaths[-9:], now)
            recent = [at for at in deaths if at > now - PART_RESTART.window]
            phase = Phase.FAILED if len(recent) > PART_RESTART.max_restarts else Phase.DOWN
            return Part(phase=phase, generation=server.generation, deaths=deaths, error=reason)


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
        case Restore(_, nodes):
            return replace(state, bereft=state.bereft - set(nodes))
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
