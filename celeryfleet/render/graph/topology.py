"""The Topology: what a drawing of a fleet shows, as frozen values; knows nothing of how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: notes: why no line leads from a source, or what becomes of what it sends
NOWHERE = "no queue is bound to that key"
UNWANTED = "no queue wants those headers"
ANYWHERE = "decides when a task is sent"


class SourceKind(StrEnum):
    """What sends tasks to a queue or an exchange."""

    ROUTE = "route"  #: a task, glob or regex of fleet.yaml's routes
    ROUTER = "router"  #: a route that asks a router
    DEFAULT = "default"  #: whatever no route takes
    BEAT = "beat"  #: an entry of beat's schedule


class EdgeKind(StrEnum):
    """What a line of the drawing means."""

    SENDS = "sends"  #: a source → an exchange or a queue
    MAY_SEND = "may-send"  #: the same, where a router has its say when the task is sent
    BINDS = "binds"  #: an exchange → a queue
    READS = "reads"  #: a queue → a pool that consumes it
    DEAD_LETTERS = "dead-letters"  #: a queue → where its dead letters go


@dataclass(frozen=True, slots=True)
class Source:
    """What sends tasks somewhere: a route, beat, or the rule for all the rest."""

    id: str
    kind: SourceKind
    #: as drawn: `shop.mail.*`, `/shop\\.(sms|push)/`, `shop.routing.Router`, `any other task`, beat's entry
    text: str
    #: where it is written; 0 and empty where it is not
    line: int = 0
    where: str = ""
    #: as in fleet.yaml, 9 runs first; None: not said
    priority: int | None = None
    #: of a beat entry: what it sends, and when
    task: str = ""
    schedule: str = ""
    #: every queue that gets what it sends, or may get it
    queues: tuple[str, ...] = ()
    #: why there is no line from it, or why it leads nowhere
    note: str = ""
    #: what it sends reaches no queue: it is lost, or on RabbitMQ an error of the sender
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeNode:
    """An exchange that says something: not the direct one of a queue's own name."""

    id: str
    name: str
    #: direct, topic, fanout, headers; empty: not declared in fleet.yaml
    type: str


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Where a queue's dead letters go."""

    exchange: str
    #: empty: the message's own
    routing_key: str
    queues: tuple[str, ...]
    #: False: no queue of fleet.yaml has that exchange
    declared: bool
    #: False: the broker ignores x-dead-letter-exchange (Redis)
    honoured: bool


@dataclass(frozen=True, slots=True)
class QueueNode:
    """A queue."""

    id: str
    name: str
    #: where tasks go that no route names
    default: bool
    exchange: str
    exchange_type: str
    routing_key: str
    #: pools that read it
    pools: tuple[str, ...]
    #: pools that would, with a profile that was not asked for
    idle_pools: tuple[str, ...]
    #: classic or quorum; empty: the broker's default
    type: str = ""
    max_priority: int | None = None
    #: of a headers exchange: what it wants of a message, with x-match; empty: it gets all
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: messages
    max_length: int | None = None
    #: seconds after which `status` turns amber
    max_age: float | None = None
    dead_letters: DeadLetters | None = None

    @property
    def unread(self) -> bool:
        """Tell whether no pool reads it, whatever the profile."""
        return not self.pools and not self.idle_pools


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A pool of identical workers."""

    id: str
    name: str
    #: prefork, threads, gevent, eventlet, solo
    kind: str
    #: tasks at once in one worker, or `auto`
    concurrency: int | str
    replicas: int
    #: bounds of the autoscaler
    autoscale: tuple[int, int] | None
    queues: tuple[str, ...]
    #: strict or round_robin
    order: str
    #: the first of its queues really goes before the second: strict, on a broker that can
    ranked: bool
    profiles: tuple[str, ...]
    #: False: it has profiles, and none of them was asked for
    active: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """A line of the drawing, between the ids of two nodes."""

    source: str
    target: str
    kind: EdgeKind
    #: a routing key, a binding's key, or the place of a queue in a pool's order
    label: str = ""
    #: False: the pool at its end does not run
    active: bool = True
    #: True: what goes this way is lost
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, every part in the order of fleet.yaml."""

    fleet: str
    sources: tuple[Source, ...]
    exchanges: tuple[ExchangeNode, ...]
    queues: tuple[QueueNode, ...]
    pools: tuple[PoolNode, ...]
    edges: tuple[Edge, ...]

    def edges_of(self, *kinds: EdgeKind) -> tuple[Edge, ...]:
        """Return the edges of these kinds."""
        return tuple(edge for edge in self.edges if edge.kind in kinds)

    @property
    def workers(self) -> int:
        """Count the workers that should run."""
        return sum(pool.replicas for pool in self.pools if pool.active)
