"""What can happen to a fleet, as values: everything the decisions ever learn comes through one of these."""

from __future__ import annotations

from dataclasses import dataclass

from celeryfleet.supervise.decide.actions import Action
from celeryfleet.supervise.decide.state import Beat, LastExit


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


@dataclass(frozen=True, slots=True)
class Restored:
    """A worker has brought back the messages of dead nodes."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overslept:
    """The machine, or the supervisor, stood still for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Did:
    """An action was carried out."""

    action: Action


Event = (
    Hello | Ready | Beaten | Exited | Leftover | BrokerUp | BrokerExited | ServerReady | ServerBroken | ServerExited
    | StopAsked | RestartAsked | RetryAsked | PauseAsked | Restored | Overslept | Did
)  # fmt: skip
