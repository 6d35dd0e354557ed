"""What the supervisor believes about the world, as frozen values; knows nothing of how the world is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from celeryfleet.plan.values import PoolPlan
from celeryfleet.protocol import LastExit, Mark
from celeryfleet.worker_protocol import Beat

#: fork servers that die in a row while they import the app, after which it is the code that is held to be broken
STILLBORN = 2


class Status(StrEnum):
    """What a worker is doing, as its user sees it."""

    STARTING = "starting"
    READY = "ready"
    STUCK = "stuck"  #: alive but silent, or not consuming; being replaced
    STOPPING = "stopping"
    BACKOFF = "backoff"  #: died; comes back later
    FAILED = "failed"  #: died too often; stays down until someone acts
    STOPPED = "stopped"


class Phase(StrEnum):
    """Where the embedded broker or the fork server stands."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    UNFIT = "unfit"  #: fork server only: the app can't be forked safely
    BROKEN = "broken"  #: fork server only: the app does not import
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of the fleet, over all the processes that have carried its name."""

    name: str
    pool: str
    node: str
    status: Status
    #: of its app
    app: str = ""
    #: of the WorkerSpec its process was started from
    digest: str = ""
    pid: int | None = None
    #: seconds of warm stop before the cold one: its pool's, or what a stop was asked for with
    grace: float = 60.0
    started_at: float = 0.0
    #: last sign of life
    seen_at: float = 0.0
    #: last time it was known to consume
    consuming_at: float = 0.0
    #: since when it has been trying to reach the broker
    cut_off_at: float | None = None
    #: when the warm stop turns cold; when the cold one turns to SIGKILL once `cold` is set
    deadline: float | None = None
    cold: bool = False
    #: times of unexpected exits, oldest first
    deaths: tuple[float, ...] = ()
    restarts: int = 0
    #: why it was found to be stuck; empty: it was not
    stuck: str = ""
    #: to be replaced though its digest is right
    outdated: bool = False
    #: dead nodes whose messages it was told to bring back, and has not said that it did
    restoring: frozenset[str] = frozenset()
    #: the queues it was told to read, and when
    told: tuple[str, ...] = ()
    told_at: float = 0.0
    #: why it is in this status
    cause: str = ""
    last_exit: LastExit | None = None
    beat: Beat = field(default_factory=Beat)
    #: settings of its process that the app may have said, once it is ready
    conf: dict[str, object] = field(default_factory=dict)
    #: tasks processed and failed by the processes before this one
    processed_before: int = 0
    failed_before: int = 0

    @property
    def live(self) -> bool:
        """Tell whether it has a process, or one that is being started."""
        return self.status in (Status.STARTING, Status.READY, Status.STUCK, Status.STOPPING)


@dataclass(frozen=True, slots=True)
class Part:
    """The embedded broker or the fork server."""

    phase: Phase = Phase.DOWN
    generation: int = -1
    deaths: tuple[float, ...] = ()
    #: when a polite stop turns to SIGKILL
    deadline: float | None = None
    #: why it is UNFIT, BROKEN or FAILED, or what ended the one before it
    error: str = ""
    #: fork servers that have died in a row before they had imported the app
    stillborn: int = 0

    @property
    def cannot_import(self) -> bool:
        """Tell whether the app's code is known to be at fault, as far as anyone can tell."""
        return self.phase in (Phase.BROKEN, Phase.FAILED) or self.stillborn >= STILLBORN


@dataclass(frozen=True, slots=True)
class AppState:
    """What is known of one app."""

    fork_server: Part = Part()
    #: the fork server before it, kept until the newer has imported the app: a worker that dies comes back from it
    former_server: Part = Part()
    #: names of the tasks that it has registered
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetState:
    """All that is known of one fleet."""

    workers: dict[str, Worker] = field(default_factory=dict)
    broker: Part = Part()
    #: by their names
    apps: dict[str, AppState] = field(default_factory=dict)
    stopping: bool = False
    cold: bool = False
    #: pools whose workers are replaced one after another
    rolling: frozenset[str] = frozenset()
    #: queues that nobody should consume for now
    paused: frozenset[str] = frozenset()
    #: what was said last of queues on all hosts, by queue; this one may differ
    marks: dict[str, Mark] = field(default_factory=dict)
    #: since when, by queue
    paused_since: dict[str, float] = field(default_factory=dict)
    #: nodes that died and have no successor: their unacknowledged messages wait to be brought back
    dead_nodes: frozenset[str] = frozenset()

    def with_worker(self, worker: Worker) -> FleetState:
        """Return the state with this worker changed or added."""
        return replace(self, workers={**self.workers, worker.name: worker})

    def app(self, name: str) -> AppState:
        """Return what is known of an app."""
        return self.apps.get(name, AppState())

    def change_app(self, name: str, **changes: Any) -> FleetState:
        """Return the state with fields of one app changed."""
        return replace(self, apps={**self.apps, name: replace(self.app(name), **changes)})

    def imported(self, generation: int) -> list[str]:
        """Name the apps whose code of a generation of the plan is imported by a fork server."""
        servers = {name: app.fork_server for name, app in self.apps.items()}
        return [name for name, one in servers.items() if one.phase is Phase.UP and one.generation == generation]

    def settled(self, pool: PoolPlan) -> PoolPlan:
        """Return a pool with what its workers have told in the place of our defaults."""
        return pool.settled(next((one.conf for one in self.workers.values() if one.pool == pool.name and one.conf), {}))

    def change(self, name: str, **changes: Any) -> FleetState:
        """Return the state with fields of one worker changed; unknown names change nothing."""
        worker = self.workers.get(name)
        return self if worker is None else self.with_worker(replace(worker, **changes))

    def without_worker(self, name: str) -> FleetState:
        """Return the state without this worker."""
        return replace(self, workers={n: w for n, w in self.workers.items() if n != name})
