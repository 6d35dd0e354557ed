"""The decisions: from what is wanted and what is, to what to do now. Pure: `now` is a number; nothing runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from celeryfleet.plan.values import PoolPlan, WorkerSpec
from celeryfleet.supervise.decide import actions
from celeryfleet.supervise.decide.state import FleetState, Part, Phase, Status, Worker
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.decide.timing import (
    COLD_SECONDS,
    PART_RESTART,
    START_SECONDS,
    STUCK_SECONDS,
    TOLD_SECONDS,
    delay,
)


@dataclass(slots=True)
class _Draft:
    """A decision in the making."""

    actions: list[actions.Action] = field(default_factory=list)
    wake_at: float | None = None
    #: pools of which a worker is replaced in this very decision
    replacing: set[str] = field(default_factory=set)

    def wake(self, at: float) -> None:
        if at == math.inf:
            return
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def decide(target: Target, state: FleetState, now: float) -> tuple[tuple[actions.Action, ...], float | None]:
    """Say what to do now, in order, and when to ask again though nothing has happened (None: no need)."""
    draft = _Draft()
    if state.stopping:
        _wind_down(state, now, draft)
        return tuple(draft.actions), draft.wake_at
    _decide_broker(target, state, now, draft)
    for app in dict.fromkeys([*(app.name for app in target.plan.apps), *state.apps]):
        _decide_fork_server(target, state, app, now, draft)
    for spec in target.specs.values():
        _decide_worker(target, state, spec, now, draft)
    for worker in state.workers.values():
        if worker.name not in target.specs:
            _decide_unwanted(target, worker, now, draft)
    _decide_restore(target, state, draft)
    return tuple(draft.actions), draft.wake_at


# --- The parts --------------------------------------------------------------------------------------------


def _decide_broker(target: Target, state: FleetState, now: float, draft: _Draft) -> None:
    if not target.embeds or state.broker.phase is not Phase.DOWN:
        return
    match _comes_back("broker", state.broker, now):
        case None:
            draft.actions.append(
                actions.GiveUpBroker(f"it died {len(state.broker.deaths)} times: {state.broker.error}")
            )
        case due if due <= now:
            draft.actions.append(actions.StartBroker(state.broker.error or "the fleet starts"))
        case due:
            draft.wake(due)


def _decide_fork_server(target: Target, state: FleetState, app: str, now: float, draft: _Draft) -> None:
    server, generation, forks = state.app(app).fork_server, target.plan.generation, target.forks(app)
    imported = server.phase in (Phase.UP, Phase.UNFIT) and server.generation == generation
    if state.app(app).former_server.phase is Phase.UP and (imported or not forks):
        draft.actions.append(actions.StopForkServer("there is a newer one", True, app))
    if not forks:
        if server.phase in (Phase.STARTING, Phase.UP):
            draft.actions.append(actions.StopForkServer("no worker is forked", app=app))
    elif server.phase is Phase.UP and server.error and target.plan.preload != "true":
        draft.actions.append(actions.StopForkServer(server.error, app=app))
    elif server.phase is not Phase.DOWN and server.generation != generation:
        keep = server.phase is Phase.UP
        draft.actions.append(actions.StartForkServer(generation, "the app is to be read anew", keep, app))
    elif server.phase is Phase.DOWN:
        due = _comes_back("server", server, now)
        if due is not None and due <= now:
            draft.actions.append(actions.StartForkServer(generation, server.error or "the fleet starts", app=app))
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
            former = target.former_spec(spec)
            if not target.follows(spec, worker.digest) and worker.digest != (former and former.digest):
                _start(target, state, spec, "its definition changed after it had failed", draft)
        case Status.STARTING | Status.READY:
            _keep(target, state, worker, spec, pool, now, draft)
        case Status.STOPPING | Status.STUCK:
            _enforce_deadline(worker, now, draft)


def _start(target: Target, state: FleetState, spec: WorkerSpec, cause: str, draft: _Draft, died: bool = False) -> None:
    """Spawn the worker if what it needs is there; otherwise an event will bring us here again.

    One that died does not wait for newer code to be imported, and none does for code that does not import.
    """
    if target.embeds and state.broker.phase is not Phase.UP:
        return
    grace = target.pools[spec.pool].grace
    if not spec.fork:
        draft.actions.append(actions.Spawn(spec, False, grace, cause))
        return
    server, before = state.app(spec.app).fork_server, state.app(spec.app).former_server
    if server.generation != target.plan.generation:
        return
    if server.phase is Phase.UP and (not server.error or target.plan.preload == "true"):
        draft.actions.append(actions.Spawn(spec, True, grace, cause))
    elif server.phase is Phase.UNFIT:
        draft.actions.append(actions.Spawn(spec, False, grace, cause))
    elif (
        (died or server.cannot_import) and before.phase is Phase.UP and (former := target.former_spec(spec)) is not None
    ):
        draft.actions.append(actions.Spawn(former, True, grace, cause, former=True))
    elif server.phase in (Phase.BROKEN, Phase.FAILED):
        worker = state.workers.get(spec.name)
        if worker is None or worker.status is not Status.FAILED:
            draft.actions.append(actions.Fail(spec.name, server.error))


def _come_back(target: Target, state: FleetState, worker: Worker, spec: WorkerSpec, now: float, draft: _Draft) -> None:
    policy = target.pools[spec.pool].restart
    deaths = [at for at in worker.deaths if at > now - policy.window]
    if len(deaths) > policy.max_restarts:
        reason = worker.last_exit.reason if worker.last_exit else "it died"
        draft.actions.append(actions.Fail(worker.name, f"{reason}, {len(deaths)} times in {policy.window:g} s"))
        return
    due = worker.deaths[-1] + delay(worker.name, len(deaths), policy) if worker.deaths else now
    if due > now:
        draft.wake(due)
    else:
        _start(target, state, spec, worker.last_exit.reason if worker.last_exit else "it died", draft, died=True)


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
    stale = not target.follows(spec, worker.digest)
    if (stale or worker.outdated) and _may_replace(target, state, worker, spec, draft):
        draft.replacing.add(worker.pool)
        cause = "its definition changed" if stale else "a restart was asked for"
        draft.actions.append(actions.Stop(worker.name, pool.grace, cause))
    elif worker.status is Status.STARTING:
        _check_start(worker, now, draft)
    else:
        _check_health(worker, pool, now, draft)
        _set_queues(state, worker, pool, now, draft)


def _may_replace(target: Target, state: FleetState, worker: Worker, spec: WorkerSpec, draft: _Draft) -> bool:
    """Hold a replacement back until its successor could start, and its turn in a rolling restart has come."""
    server = state.app(spec.app).fork_server
    if spec.fork and server.phase not in (Phase.UP, Phase.UNFIT):
        return False
    if spec.fork and server.generation != target.plan.generation:
        return False
    if worker.pool not in state.rolling:
        return True
    mates = [w for w in state.workers.values() if w.pool == worker.pool and w.name in target.specs]
    others_ready = all(mate.status is Status.READY for mate in mates if mate.name != worker.name)
    return others_ready and worker.pool not in draft.replacing


def _check_start(worker: Worker, now: float, draft: _Draft) -> None:
    """Find a process that hangs before it can beat, such as one forked while a thread held a lock."""
    if now < worker.seen_at + START_SECONDS:
        draft.wake(worker.seen_at + START_SECONDS)
    else:
        cause = f"it has been starting silently for {now - worker.seen_at:.0f} s"
        draft.actions.append(actions.Stop(worker.name, STUCK_SECONDS, cause, stuck=True))


def _check_health(worker: Worker, pool: PoolPlan, now: float, draft: _Draft) -> None:
    beat, health = worker.beat, pool.health
    if beat.loop_busy:
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
    draft.actions.append(actions.Stop(worker.name, grace, cause, stuck=True))


def _set_queues(state: FleetState, worker: Worker, pool: PoolPlan, now: float, draft: _Draft) -> None:
    """Have a worker read its pool's queues that are not paused, whatever `celery control` has told it meanwhile."""
    beat, wanted = worker.beat, tuple(queue for queue in pool.queues if queue not in state.paused)
    again = worker.told == wanted
    reads = set(beat.queues if again else worker.told)
    missing, surplus = sorted(set(wanted) - reads), sorted(reads.difference(wanted))
    if not beat.consuming or (again and (beat.loop_busy or not (missing or surplus))):
        return
    if again and now < worker.told_at + TOLD_SECONDS:
        draft.wake(worker.told_at + TOLD_SECONDS)
    else:
        draft.actions.append(actions.SetQueues(worker.name, wanted, tuple(missing), tuple(surplus), again))


def _decide_unwanted(target: Target, worker: Worker, now: float, draft: _Draft) -> None:
    match worker.status:
        case Status.STARTING | Status.READY:
            pool = target.pools.get(worker.pool)
            patient = pool is not None and pool.autoscale is not None  # there is no hurry: let it finish its tasks
            grace = math.inf if patient else worker.grace
            draft.actions.append(actions.Stop(worker.name, grace, "it is no longer wanted"))
        case Status.STOPPING | Status.STUCK:
            _enforce_deadline(worker, now, draft)
        case _:
            draft.actions.append(actions.Forget(worker.name))


def _enforce_deadline(worker: Worker, now: float, draft: _Draft) -> None:
    if worker.deadline is None:
        return
    if now < worker.deadline:
        draft.wake(worker.deadline)
    elif worker.cold:
        draft.actions.append(actions.Kill(worker.name, f"it did not stop cold within {COLD_SECONDS:g} s"))
    else:
        draft.actions.append(actions.Cold(worker.name, "its grace period is over"))


def _decide_restore(target: Target, state: FleetState, draft: _Draft) -> None:
    """Have some ready worker bring back what dead nodes without a successor had taken."""
    successors = {
        spec.node
        for name, spec in target.specs.items()
        if (worker := state.workers.get(name)) is None or worker.status is not Status.FAILED
    }
    alive = {worker.node for worker in state.workers.values() if worker.live}
    orphaned = state.dead_nodes - successors - alive
    helper = next((w.name for w in state.workers.values() if w.status is Status.READY and w.beat.consuming), None)
    if orphaned and helper:
        draft.actions.append(actions.Restore(helper, tuple(sorted(orphaned))))


# --- The end ----------------------------------------------------------------------------------------------


def _wind_down(state: FleetState, now: float, draft: _Draft) -> None:
    """Stop every worker in parallel, then the broker that they needed to finish."""
    for name, app in state.apps.items():
        if app.fork_server.phase in (Phase.STARTING, Phase.UP):
            draft.actions.append(actions.StopForkServer("the fleet stops", app=name))
        if app.former_server.phase is Phase.UP:
            draft.actions.append(actions.StopForkServer("the fleet stops", True, name))
    live = [worker for worker in state.workers.values() if worker.live]
    for worker in live:
        if state.cold and not worker.cold:
            draft.actions.append(actions.Cold(worker.name, "a cold stop was asked for"))
        elif worker.status in (Status.STARTING, Status.READY):
            draft.actions.append(actions.Stop(worker.name, worker.grace, "the fleet stops"))
        else:
            _enforce_deadline(worker, now, draft)
    if live:
        return
    broker = state.broker
    if broker.phase not in (Phase.STARTING, Phase.UP):
        draft.actions.append(actions.Finish())
    elif broker.deadline is None:
        draft.actions.append(actions.StopBroker())
    elif now >= broker.deadline:
        draft.actions.append(actions.StopBroker(kill=True))
    else:
        draft.wake(broker.deadline)
