"""What another plan would do to a fleet: the decisions themselves, taken in a world where all goes well. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celeryfleet.plan.values import WorkerSpec
from celeryfleet.protocol import Change, LastExit
from celeryfleet.supervise.decide import actions, events
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.decide import decide
from celeryfleet.supervise.decide.state import FleetState, Phase, Status
from celeryfleet.supervise.decide.target import Target
from celeryfleet.worker_protocol import Ready

#: rounds of deciding at most; a rolling restart takes some for each worker
_ROUNDS = 10_000
#: names of what changed that are told
_NAMED = 5


def difference(before: Target | None, after: Target, state: FleetState, now: float) -> tuple[Change, ...]:
    """Say what would be done to each worker, and why; `before` is what the fleet follows, None if it does not run."""
    running = {name: worker for name, worker in state.workers.items() if worker.live}
    started, stopped = _foreseen(after, state, now)
    changes = [
        Change("scale", pool.name, f"from {old.replicas} to {pool.replicas} workers")
        for pool in after.pools.values()
        if before and (old := before.pools.get(pool.name)) and old.replicas != pool.replicas
    ]
    for name, spec in after.specs.items():
        if name in stopped:
            changes.append(Change("replace", name, _why(stopped[name], before, after, spec)))
        elif name in started:
            changes.append(Change("start", name, started[name]))
        else:
            changes.append(Change("keep", name, "nothing of it changes"))
    gone = [worker for name, worker in running.items() if name not in after.specs]
    return (*changes, *(Change("stop", worker.name, stopped.get(worker.name, worker.cause)) for worker in gone))


def _foreseen(target: Target, state: FleetState, now: float) -> tuple[dict[str, str], dict[str, str]]:
    """Return why workers would be started, and why stopped, by their names."""
    started: dict[str, str] = {}
    stopped: dict[str, str] = {}
    for _ in range(_ROUNDS):
        todo, _ = decide(target, state, now)
        for action in todo:
            state = apply(state, events.Did(action), now)
            if isinstance(action, actions.Spawn):
                started.setdefault(action.name, action.cause)
            elif isinstance(action, actions.Stop):
                stopped.setdefault(action.name, action.cause)
        coming = list(_coming(state))
        for event in coming:
            state = apply(state, event, now)
        if not todo and not coming:
            break
    return started, stopped


def _coming(state: FleetState) -> Iterator[events.Event]:
    """Tell what happens next where nothing fails."""
    if state.broker.phase is Phase.STARTING:
        yield events.BrokerUp()
    for name, app in state.apps.items():
        if app.fork_server.phase is Phase.STARTING:
            yield events.ForkServerReady(app.fork_server.generation, "", app=name)
    for worker in state.workers.values():
        if worker.status is Status.STARTING:
            yield events.Heard(worker.name, Ready(()))
        elif worker.live and worker.status is not Status.READY:
            yield events.Exited(worker.name, LastExit(0, None, 0.0, ""))


def _why(cause: str, before: Target | None, after: Target, spec: WorkerSpec) -> str:
    """Name what of a worker's definition changed."""
    old = before.specs.get(spec.name) if before else None
    if before is None or old is None or old.digest == spec.digest:
        return cause
    parts = [
        (old.options, spec.options),
        ({**old.defaults, **old.conf}, {**spec.defaults, **spec.conf}),
        (old.env, spec.env),
    ]
    parts.append((before.plan.settings, after.plan.settings))
    apps = before.plan.app(old.app), after.plan.app(spec.app)
    parts.append(({"app": apps[0], "fork": old.fork}, {"app": apps[1], "fork": spec.fork}))
    names = sorted({name for one, other in parts for name in _differing(one, other)})
    if not names:
        return "the app is read anew" if before.plan.generation != after.plan.generation else cause
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{cause}: {', '.join(names[:_NAMED])}{more}"


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}
