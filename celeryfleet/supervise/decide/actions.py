"""What the decisions can ask for: each action says why, and its text is what the log shows and tests compare."""

from __future__ import annotations

from dataclasses import dataclass

from celeryfleet.plan.values import WorkerSpec


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
class StartForkServer:
    """Start a fork server that imports the app anew."""

    generation: int
    cause: str

    def __str__(self) -> str:
        return f"start the fork server: {self.cause}"


@dataclass(frozen=True, slots=True)
class StopForkServer:
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
    | StartBroker | StopBroker | GiveUpBroker | StartForkServer | StopForkServer | Finish
)  # fmt: skip
