"""Where the boxes and lines of the drawn topology lie: columns from left to right, lines that cross little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeryfleet.render.graph.cards import PORT, Card, shortened
from celeryfleet.render.graph.layout import arrange, centres
from celeryfleet.render.graph.measure import mono, printable
from celeryfleet.render.graph.topology import EdgeKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.topology import Edge, Topology

#: pixels
_BETWEEN = 16.0
_GAP = 84.0
_LONGEST_KEY = 190.0
KEY = 10.5
#: of the space that a line takes where it passes the exchanges
_LANE = 8.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A card, and its upper left corner."""

    card: Card
    x: float
    y: float

    @property
    def right(self) -> float:
        """Return its right side."""
        return self.x + self.card.width

    @property
    def middle(self) -> float:
        """Return half its height, from the top of the drawing."""
        return self.y + self.card.height / 2


@dataclass(frozen=True, slots=True)
class Path:
    """A line, and what is written on it."""

    edge: Edge
    d: str
    label: str = ""
    at: Point = (0.0, 0.0)
    #: the label ends there rather than begins
    ends: bool = False
    #: a place in a pool's order, to be shown as a badge
    badge: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """The whole drawing; everything is counted from the upper left corner of the first card's column."""

    boxes: tuple[Box, ...]
    paths: tuple[Path, ...]
    #: titles of the columns, and where they begin
    columns: tuple[tuple[str, float], ...]
    width: float
    height: float


def places(topology: Topology, cards: Mapping[str, Card]) -> Places:
    """Lay a topology out."""
    layers, lines = _layers(topology)
    order = arrange(layers, lines)
    heights = {name: cards[name].height if name in cards else _LANE for layer in order for name in layer}
    middles = centres(order, lines, heights, _BETWEEN)
    columns = _columns(topology, cards)
    lefts = {name: x for (_, x, names) in columns for name in names}
    boxes = {
        name: Box(cards[name], lefts[name], middles[name] - heights[name] / 2)
        for layer in order
        for name in layer
        if name in cards
    }
    passage = next(((x, x + _widest(names, cards)) for title, x, names in columns if title == "EXCHANGES"), (0.0, 0.0))
    drawer = _Drawer(topology, boxes, middles, passage)
    right = max((box.right for box in boxes.values()), default=0.0)
    height = max((box.y + box.card.height for box in boxes.values()), default=0.0)
    return Places(
        tuple(boxes.values()),
        tuple(path for edge in topology.edges for path in drawer.path(edge)),
        tuple((title, x) for title, x, _ in columns),
        right,
        height,
    )


def _lane(queue: str) -> str:
    """Name the place where lines straight to a queue pass the exchanges."""
    return f"lane {queue}"


def _layers(topology: Topology) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Return the nodes by column, and the lines between neighbouring columns."""
    exchanges = [node.id for node in topology.exchanges]
    lines = [(edge.source, edge.target) for edge in topology.edges if edge.kind is not EdgeKind.DEAD_LETTERS]
    if exchanges:
        direct = [line for line in lines if line[0].startswith(_SOURCES) and line[1].startswith("queue:")]
        lanes = list(dict.fromkeys(target for _, target in direct))
        lines = [line for line in lines if line not in direct]
        lines += [(source, _lane(target)) for source, target in direct]
        lines += [(_lane(target), target) for target in lanes]
        exchanges += [_lane(target) for target in lanes]
    layers = [
        [node.id for node in topology.sources],
        exchanges,
        [node.id for node in topology.queues],
        [node.id for node in topology.pools],
    ]
    return [layer for layer in layers if layer], lines


_SOURCES = ("route:", "default", "beat:")


def _widest(names: Sequence[str], cards: Mapping[str, Card]) -> float:
    return max((cards[name].width for name in names), default=0.0)


def _columns(topology: Topology, cards: Mapping[str, Card]) -> list[tuple[str, float, list[str]]]:
    """Return the title, the left side and the nodes of each column."""
    keys = {
        "EXCHANGES": _longest(topology, EdgeKind.SENDS),
        "QUEUES": max(_longest(topology, EdgeKind.BINDS), _longest(topology, EdgeKind.MAY_SEND)),
        "POOLS": 20.0,
    }
    groups = (
        ("ROUTES", topology.sources),
        ("EXCHANGES", topology.exchanges),
        ("QUEUES", topology.queues),
        ("POOLS", topology.pools),
    )
    found: list[tuple[str, float, list[str]]] = []
    x = 0.0
    for title, nodes in groups:
        names = [node.id for node in nodes]
        if names:
            x += (_GAP + keys.get(title, 0.0)) if found else 0.0
            found.append((title, x, names))
            x += _widest(names, cards)
    return found


def _longest(topology: Topology, kind: EdgeKind) -> float:
    return max((mono(_key(edge), KEY) for edge in topology.edges_of(kind) if edge.label), default=0.0)


def _key(edge: Edge) -> str:
    return shortened(printable(edge.label), _LONGEST_KEY, lambda text: mono(text, KEY))


class _Drawer:
    """Draws lines between boxes that have their places."""

    def __init__(
        self,
        topology: Topology,
        boxes: Mapping[str, Box],
        middles: Mapping[str, float],
        passage: tuple[float, float],
    ) -> None:
        self._boxes = boxes
        self._middles = middles
        #: left and right side of the column of exchanges
        self._passage = passage
        reads: dict[str, list[Edge]] = {}
        for edge in topology.edges_of(EdgeKind.READS):
            reads.setdefault(edge.target, []).append(edge)
        #: how long the straight end of the lines into a queue is
        self._leads: dict[str, float] = {}
        for edge in topology.edges_of(EdgeKind.BINDS, EdgeKind.MAY_SEND):
            if edge.label and edge.target in boxes:
                lead = mono(_key(edge), KEY) + 20
                self._leads[edge.target] = max(lead, self._leads.get(edge.target, 0.0))
        self._ports: dict[tuple[str, str], float] = {}
        for pool, edges in reads.items():
            edges.sort(key=lambda edge: boxes[edge.source].middle)
            first = boxes[pool].middle - PORT * (len(edges) - 1) / 2
            self._ports |= {(edge.source, pool): first + PORT * at for at, edge in enumerate(edges)}

    def path(self, edge: Edge) -> list[Path]:
        """Draw one edge, in as many parts as it has."""
        start, end = self._boxes[edge.source], self._boxes[edge.target]
        match edge.kind:
            case EdgeKind.DEAD_LETTERS:
                return [Path(edge, self._back(start, end))]
            case EdgeKind.READS:
                y = self._ports[edge.source, edge.target]
                d = _curve((start.right, start.middle), (end.x, y))
                return [Path(edge, d, at=(end.x - 22, y), badge=edge.label)]
            case EdgeKind.BINDS:
                d = self._into((start.right, start.middle), end)
                return [Path(edge, d, _key(edge), (end.x - 12, end.middle - 5), ends=True)]
            case _ if edge.target.startswith("exchange:"):
                # It goes straight below its key, and bends behind it.
                out = start.right + (mono(_key(edge), KEY) + 12 if edge.label else 0)
                d = f"M{_n(start.right)},{_n(start.middle)} L{_n(out)},{_n(start.middle)} "
                d += _bend((out, start.middle), (end.x, end.middle))
                return [Path(edge, d, _key(edge), (start.right + 8, start.middle - 5))]
            case _:
                at = (end.x - 12, end.middle + 13)
                return [Path(edge, self._direct(start, end), _key(edge), at, ends=True)]

    def _direct(self, start: Box, end: Box) -> str:
        lane = self._middles.get(_lane(end.card.id))
        if lane is None:
            return self._into((start.right, start.middle), end)
        left, right = self._passage
        first = _curve((start.right, start.middle), (left, lane))
        return f"{first} L{_n(right)},{_n(lane)} {self._into((right, lane), end).partition(' ')[2]}"

    def _into(self, start: Point, end: Box) -> str:
        """Lead into a queue: straight where keys stand on the line."""
        near = (end.x - self._leads.get(end.card.id, 0.0), end.middle)
        return f"{_curve(start, near)} L{_n(end.x)},{_n(end.middle)}" if near[0] < end.x else _curve(start, near)

    def _back(self, start: Box, end: Box) -> str:
        """Lead from a queue back to an exchange, or round to another queue."""
        down = 1 if end.middle > start.middle else -1
        near = start.middle + down * (start.card.height / 2 - 6)
        far = end.middle - down * min(12.0, end.card.height / 2 - 6)
        if end.x < start.x:
            return _curve((start.x, near), (end.right, far))
        out = start.right + min(64.0, 26.0 + abs(far - near) * 0.12)
        return f"M{_n(start.right)},{_n(near)} C{_n(out)},{_n(near)} {_n(out)},{_n(far)} {_n(end.right)},{_n(far)}"


def _curve(start: Point, end: Point) -> str:
    return f"M{_n(start[0])},{_n(start[1])} {_bend(start, end)}"


def _bend(start: Point, end: Point) -> str:
    """Leave and enter on the level, with a turn in the middle."""
    half = (end[0] - start[0]) * 0.5
    return f"C{_n(start[0] + half)},{_n(start[1])} {_n(end[0] - half)},{_n(end[1])} {_n(end[0])},{_n(end[1])}"


def _n(number: float) -> str:
    """Write a coordinate: a tenth of a pixel is more than enough."""
    return f"{round(number, 1):g}" if abs(number) < 100_000 else f"{number:.1f}"
