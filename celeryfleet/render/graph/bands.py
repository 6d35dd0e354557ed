"""The rows of the drawing in the terminal: a band for each queue or exchange, its sources and pools beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celeryfleet.render.graph.channel import Channel, Port, untangled
from celeryfleet.render.graph.topology import EdgeKind, ExchangeNode, PoolNode, QueueNode, Source, Topology


@dataclass(frozen=True, slots=True)
class Band:
    """What lies side by side: one queue, or an exchange with its queues."""

    exchange: ExchangeNode | None
    queues: list[QueueNode]
    sources: list[Source]


def bands(topology: Topology) -> tuple[list[Band], list[Source]]:
    """Cut a topology into bands, in the order in which few lines to the pools cross.

    The sources beside them are in no band, and have no line: a router that may send to each of the queues would be
    drawn over everything, so what it does is said in words.
    """
    order = untangled([queue.name for queue in topology.queues], {pool.id: pool.queues for pool in topology.pools})
    place = {name: at for at, name in enumerate(order)}
    roots = {edge.target: edge.source for edge in topology.edges_of(EdgeKind.BINDS)}
    exchanges = {exchange.id: exchange for exchange in topology.exchanges}
    groups: dict[str, list[QueueNode]] = {}
    for queue in sorted(topology.queues, key=lambda queue: place[queue.name]):
        groups.setdefault(roots.get(queue.id, queue.id), []).append(queue)
    targets: dict[str, list[str]] = {}
    for edge in topology.edges_of(EdgeKind.SENDS, EdgeKind.MAY_SEND):
        targets.setdefault(edge.source, []).append(edge.target)
    found = [
        Band(exchanges.get(root), queues, [node for node in topology.sources if targets.get(node.id) == [root]])
        for root, queues in groups.items()
    ]
    return found, [node for node in topology.sources if len(targets.get(node.id, ())) != 1]


class Rows:
    """The first row of each node by its id, `gap` rows free between bands; `heights` are the nodes' in rows."""

    def __init__(self, topology: Topology, cut: Sequence[Band], heights: Mapping[str, int], gap: int) -> None:
        self.at: dict[str, int] = {}
        self.channel = Channel()
        self._heights = heights
        self._order = [queue.name for band in cut for queue in band.queues]
        #: the first row below all pools
        self._below = 1
        row = 1  # the titles are above
        for band in cut:
            left = below = row
            if band.exchange:
                self.at[band.exchange.id] = row
                below += heights[band.exchange.id]
            for queue in band.queues:
                # Each pool stands at the topmost of its queues.
                pools = [pool for pool in topology.pools if self._topmost(pool) == queue.name]
                below = self._place(queue, pools, below)
            if not band.exchange:
                left = self.at[band.queues[0].id]
            for source in band.sources:
                self.at[source.id] = left
                left += heights[source.id]
            row = max(below, left) + gap
        #: the first row below everything
        self.end = max(row - gap, self._below)
        self._tell_nets(topology.pools)

    def _topmost(self, pool: PoolNode) -> str:
        return next(name for name in self._order if name in pool.queues)

    def _place(self, queue: QueueNode, pools: Sequence[PoolNode], row: int) -> int:
        """Place a queue, and the pools that begin at it; return the row below the queue."""
        if pools:
            row = max(row, self._below)  # so that the line to the first of them is straight
        if not queue.unread:
            row = self.channel.leave(queue.name, row)
        self.at[queue.id] = row
        for pool in pools:
            names = [name for name in self._order if name in pool.queues]
            self.at[pool.id] = at = self.channel.enter(names, max(row, self._below))
            self._below = at + self._heights[pool.id]
        return row + self._heights[queue.id]

    def _tell_nets(self, pools: Sequence[PoolNode]) -> None:
        for pool in pools:
            for row in range(self.at[pool.id], self.at[pool.id] + len(pool.queues)):
                name = self.channel.entering[row]
                label = str(pool.queues.index(name) + 1) if pool.ranked else ""
                self.channel.nets[name].ports.append(Port(row, label, not pool.active))
