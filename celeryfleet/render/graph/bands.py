"""The rows of the drawing in the terminal: a band for each queue or exchange, its sources and pools beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from celeryfleet.render.graph.channel import Channel, Port
from celeryfleet.render.graph.layout import arrange
from celeryfleet.render.graph.topology import EdgeKind, ExchangeNode, PoolNode, QueueNode, Source, Topology


@dataclass(frozen=True, slots=True)
class Band:
    """What lies side by side: one queue, or an exchange with its queues."""

    exchange: ExchangeNode | None
    queues: tuple[QueueNode, ...]
    sources: tuple[Source, ...]

    @property
    def root(self) -> str:
        """Return the id of what its sources lead to."""
        return self.exchange.id if self.exchange else self.queues[0].id


@dataclass(slots=True)
class Rows:
    """The first row of each node, by its id."""

    sources: dict[str, int] = field(default_factory=dict)
    middle: dict[str, int] = field(default_factory=dict)
    pools: dict[str, int] = field(default_factory=dict)
    channel: Channel = field(default_factory=Channel)

    #: the first row below everything
    end: int = 0


def bands(topology: Topology) -> list[Band]:
    """Cut a topology into bands, in the order in which few lines to the pools cross."""
    names = [queue.name for queue in topology.queues]
    lines = [(queue, pool.id) for pool in topology.pools for queue in pool.queues]
    order, _ = arrange([names, [pool.id for pool in topology.pools]], lines)
    place = {name: at for at, name in enumerate(order)}
    binders = {edge.target: edge.source for edge in topology.edges_of(EdgeKind.BINDS)}
    exchanges = {exchange.id: exchange for exchange in topology.exchanges}
    groups: dict[str, list[QueueNode]] = {}
    for queue in sorted(topology.queues, key=lambda queue: place[queue.name]):
        groups.setdefault(binders.get(queue.id, queue.id), []).append(queue)
    leads = {edge.source: edge.target for edge in reversed(topology.edges) if _is_drawn(topology, edge.source)}
    return [
        Band(exchanges.get(root), tuple(queues), tuple(node for node in topology.sources if leads.get(node.id) == root))
        for root, queues in groups.items()
    ]


def adrift(topology: Topology, cut: Sequence[Band]) -> list[Source]:
    """Return the sources that are in no band, and have no line: what they do is said in words."""
    drawn = {source.id for band in cut for source in band.sources}
    return [source for source in topology.sources if source.id not in drawn]


def _is_drawn(topology: Topology, source: str) -> bool:
    """A router that may send to each of the queues would be drawn over everything."""
    targets = [edge for edge in topology.edges if edge.source == source]
    return len(targets) == 1


def place(topology: Topology, cut: Sequence[Band], heights: Mapping[str, int], gap: int) -> Rows:
    """Give every node its rows, `gap` of them free between bands; `heights` are theirs in rows, by id."""
    rows = Rows()
    queues = [queue for band in cut for queue in band.queues]
    order = [queue.name for queue in queues]
    first = _first_queues(topology, queues)
    row = 0
    for band in cut:
        if band.exchange:
            rows.middle[band.exchange.id] = row
            row_below = row + heights[band.exchange.id]
            for queue in band.queues:
                row_below = _place_queue(queue, first.get(queue.name, []), order, row_below, heights, rows)
        else:
            queue = band.queues[0]
            row_below = _place_queue(queue, first.get(queue.name, []), order, row, heights, rows)
        left = rows.middle[band.root]
        for source in band.sources:
            rows.sources[source.id] = left
            left += heights[source.id]
        row = max(row_below, left) + gap
    rows.end = max([row - gap, *(rows.pools[pool.id] + heights[pool.id] for pool in topology.pools)])
    _fill(rows, topology)
    return rows


def _first_queues(topology: Topology, queues: Sequence[QueueNode]) -> dict[str, list[PoolNode]]:
    """Say at which queue each pool is placed: the topmost of its own."""
    first: dict[str, list[PoolNode]] = {}
    for pool in topology.pools:
        top = next((queue.name for queue in queues if queue.name in pool.queues), "")
        first.setdefault(top, []).append(pool)
    return first


def _place_queue(
    queue: QueueNode,
    pools: Sequence[PoolNode],
    order: Sequence[str],
    row: int,
    heights: Mapping[str, int],
    rows: Rows,
) -> int:
    """Place a queue, and the pools that begin at it; return the row below the queue."""
    below = max((at + heights[name] for name, at in rows.pools.items()), default=0)
    if pools:
        row = max(row, below)  # so that the line to the first of them is straight
    if queue.pools or queue.idle_pools:
        row = rows.channel.leave(queue.name, row)
    rows.middle[queue.id] = row
    at = max(row, below)
    for pool in pools:
        at = rows.channel.enter([name for name in order if name in pool.queues], at)
        rows.pools[pool.id] = at
        at += heights[pool.id]
    return row + heights[queue.id]


def _fill(rows: Rows, topology: Topology) -> None:
    """Tell the nets their ports."""
    entering = rows.channel.entering
    for pool in topology.pools:
        for at in range(len(pool.queues)):
            row = rows.pools[pool.id] + at
            name = entering[row]
            label = str(pool.queues.index(name) + 1) if pool.ranked else ""
            rows.channel.nets[name].ports.append(Port(row, label, not pool.active))
