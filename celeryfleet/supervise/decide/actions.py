"""What the decisions can ask for: each action says why, and its text is what the log shows and tests compare."""

from celeryfleet.plan.values import WorkerSpec
from celeryfleet.records import Record


class _Action(Record):
    """Something to do now."""

    #: what the log shows, with fields in braces
    text = ""

    def __str__(self) -> str:
        return self.text.format_map(vars(self))


class Spawn(_Action):
    """Start a worker's process."""

    spec: WorkerSpec
    fork: bool
    #: seconds of warm stop this worker may take later
    grace: float
    cause: str
    #: from the fork server that has the code before
    former: bool = False

    text = "start {spec.name}: {cause}"

    def __str__(self) -> str:
        return f"{super().__str__()}; on the code before" if self.former else super().__str__()

    @property
    def name(self) -> str:
        """Name the worker."""
        return self.spec.name


class Stop(_Action):
    """Ask a worker to stop warmly; it turns cold after `grace` seconds."""

    name: str
    grace: float
    cause: str
    stuck: bool = False

    text = "stop {name}: {cause}"


class Cold(_Action):
    """Tell a worker to stop without finishing its tasks."""

    name: str
    cause: str

    text = "stop {name} cold: {cause}"


class Kill(_Action):
    """SIGKILL a worker's whole process group."""

    name: str
    cause: str

    text = "kill {name}: {cause}"


class Fail(_Action):
    """Give up on a worker until someone acts."""

    name: str
    cause: str

    text = "give up on {name}: {cause}"


class Forget(_Action):
    """Drop a worker that is neither wanted nor alive."""

    name: str

    text = "forget {name}: no longer wanted"


class Restore(_Action):
    """Have a live worker bring back the messages of dead nodes."""

    name: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} brings back the messages of {', '.join(self.nodes)}"


class SetQueues(_Action):
    """Tell a worker which queues to read."""

    name: str
    queues: tuple[str, ...]
    #: those of them that it does not read, and those that it reads beside them
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    #: it has been told so before: somebody else has told it otherwise
    again: bool

    def __str__(self) -> str:
        whose = ", which somebody else has cancelled", ", which somebody else has added"
        cancelled, added = whose if self.again else ("", "")
        parts = [f"pause {', '.join(self.surplus)}{added}"] if self.surplus else []
        parts += [f"resume {', '.join(self.missing)}{cancelled}"] if self.missing else []
        return f"{self.name}: {'; '.join(parts)}"


class StartBroker(_Action):
    """Start the embedded broker."""

    cause: str

    text = "start the broker: {cause}"


class StopBroker(_Action):
    """Stop the embedded broker, by SIGKILL if `kill`."""

    kill: bool = False

    def __str__(self) -> str:
        return "kill the broker: it did not stop" if self.kill else "stop the broker: the fleet stops"


class StartForkServer(_Action):
    """Start a fork server that imports the app anew."""

    generation: int
    cause: str
    #: leave the one that there is until this one has imported the app
    keep: bool = False
    app: str = ""

    def __str__(self) -> str:
        return f"start the fork server{_of(self.app)}: {self.cause}"


class StopForkServer(_Action):
    """Close a fork server's channel, at which it exits; its workers live on."""

    cause: str
    #: the one that has the code before
    former: bool = False
    app: str = ""

    def __str__(self) -> str:
        which = "fork server of the code before" if self.former else "fork server"
        return f"stop the {which}{_of(self.app)}: {self.cause}"


def _of(app: str) -> str:
    return f" of {app}" if app else ""


class GiveUpBroker(_Action):
    """Leave the embedded broker down until someone acts."""

    cause: str

    text = "give up on the broker: {cause}"


class Finish(_Action):
    """Nothing is left to do: the supervisor may exit."""

    text = "all stopped"


Action = (
    Spawn | Stop | Cold | Kill | Fail | Forget | Restore | SetQueues
    | StartBroker | StopBroker | GiveUpBroker | StartForkServer | StopForkServer | Finish
)  # fmt: skip
