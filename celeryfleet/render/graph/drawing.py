"""Topology → a drawing for a terminal: sources on the left, exchanges and queues in the middle, pools on the right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from celeryfleet.render.graph.bands import Rows, bands
from celeryfleet.render.graph.canvas import Canvas, in_ascii
from celeryfleet.render.graph.labels import summary
from celeryfleet.render.graph.outline import outline
from celeryfleet.render.graph.topology import EdgeKind, SourceKind
from celeryfleet.render.graph.wording import CUTS, Wording
from celeryfleet.render.paint import BLUE, BOLD, CYAN, DIM, MAGENTA, RED, paint, screen
from celeryfleet.text import columns, cut, say, wrap

if TYPE_CHECKING:
    from celeryfleet.render.graph.channel import Net
    from celeryfleet.render.graph.topology import Edge, ExchangeNode, PoolNode, QueueNode, Source, Topology
    from celeryfleet.render.paint import Span

#: columns from one track to the next
_TRACK = 2
#: lines that run beside others are told apart by colour
_LINES = (CYAN, MAGENTA, BLUE)
#: what an encoding must have for lines to be drawn with
_SIGNS = "─│▶★×"
#: of the legend, where the terminal sets no bound
_WIDE = 100


def draw(topology: Topology, width: int = 0, ascii_only: bool = False) -> list[list[Span]]:
    """Draw within so many columns, 0 for as many as it takes; each line is a list of spans."""
    head = summary(topology)
    lines: list[list[Span]] = [[(cut(head, width) if width else head, BOLD)], []]
    sheet = _fitted(topology, width)
    if width and sheet.width > width:
        lines += outline(topology, Wording({"detail": max(10, width - 2)}), width)
    else:
        lines += [*sheet.rows(), [], *([(line, DIM)] for line in wrap(_legend(topology), width or _WIDE, "   "))]
    if not ascii_only:
        return lines
    return [[(in_ascii(text), style) for text, style in line] for line in lines]


def as_text(lines: Iterable[Sequence[Span]], color: bool = False) -> str:
    """Return the drawing as text."""
    return "".join("".join(paint(*span, color) for span in line) + "\n" for line in lines)


def show(topology: Topology, stream: TextIO) -> None:
    """Print the drawing: within a terminal's width, in its colours, and with lines where its encoding has them."""
    color, width = screen(stream)
    try:
        _SIGNS.encode(stream.encoding or "ascii")
        ascii_only = False
    except (UnicodeEncodeError, LookupError):
        ascii_only = True
    say(as_text(draw(topology, width, ascii_only), color), stream, end="")


def _fitted(topology: Topology, width: int) -> Canvas:
    """Draw ever tighter until it fits: first pools on two lines, then patterns shortened, then names."""
    sheet = _Sheet(topology, Wording())
    if not width or sheet.canvas.width <= width:
        return sheet.canvas
    limits: dict[str, int] = {}
    sheet = _Sheet(topology, Wording(limits, stacked=True))
    for part, least in CUTS:
        over = sheet.canvas.width - width
        taken = sheet.wording.widest[part]
        if over > 0 and taken > least:
            limits[part] = max(least, taken - over)
            sheet = _Sheet(topology, Wording(limits, stacked=True))
    return sheet.canvas


def _legend(topology: Topology) -> Iterator[str]:
    """Explain the signs that the drawing has."""
    for line in [source.line for source in topology.sources if source.line][:1]:
        yield f"{line}: line of fleet.yaml, the first match wins"
    for priority in [source.priority for source in topology.sources if source.priority is not None][:1]:
        yield f"p{priority}: priority, 9 runs first"
    if topology.exchanges:
        yield "◇ exchange"
    yield "★ default queue"
    if any(pool.ranked for pool in topology.pools):
        yield "1▶ 2▶ order in which a pool reads"
    if topology.pools:
        yield "2 × 4: workers × tasks at once in each"


class _Sheet:
    """One attempt at the drawing."""

    def __init__(self, topology: Topology, wording: Wording) -> None:
        self.canvas = Canvas()
        self.wording = wording
        self._topology = topology
        self._bands, self._beside = bands(topology)
        heights = self._heights()
        airy = any(height > 1 for name, height in heights.items() if not name.startswith("pool:"))
        self._rows = Rows(topology, self._bands, heights, 1 if airy else 0)
        self._sends = {edge.source: edge for edge in topology.edges_of(EdgeKind.SENDS, EdgeKind.MAY_SEND)}
        self._keys = {edge.target: edge.label for edge in topology.edges_of(EdgeKind.BINDS)}
        self._left()
        self._middle()
        self._right()
        self._apart()

    def _heights(self) -> dict[str, int]:
        """Count the rows that each node takes."""
        found = {node.id: 1 + len(self.wording.source_details(node)) for node in self._topology.sources}
        found |= {node.id: 1 for node in self._topology.exchanges}
        found |= {node.id: 1 + len(self.wording.queue_details(node)) for node in self._topology.queues}
        for pool in self._topology.pools:
            found[pool.id] = max(len(pool.queues), 1 + len(self.wording.pool_details(pool)))
        return found

    # --- Sources --------------------------------------------------------------------------------------

    def _left(self) -> None:
        """Write the sources; the lines of a band meet in one column, and go on to what they lead to."""
        drawn = [source for band in self._bands for source in band.sources]
        numbers = max((len(str(source.line)) for source in self._topology.sources if source.line), default=0)
        self._margin = numbers + 1 if numbers else 0
        self.canvas.write(self._margin, 0, "ROUTES", DIM)
        ends = {source.id: self._source(source, self._rows.at[source.id]) for source in drawn}
        keys = {source.id: self.wording.fit("key", self._sends[source.id].label) for source in drawn}
        needed = {name: ends[name] + (columns(key) + 4 if key else 0) for name, key in keys.items()}
        self._joint = max([self.canvas.width, *needed.values()]) + 2
        for source in drawn:  # an arrow gives way to what was cut beside it
            spare = self._joint - 2 - needed[source.id]
            end = self._source(source, self._rows.at[source.id], spare)
            left = spare - (end - ends[source.id])
            self._send(self._sends[source.id], end + 1, self.wording.fit("key", self._sends[source.id].label, left))
        for band in self._bands:
            if band.sources:
                self._gather([self._rows.at[source.id] for source in band.sources])

    def _source(self, source: Source, row: int, spare: int = 0) -> int:
        """Write a source; return the column after it."""
        if source.line:
            number = str(source.line)
            self.canvas.spans(self._margin - 1 - len(number), row, [(number, DIM)])
        for at, line in enumerate(self.wording.source_details(source), 1):
            self.canvas.spans(self._margin + 2, row + at, line)
        return self.canvas.spans(self._margin, row, self.wording.source(source, spare))

    def _send(self, edge: Edge, start: int, key: str) -> None:
        row = self._rows.at[edge.source]
        style = RED if edge.lost else DIM
        self.canvas.across(row, start, self._joint, "left", style, edge.kind is EdgeKind.MAY_SEND)
        if key:
            self.canvas.write(self._joint - columns(key) - 3, row, f" {key} ", style)

    def _gather(self, rows: Sequence[int]) -> None:
        self.canvas.along(self._joint, rows[0], rows[-1], "left")
        self.canvas.across(rows[0], self._joint, self._joint + 1, "left")
        self.canvas.write(self._joint + 2, rows[0], "▶", DIM)

    # --- Exchanges and queues -------------------------------------------------------------------------

    def _middle(self) -> None:
        self._names = self._joint + 4
        self.canvas.write(self._names, 0, "EXCHANGES, QUEUES" if self._topology.exchanges else "QUEUES", DIM)
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        for band in self._bands:
            if band.exchange:
                self._exchange(band.exchange, band.queues)
            else:
                self._queue(band.queues[0], self._names, self._names)
        for queue in self._topology.queues:  # again, as long as the column has turned out to be wide
            self._queue_name(queue, self.canvas.width - self._ends[queue.name])

    def _exchange(self, exchange: ExchangeNode, queues: Sequence[QueueNode]) -> None:
        row = self._rows.at[exchange.id]
        name = self.wording.fit("name", exchange.name)
        self.canvas.spans(self._names, row, [("◇ ", DIM), (name, BOLD), (f" {exchange.type}", DIM)])
        keys = [self.wording.fit("key", self._keys[queue.id]) for queue in queues]
        room = max(columns(key) for key in keys)
        end = self._names + (room + 4 if room else 2)
        for queue, key in zip(queues, keys, strict=True):
            at = self._rows.at[queue.id]
            self.canvas.along(self._names, row, at, "bindings")
            self.canvas.across(at, self._names, end, "bindings")
            if key:
                self.canvas.write(self._names + 2, at, f" {key} ", DIM)
            self.canvas.write(end + 1, at, "▶", DIM)
            self._queue(queue, end + 3, self._names + 2)

    def _queue(self, queue: QueueNode, x: int, below: int) -> None:
        row = self._rows.at[queue.id]
        for at, line in enumerate(self.wording.queue_details(queue), 1):
            self.canvas.spans(below, row + at, line)
        self._starts[queue.name] = x
        self._queue_name(queue)

    def _queue_name(self, queue: QueueNode, spare: int = 0) -> None:
        row = self._rows.at[queue.id]
        end = self.canvas.spans(self._starts[queue.name], row, self.wording.queue(queue, spare))
        if queue.unread:
            end = self.canvas.spans(end, row, [(" ─✗", RED)])
        self._ends[queue.name] = end

    # --- Pools ----------------------------------------------------------------------------------------

    def _right(self) -> None:
        tracks = self._rows.channel.settle()
        out = self.canvas.width + 1
        nets = list(self._rows.channel.nets.values())
        labels_wide = max((len(port.label) for net in nets for port in net.ports), default=0)
        arrow = out + tracks * _TRACK + labels_wide + 1
        for number, net in enumerate(net for net in nets if not net.straight):
            self._net(net, out + net.track * _TRACK, arrow, _LINES[number % len(_LINES)])
        for net in nets:
            if net.straight:
                self._net(net, out, arrow, DIM)
        brackets = any(len(pool.queues) > 1 for pool in self._topology.pools)
        names = arrow + (4 if brackets else 2)
        if self._topology.pools:
            self.canvas.write(names, 0, "POOLS", DIM)
        width = max((columns(self.wording.pool(pool)[0][0]) for pool in self._topology.pools), default=0)
        for pool in self._topology.pools:
            self._pool(pool, names, names + width + 2)

    def _net(self, net: Net, track: int, arrow: int, style: str) -> None:
        dashed = all(port.dashed for port in net.ports)
        name = f"net {net.name}"
        self.canvas.across(net.row, self._ends[net.name] + 1, track, name, style, dashed)
        self.canvas.along(track, net.top, net.bottom, name, style, dashed)
        for port in net.ports:
            self.canvas.across(port.row, track, arrow - 1, name, style, port.dashed)
            if port.label:
                self.canvas.write(arrow - len(port.label), port.row, port.label, BOLD)
            self.canvas.write(arrow, port.row, "▶", style)

    def _pool(self, pool: PoolNode, x: int, sizes: int) -> None:
        row = self._rows.at[pool.id]
        details = self.wording.pool_details(pool)
        self.canvas.spans(x, row, self.wording.pool(pool))
        self.canvas.spans(sizes, row, [self.wording.pool_size(pool)])
        for at, line in enumerate(details, 1):
            self.canvas.spans(x, row + at, line)
        height = len(pool.queues)
        if height > 1:
            for at in range(height):
                self.canvas.spans(x - 2, row + at, [("┌" if at == 0 else "└" if at == height - 1 else "│", DIM)])

    # --- What no line leads from ----------------------------------------------------------------------

    def _apart(self) -> None:
        """Write routers, which decide later, and routes that lead nowhere, below all the lines."""
        row = self._rows.end + 1
        for source in self._beside:
            start = self._source(source, row) + 1
            end = max(start + 2, self._joint + 1)
            style = RED if source.lost else DIM
            self.canvas.across(row, start, end, "apart", style, source.kind is SourceKind.ROUTER)
            self.canvas.write(end + 1, row, "✗" if source.lost else "▶", style)
            named = "the queue that the task's name begins with"
            text = named if source.kind is SourceKind.ROUTER else ", ".join(source.queues)
            self.canvas.spans(end + 3, row, [(source.note or text, style)])
            row += 1 + len(self.wording.source_details(source))
