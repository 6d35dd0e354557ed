"""What can happen to a fleet, as values: everything the decisions ever learn comes through one of these."""

from __future__ import annotations

from dataclasses import dataclass

from celeryfleet.protocol import LastExit, Pause, Restart, Stop
from celeryfleet.supervise.decide.actions import Action
from celeryfleet.worker_protocol import Said


@dataclass(frozen=True, slots=True)
class Heard:
    """A worker has said something."""

    name: str
    message: Said


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
class DeadNodes:
    """Nodes of earlier workers, whose messages nobody may have brought back, are remembered."""

    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class BrokerFound:
    """The embedded broker of an earlier supervisor still runs."""


@dataclass(frozen=True, slots=True)
class BrokerUp:
    """The embedded broker answers."""

    pid: int


@dataclass(frozen=True, slots=True)
class BrokerExited:
    """The embedded broker's process is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class ForkServerReady:
    """The fork server has imported the app; `unfit` says why it must not fork, if so."""

    generation: int
    unfit: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForkServerBroken:
    """The fork server could not import the app."""

    error: str


@dataclass(frozen=True, slots=True)
class ForkServerExited:
    """The fork server's process is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """Someone has mended what failed, or thinks so."""


@dataclass(frozen=True, slots=True)
class Overslept:
    """The machine, or the supervisor, stood still for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Did:
    """An action was carried out."""

    action: Action


Event = (
    Heard | Exited | Leftover | DeadNodes | BrokerFound | BrokerUp | BrokerExited | ForkServerReady
    | ForkServerBroken | ForkServerExited | Stop | Restart | RetryAsked | Pause | Overslept | Did
)  # fmt: skip
