"""The words on the nodes of a drawing, the same in every format, and the colour of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from celeryfleet.render.graph.topology import EdgeKind, Mood, SourceKind
from celeryfleet.render.paint import AMBER, DIM, GREEN, RED
from celeryfleet.text import age, counted, duration

if TYPE_CHECKING:
    from celeryfleet.render.graph.topology import Edge, PoolNode, QueueNode, Source, Topology
    from celeryfleet.render.paint import Span

MOODS = {Mood.PLAIN: DIM, Mood.WELL: GREEN, Mood.LATE: AMBER, Mood.BAD: RED}


def summary(topology: Topology) -> str:
    """Say in one line what there is, and how much of it runs."""
    state = f" ({topology.state})" if topology.state else ""
    return f"{topology.fleet}{state}: {', '.join(_parts(topology))}"


def _parts(topology: Topology) -> Iterator[str]:
    yield counted(sum(source.kind in (SourceKind.ROUTE, SourceKind.ROUTER) for source in topology.sources), "route")
    yield counted(len(topology.queues), "queue")
    pools = counted(len(topology.pools), "pool")
    if topology.state is None:
        workers = sum(pool.replicas for pool in topology.pools if pool.active)
        yield f"{pools} with {counted(workers, 'worker')}"
    else:
        yield pools
        ready, want = (sum(getattr(pool, key) or 0 for pool in topology.pools) for key in ("ready", "want"))
        yield f"{ready} of {counted(want, 'worker')} ready"


def queue_details(node: QueueNode) -> list[Span]:
    """Write what is to be said of a queue beside its name: first how it is, then how it was declared."""
    found = list(_now(node))
    if node.consumers is None and node.unread:
        found.append(("no pool reads it", RED))
    elif node.consumers is None and not node.pools:
        found.append(("unread without its profile", AMBER))
    if node.type:
        found.append((str(node.type), DIM))
    if node.max_priority is not None:
        found.append((f"max_priority {node.max_priority}", DIM))
    if node.max_length is not None:
        found.append((f"max_length {node.max_length:,}", DIM))
    if node.max_age_s is not None:
        found.append((f"max_age {duration(node.max_age_s)}", DIM))
    if node.dead_letters:
        found.append(_dead_letters(node))
    return found


def _now(queue: QueueNode) -> Iterator[Span]:
    if queue.ready is not None:
        yield f"{queue.ready:,} ready", DIM
    if queue.unacked:
        yield f"{queue.unacked:,} unacked", DIM
    if queue.oldest_age_s is not None:
        yield f"oldest {age(queue.oldest_age_s)}", AMBER if queue.late else DIM
    if queue.paused:
        yield "paused", AMBER
    elif queue.consumers == 0:
        yield "no pool reads it" if queue.unread else "no consumer", RED
    elif queue.consumers:
        yield counted(queue.consumers, "consumer"), DIM


def _dead_letters(queue: QueueNode) -> Span:
    letters = queue.dead_letters
    assert letters is not None
    if not queue.honoured:
        return "dead letters: on RabbitMQ only", AMBER
    if letters.queues:
        return f"dead letters → {', '.join(letters.queues)}", DIM
    if not letters.declared:
        return f"dead letters → {letters.exchange}, not declared here", AMBER
    return f"dead letters: lost in {letters.exchange}" if letters.exchange else "dead letters: lost", RED


def pool_size(node: PoolNode) -> str:
    """Write replicas × concurrency and the kind of a pool; of a running one, the replicas wanted now."""
    replicas = node.replicas if node.want is None else node.want
    bounds = f"{node.autoscale[0]}–{node.autoscale[1]}" if node.autoscale else str(replicas)
    return f"{bounds} × {node.concurrency} {node.pool}"


def pool_details(node: PoolNode) -> list[Span]:
    """Write what is to be said of a pool beside its name and size."""
    found = []
    if node.want is not None:
        found.append((f"{node.ready}/{node.want} ready", MOODS[node.mood]))
    if node.order == "round_robin" and len(node.queues) > 1:
        found.append(("in turn", DIM))
    if not node.active:
        found.append((f"with --profile {' or '.join(node.profiles)}", DIM))
    return found


# --- Boxes and arrows, for formats whose readers lay them out ---------------------------------------------


#: of each kind of box, and of how it is → fill, line and text
COLOURS = {
    "source": ("#eef2ff", "#6366f1", "#1e1b4b"),
    "exchange": ("#faf5ff", "#a855f7", "#3b0764"),
    "queue": ("#ecfeff", "#0891b2", "#083344"),
    "pool": ("#f8fafc", "#64748b", "#0f172a"),
    Mood.WELL: ("#f0fdf4", "#16a34a", "#052e16"),
    Mood.LATE: ("#fffbeb", "#d97706", "#451a03"),
    Mood.BAD: ("#fef2f2", "#dc2626", "#450a0a"),
}


class Box(NamedTuple):
    """A node."""

    id: str
    #: source, exchange, queue or pool
    kind: str
    lines: list[str]
    mood: Mood = Mood.PLAIN
    dashed: bool = False


def boxes(topology: Topology) -> Iterator[Box]:
    """Write every node, those of one kind together."""
    for source in topology.sources:
        mood = Mood.BAD if source.lost else Mood.PLAIN
        yield Box(source.id, "source", _source(source), mood, source.kind is SourceKind.ROUTER)
    for exchange in topology.exchanges:
        if exchange.type:
            yield Box(exchange.id, "exchange", [exchange.name, f"{exchange.type} exchange"])
        else:
            yield Box(exchange.id, "exchange", [exchange.name, "exchange, not declared here"], Mood.LATE, dashed=True)
    for queue in topology.queues:
        name = f"{queue.name} (default)" if queue.default else queue.name
        yield Box(queue.id, "queue", [name, *(text for text, _ in queue_details(queue))], queue.mood)
    for pool in topology.pools:
        lines = [pool.name, pool_size(pool), *(text for text, _ in pool_details(pool))]
        yield Box(pool.id, "pool", lines, pool.mood, not pool.active)


def arrow(edge: Edge) -> tuple[str, bool, str]:
    """Return the words on an arrow, whether it is dashed, and its colour, empty where it needs none of its own."""
    dead = edge.kind is EdgeKind.DEAD_LETTERS
    colour = COLOURS[Mood.BAD if edge.lost else Mood.LATE][1] if edge.lost or dead else ""
    dashed = dead or edge.kind is EdgeKind.MAY_SEND or not edge.active
    return f"dead letters {edge.label}".strip() if dead else edge.label, dashed, colour


def _source(node: Source) -> list[str]:
    kind = f"{node.kind} " if node.kind in (SourceKind.ROUTER, SourceKind.BEAT) else ""
    line = f"line {node.line}" if node.line else None
    priority = None if node.priority is None else f"priority {node.priority}"
    return [f"{kind}{node.text}", *filter(None, (line, node.task, node.schedule, priority, node.note))]
