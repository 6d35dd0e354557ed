"""What the supervisor believes about the world, as frozen values; knows nothing of how the world is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from celeryfleet.plan.values import WorkerSpec


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
class LastExit:
    """How a worker's last process ended."""

    #: exit code, or minus the signal's number
    code: int
    #: unix seconds
    at: float
    reason: str
    #: the last lines of its log
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker last said of itself."""

    active: int = 0
    reserved: int = 0
    processed: int = 0
    failed: int = 0
    consuming: bool = False
    #: trying to reach the broker
    connecting: bool = False
    #: a task blocks the worker's loop (solo): silence is no sign of death
    blocks: bool = False
    #: queues it was told not to consume
    paused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of the fleet, over all the processes that have carried its name."""

    name: str
    pool: str
    node: str
    status: Status
    #: of the WorkerSpec its process was started from
    digest: str = ""
    pid: int | None = None
    #: seconds of warm stop before the cold one
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
    #: to be replaced though its digest is right
    outdated: bool = False
    #: why it is in this status
    cause: str = ""
    last_exit: LastExit | None = None
    beat: Beat = Beat()
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
    pid: int | None = None
    generation: int = -1
    deaths: tuple[float, ...] = ()
    #: when a polite stop turns to SIGKILL
    deadline: float | None = None
    #: why it is UNFIT, BROKEN or FAILED
    error: str = ""


@dataclass(frozen=True, slots=True)
class FleetState:
    """All that is known of one fleet."""

    workers: dict[str, Worker] = field(default_factory=dict)
    broker: Part = Part()
    server: Part = Part()
    stopping: bool = False
    cold: bool = False
    #: seconds of grace asked for by `down -t`; None: each pool's own
    grace: float | None = None
    #: pools whose workers are replaced one after another
    rolling: frozenset[str] = frozenset()
    #: queues that nobody should consume for now
    paused: frozenset[str] = frozenset()
    #: nodes that died and have no successor: their unacknowledged messages wait to be brought back
    bereft: frozenset[str] = frozenset()

    def with_worker(self, worker: Worker) -> FleetState:
        """Return the state with this worker changed or added."""
        return replace(self, workers={**self.workers, worker.name: worker})

    def change(self, name: str, **changes: Any) -> FleetState:
        """Return the state with fields of one worker changed; unknown names change nothing."""
        worker = self.workers.get(name)
        return self if worker is None else self.with_worker(replace(worker, **changes))

    def without_worker(self, name: str) -> FleetState:
        """Return the state without this worker."""
        return replace(self, workers={n: w for n, w in self.workers.items() if n != name})


# --- What happens -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's process has started and told its pid."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker consumes for the first time."""

    name: str


@dataclass(frozen=True, slots=True)
class Beaten:
    """A worker gave a sign of life."""

    name: str
    beat: Beat


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker's process is gone."""

    name: str
    last: LastExit


@dataclass(frozen=True, slots=True)
class Leftover:
    """A worker of an earlier supervisor still finishes its task."""

    name: str
    pool: str
    node: str
    pid: int
    grace: float


@dataclass(frozen=True, slots=True)
class BrokerUp:
    """The embedded broker answers."""

    pid: int


@dataclass(frozen=True, slots=True)
class BrokerExited:
    """The embedded broker's process is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The fork server has imported the app; `unfit` says why it must not fork, if so."""

    generation: int
    unfit: str


@dataclass(frozen=True, slots=True)
class ServerBroken:
    """The fork server could not import the app."""

    error: str


@dataclass(frozen=True, slots=True)
class ServerExited:
    """The fork server's process is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Someone wants the whole fleet stopped."""

    cold: bool = False
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Someone wants these pools' workers replaced."""

    pools: frozenset[str]
    rolling: bool = False


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """Someone has mended what failed, or thinks so."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Someone wants these queues, and only these, not to be consumed for now."""

    queues: frozenset[str]


# --- What to do -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker's process."""

    spec: WorkerSpec
    fork: bool
    #: seconds of warm stop this worker may take later
    grace: float
    cause: str

    @property
    def name(self) -> str:
        """Name the worker."""
        return self.spec.name

    def __str__(self) -> str:
        return f"start {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a worker to stop warmly; it turns cold after `grace` seconds."""

    name: str
    grace: float
    cause: str
    stuck: bool = False

    def __str__(self) -> str:
        return f"stop {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Cold:
    """Tell a worker to stop without finishing its tasks."""

    name: str
    cause: str

    def __str__(self) -> str:
        return f"stop {self.name} cold: {self.cause}"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL a worker's whole process group."""

    name: str
    cause: str

    def __str__(self) -> str:
        return f"kill {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up on a worker until someone acts."""

    name: str
    cause: str

    def __str__(self) -> str:
        return f"give up on {self.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop a worker that is neither wanted nor alive."""

    name: str

    def __str__(self) -> str:
        return f"forget {self.name}: no longer wanted"


@dataclass(frozen=True, slots=True)
class Restore:
    """Have a live worker bring back the messages of dead nodes."""

    name: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} brings back the messages of {', '.join(self.nodes)}"


@dataclass(frozen=True, slots=True)
class SetPaused:
    """Tell a worker which of its queues to leave alone."""

    name: str
    pause: tuple[str, ...]
    resume: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"pause {', '.join(self.pause)}"] if self.pause else []
        parts += [f"resume {', '.join(self.resume)}"] if self.resume else []
        return f"{self.name}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class StartBroker:
    """Start the embedded broker."""

    cause: str

    def __str__(self) -> str:
        return f"start the broker: {self.cause}"


@dataclass(frozen=True, slots=True)
class StopBroker:
    """Stop the embedded broker, by SIGKILL if `kill`."""

    kill: bool = False

    def __str__(self) -> str:
        return "kill the broker: it did not stop" if self.kill else "stop the broker: the fleet stops"


@dataclass(frozen=True, slots=True)
class StartServer:
    """Start a fork server that imports the app anew."""

    generation: int
    cause: str

    def __str__(self) -> str:
        return f"start the fork server: {self.cause}"


@dataclass(frozen=True, slots=True)
class StopServer:
    """Close the fork server's channel, at which it exits; its workers live on."""

    cause: str

    def __str__(self) -> str:
        return f"stop the fork server: {self.cause}"


@dataclass(frozen=True, slots=True)
class GiveUpBroker:
    """Leave the embedded broker down until someone acts."""

    cause: str

    def __str__(self) -> str:
        return f"give up on the broker: {self.cause}"


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do: the supervisor may exit."""

    def __str__(self) -> str:
        return "all stopped"


Action = (
    Spawn | Stop | Cold | Kill | Fail | Forget | Restore | SetPaused
    | StartBroker | StopBroker | GiveUpBroker | StartServer | StopServer | Finish
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Did:
    """An action was carried out."""

    action: Action


Event = (
    Hello | Ready | Beaten | Exited | Leftover | BrokerUp | BrokerExited | ServerReady | ServerBroken | ServerExited
    | StopAsked | RestartAsked | RetryAsked | PauseAsked | Did
)  # fmt: skip
