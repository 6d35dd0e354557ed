"""The Topology: what a drawing of a fleet shows, as frozen values; knows nothing of how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.routing.table import DeadLetters


class Mood(StrEnum):
    """How something is: it decides the colour."""

    PLAIN = "plain"  #: nothing to be said of it
    WELL = "well"  #: it runs as wanted
    LATE = "late"  #: amber: it waits too long, or not all of it runs
    BAD = "bad"  #: red: nobody consumes it, or nothing of it runs


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
    line: int | None = None
    where: str | None = None
    #: as in fleet.yaml, 9 runs first
    priority: int | None = None
    #: of a beat entry: what it sends, and when
    task: str | None = None
    schedule: str | None = None
    #: every queue that gets what it sends, or may get it
    queues: tuple[str, ...] = ()
    #: what it sends reaches no queue: it is lost, or on RabbitMQ an error of the sender
    lost: bool = False
    #: why there is no line from it, or why it leads nowhere
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExchangeNode:
    """An exchange that says something: not the direct one of a queue's own name."""

    id: str
    name: str
    #: direct, topic, fanout, headers; None: not declared in fleet.yaml
    type: str | None


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
    #: of a headers exchange: what it wants of a message, with x-match; empty: it gets all
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: classic or quorum; None: the broker's default
    type: str | None = None
    max_priority: int | None = None
    #: messages
    max_length: int | None = None
    #: seconds after which `status` turns amber
    max_age_s: float | None = None
    dead_letters: DeadLetters | None = None
    #: False: the broker ignores x-dead-letter-exchange (Redis)
    honoured: bool = False
    #: pools that read it
    pools: tuple[str, ...] = ()
    #: pools that would, with a profile that was not asked for
    idle_pools: tuple[str, ...] = ()
    #: messages, and seconds; None: no running fleet was asked, or the broker does not tell
    ready: int | None = None
    unacked: int | None = None
    oldest_age_s: float | None = None
    #: workers; None: no running fleet was asked
    consumers: int | None = None
    paused: bool = False

    @property
    def unread(self) -> bool:
        """Tell whether no pool reads it, whatever the profile."""
        return not self.pools and not self.idle_pools

    @property
    def late(self) -> bool:
        """Tell whether its oldest message is older than it should get."""
        return self.oldest_age_s is not None and self.max_age_s is not None and self.oldest_age_s > self.max_age_s

    @property
    def mood(self) -> Mood:
        """Sum it up: red where nobody reads it."""
        if self.consumers is None:
            return Mood.BAD if self.unread else Mood.PLAIN if self.pools else Mood.LATE
        if self.paused or (self.consumers and self.late):
            return Mood.LATE
        return Mood.WELL if self.consumers else Mood.BAD


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A pool of identical workers."""

    id: str
    name: str
    queues: tuple[str, ...]
    #: strict or round_robin
    order: str
    #: the first of its queues really goes before the second: strict, on a broker that can
    ranked: bool
    #: prefork, threads, gevent, eventlet, solo
    pool: str
    replicas: int
    #: tasks at once in one worker, or `auto`
    concurrency: int | str
    #: bounds of the autoscaler
    autoscale: tuple[int, int] | None
    profiles: tuple[str, ...]
    #: False: it has profiles, and none of them was asked for
    active: bool
    #: workers; None: no running fleet was asked
    want: int | None = None
    ready: int | None = None

    @property
    def mood(self) -> Mood:
        """Sum it up; a pool that is wanted with no workers is as it should be."""
        if not self.want or self.ready is None:
            return Mood.PLAIN
        return Mood.WELL if self.ready >= self.want else Mood.LATE if self.ready else Mood.BAD


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
    #: ready, degraded, starting, stopping or down; None: no running fleet was asked
    state: str | None = None

    def edges_of(self, *kinds: EdgeKind) -> tuple[Edge, ...]:
        """Return the edges of these kinds."""
        return tuple(edge for edge in self.edges if edge.kind in kinds)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `graph --json` prints."""
        return {
            "schema_version": 1,
            "fleet": self.fleet,
            "state": self.state,
            "sources": [_without(asdict(node), "note") for node in self.sources],
            "exchanges": [asdict(node) for node in self.exchanges],
            "queues": [_queue(node) for node in self.queues],
            "pools": [_pool(node) for node in self.pools],
            "edges": [_edge(edge) for edge in self.edges],
        }


def _without(node: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def _queue(node: QueueNode) -> dict[str, Any]:
    letters = node.dead_letters
    shown = {"exchange": letters.exchange, "queues": letters.queues} if letters else None
    return {**_without(asdict(node), "honoured", "idle_pools", "paused"), "dead_letters": shown}


def _pool(node: PoolNode) -> dict[str, Any]:
    bounds = dict(zip(("min", "max"), node.autoscale, strict=True)) if node.autoscale else None
    return {**_without(asdict(node), "ranked"), "autoscale": bounds}


def _edge(edge: Edge) -> dict[str, Any]:
    return {"from": edge.source, "to": edge.target, **_without(asdict(edge), "source", "target")}
