"""What can happen to a fleet, as values: everything the decisions ever learn comes through one of these."""

from celeryfleet.protocol import LastExit, Marks, Pause, Restart, Stop
from celeryfleet.records import Record
from celeryfleet.supervise.decide.actions import Action
from celeryfleet.worker_protocol import Said


class Heard(Record):
    """A worker has said something."""

    name: str
    message: Said


class Exited(Record):
    """A worker's process is gone."""

    name: str
    last: LastExit


class Leftover(Record):
    """A worker of an earlier supervisor still finishes its task."""

    name: str
    pool: str
    node: str
    pid: int
    grace: float


class DeadNodes(Record):
    """Nodes of earlier workers, whose messages nobody may have brought back, are remembered."""

    nodes: frozenset[str]


class BrokerFound(Record):
    """The embedded broker of an earlier supervisor still runs."""


class BrokerUp(Record):
    """The embedded broker answers."""


class BrokerExited(Record):
    """The embedded broker's process is gone."""

    reason: str


class ForkServerReady(Record):
    """The fork server has imported the app; `unfit` says why it must not fork, if so."""

    generation: int
    unfit: str
    tasks: tuple[str, ...] = ()
    app: str = ""


class ForkServerBroken(Record):
    """The fork server could not import the app."""

    error: str
    app: str = ""


class ForkServerExited(Record):
    """A fork server's process is gone."""

    reason: str
    #: the one that has the code before
    former: bool = False
    app: str = ""


class RetryAsked(Record):
    """Someone has mended what failed, in these pools or in all, or thinks so."""

    pools: tuple[str, ...] = ()


class Overslept(Record):
    """The machine, or the supervisor, stood still for some seconds."""

    seconds: float


class Did(Record):
    """An action was carried out."""

    action: Action


Event = (
    Heard | Exited | Leftover | DeadNodes | BrokerFound | BrokerUp | BrokerExited | ForkServerReady
    | ForkServerBroken | ForkServerExited | Stop | Restart | RetryAsked | Pause | Marks | Overslept | Did
)  # fmt: skip
