"""Topology → an indented list, for terminals that are too narrow for a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from celeryfleet.render.graph.bands import adrift, bands
from celeryfleet.render.graph.canvas import Span, Style
from celeryfleet.render.graph.measure import columns, cut, printable
from celeryfleet.render.graph.topology import EdgeKind
from celeryfleet.routing.table import headers_text

if TYPE_CHECKING:
    from celeryfleet.render.graph.bands import Band
    from celeryfleet.render.graph.topology import PoolNode, Source, Topology
    from celeryfleet.render.graph.wording import Wording

Line = list[Span]


def outline(topology: Topology, wording: Wording, width: int) -> list[Line]:
    """List the queues with what sends to them, and the pools with what they read."""
    return [_cut(line, width) for line in _lines(topology, wording)]


def _lines(topology: Topology, wording: Wording) -> Iterator[Line]:
    parts = bands(topology)
    yield [("QUEUES", Style.FAINT)]
    for band in parts:
        yield from _band(band, topology, wording)
    for source in adrift(topology, parts):
        yield from _source(source, wording, "")
        if not source.lost:
            yield [("    ", Style.PLAIN), (source.note or "any of the queues", Style.FAINT)]
    if topology.pools:
        yield []
        yield [("POOLS", Style.FAINT)]
    for pool in topology.pools:
        yield from _pool(pool, wording)


def _band(band: Band, topology: Topology, wording: Wording) -> Iterator[Line]:
    keys = {edge.source: edge.label for edge in topology.edges_of(EdgeKind.SENDS, EdgeKind.MAY_SEND)}
    if band.exchange:
        yield [
            ("◇ ", Style.FAINT),
            (printable(band.exchange.name), Style.STRONG),
            (f" {band.exchange.type}", Style.FAINT),
        ]
        yield from (line for source in band.sources for line in _source(source, wording, keys[source.id]))
    for queue in band.queues:
        binding = headers_text(queue.headers) if queue.exchange_type == "headers" else queue.routing_key
        key = [(f" ◇ {printable(binding)}", Style.FAINT)] if band.exchange and binding else []
        yield [*wording.queue(queue), *key]
        yield from ([("  ", Style.PLAIN), *line] for line in wording.queue_details(queue))
        if not band.exchange:
            yield from (line for source in band.sources for line in _source(source, wording, ""))


def _source(source: Source, wording: Wording, key: str) -> Iterator[Line]:
    number = f"{source.line} " if source.line else ""
    arrow = [(f" ─ {printable(key)}", Style.FAINT)] if key else []
    yield [("  ← ", Style.FAINT), (number, Style.FAINT), *wording.source(source), *arrow]
    yield from ([("    ", Style.PLAIN), *line] for line in wording.source_details(source))


def _pool(pool: PoolNode, wording: Wording) -> Iterator[Line]:
    yield [*wording.pool(pool), ("  ", Style.PLAIN), wording.pool_size(pool)]
    yield from ([("  ", Style.PLAIN), *line] for line in wording.pool_details(pool))
    for number, queue in enumerate(pool.queues, 1):
        yield [(f"  {number} " if pool.ranked else "  ─ ", Style.FAINT), (printable(queue), Style.PLAIN)]


def _cut(line: Sequence[Span], width: int) -> Line:
    """Cut a line to the terminal."""
    found: Line = []
    for text, style in line:
        shown = cut(text, width)
        if shown:
            found.append((shown, style))
        width -= columns(shown)
    return found
