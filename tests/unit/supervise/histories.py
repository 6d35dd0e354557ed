"""A pretend world for the decisions: executes actions at once, and lets a test say what happens next."""

from __future__ import annotations

from dataclasses import replace

from celeryfleet.plan.values import AppPlan, BrokerPlan, Health, Plan, PoolPlan, RestartPolicy
from celeryfleet.protocol import LastExit
from celeryfleet.supervise.decide.actions import Action, Finish, Spawn
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.decide import decide
from celeryfleet.supervise.decide.events import (
    BrokerExited,
    BrokerUp,
    Did,
    Event,
    Exited,
    ForkServerExited,
    ForkServerReady,
    Heard,
)
from celeryfleet.supervise.decide.state import FleetState, Status, Worker
from celeryfleet.supervise.decide.target import Target
from celeryfleet.worker_protocol import Beat, Hello, Ready


def pool(name: str = "web", replicas: int = 1, fork: bool = False, concurrency: int = 1, **changes: object) -> PoolPlan:
    """Make a pool that reads a queue of its own name."""
    base = PoolPlan(
        name=name,
        queues=(name,),
        replicas=replicas,
        argv=("celery", "worker", "-n", "{node}"),
        options={"hostname": "{name}@fleet.host"},
        conf={},
        defaults={"worker_pool": "prefork", "worker_concurrency": concurrency},
        env={},
        fork=fork,
        grace=30.0,
        restart=RestartPolicy(backoff=1.0, max_backoff=60.0, max_restarts=5, window=300.0),
        health=Health(heartbeat_within=30.0, consuming_within=60.0),
    )
    made: PoolPlan = replace(base, **changes)  # type: ignore[arg-type]
    return replace(made, options={**made.options, "queues": list(made.queues)})


def plan(*pools: PoolPlan, embedded: bool = False, preload: str = "auto", generation: int = 0) -> Plan:
    """Make a plan of these pools and their apps."""
    argv = ("valkey-server",) if embedded else ()
    return Plan(
        fleet="fleet",
        file="/srv/fleet.yaml",
        state_dir="/srv/.celeryfleet/fleet",
        control="/srv/.celeryfleet/fleet/control.sock",
        apps=tuple(AppPlan(name, name or "shop") for name in dict.fromkeys(pool.app for pool in pools) or [""]),
        settings={},
        env={},
        broker=BrokerPlan("redis://x", "redis://x", "redis://x", argv),
        queues=(),
        pools=pools,
        preload=preload,
        generation=generation,
    )


class World:
    """The state of a fleet as the decisions see it, with a clock that only the test moves."""

    def __init__(self, wanted: Plan, now: float = 1000.0) -> None:
        self.target = Target.of(wanted)
        self.state = FleetState()
        self.now = now
        self.wake_at: float | None = None
        #: the text of every action since the last `told`
        self.log: list[str] = []
        self.finished = False
        self._pid = 100
        self.settle()

    def want(self, wanted: Plan) -> None:
        """Change what is wanted."""
        self.target = self.target.followed_by(wanted, self.state.imported(self.target.plan.generation))
        self.settle()

    def settle(self) -> None:
        """Decide and carry out until there is nothing more to do now."""
        for _ in range(100):
            actions, self.wake_at = decide(self.target, self.state, self.now)
            for action in actions:
                self.log.append(str(action))
                if isinstance(action, Spawn):
                    old = self.state.workers.get(action.name)
                    assert old is None or not old.live, f"{action}, although it is alive"
                self.state = apply(self.state, Did(action), self.now)
                self.carried_out(action)
            if not actions or self.finished:
                return
        raise AssertionError(f"never settles: {self.log[-10:]}")

    def carried_out(self, action: Action) -> None:
        """Have the consequences of an action that are certain."""
        if isinstance(action, Spawn):
            self._pid += 1
            self.state = apply(self.state, Heard(action.name, Hello(self._pid)), self.now)
        if isinstance(action, Finish):
            self.finished = True

    def happen(self, *events: Event) -> None:
        """Let events happen now."""
        for event in events:
            self.state = apply(self.state, event, self.now)
            self.settle()

    def after(self, seconds: float) -> None:
        """Let time pass, waking up whenever that was asked for."""
        end = self.now + seconds
        while self.wake_at is not None and self.wake_at <= end:
            assert self.wake_at >= self.now, "it asks to be woken in the past"
            self.now = max(self.wake_at, self.now)
            self.settle()
        self.now = end
        self.settle()

    def told(self) -> list[str]:
        """Return the actions since the last call."""
        log, self.log = self.log, []
        return log

    def worker(self, name: str = "web-1") -> Worker:
        """Return a worker."""
        return self.state.workers[name]

    def status(self, name: str = "web-1") -> Status:
        """Return a worker's status."""
        return self.worker(name).status

    # --- Usual events -------------------------------------------------------------------------------------

    def ready(self, *names: str) -> None:
        """Let these workers, or all that start, become ready."""
        starting = [w.name for w in self.state.workers.values() if w.status is Status.STARTING]
        for name in names or starting:
            self.beat(name)
            self.happen(Heard(name, Ready(())))

    def beat(self, name: str = "web-1", **fields: object) -> None:
        """Let a worker give a sign of life; it reads what it was told to read."""
        told = tuple(sorted(self.worker(name).told))
        self.happen(Heard(name, Beat(**{"consuming": True, "queues": told, **fields})))  # type: ignore[arg-type]

    def die(self, name: str = "web-1", code: int = -9) -> None:
        """Let a worker's process end."""
        self.happen(Exited(name, LastExit(code, None, 0.0, "it was killed by SIGKILL" if code < 0 else f"code {code}")))

    def broker_up(self) -> None:
        """Let the embedded broker answer."""
        self.happen(BrokerUp())

    def broker_dies(self) -> None:
        """Let the embedded broker end."""
        self.happen(BrokerExited("it was killed by SIGKILL"))

    def server_up(self, unfit: str = "", app: str = "") -> None:
        """Let the fork server report that the app is imported."""
        self.happen(ForkServerReady(self.target.plan.generation, unfit, app=app))

    def server_dies(self, former: bool = False, app: str = "") -> None:
        """Let the fork server, or the one before it, end."""
        self.happen(ForkServerExited("it was killed by SIGKILL", former, app))
