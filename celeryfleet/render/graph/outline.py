"""Topology → an indented list, for terminals that are too narrow for a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from celeryfleet.render.graph.bands import bands
from celeryfleet.render.graph.topology import EdgeKind
from celeryfleet.render.paint import BOLD, DIM
from celeryfleet.text import columns, cut, visible

if TYPE_CHECKING:
    from celeryfleet.render.graph.bands import Band
    from celeryfleet.render.graph.topology import PoolNode, Source, Topology
    from celeryfleet.render.graph.wording import Wording
    from celeryfleet.render.paint import Span


def outline(topology: Topology, wording: Wording, width: int) -> list[list[Span]]:
    """List the queues with what sends to them, and the pools with what they read."""
    return [_cut(line, width) for line in _lines(topology, wording)]


def _lines(topology: Topology, wording: Wording) -> Iterator[list[Span]]:
    parts, beside = bands(topology)
    yield [("QUEUES", DIM)]
    for band in parts:
        yield from _band(band, topology, wording)
    for source in beside:
        yield from _source(source, wording, "")
        if not source.lost:
            yield [("    ", ""), (source.note or "any of the queues", DIM)]
    if topology.pools:
        yield []
        yield [("POOLS", DIM)]
    for pool in topology.pools:
        yield from _pool(pool, wording)


def _band(band: Band, topology: Topology, wording: Wording) -> Iterator[list[Span]]:
    keys = {edge.source: edge.label for edge in topology.edges_of(EdgeKind.SENDS, EdgeKind.MAY_SEND)}
    bindings = {edge.target: edge.label for edge in topology.edges_of(EdgeKind.BINDS)}
    if band.exchange:
        yield [("◇ ", DIM), (visible(band.exchange.name), BOLD), (f" {band.exchange.type}", DIM)]
        yield from (line for source in band.sources for line in _source(source, wording, keys[source.id]))
    for queue in band.queues:
        key = [(f" ◇ {visible(bindings[queue.id])}", DIM)] if bindings.get(queue.id) else []
        yield [*wording.queue(queue), *key]
        yield from ([("  ", ""), *line] for line in wording.queue_details(queue))
        if not band.exchange:
            yield from (line for source in band.sources for line in _source(source, wording, ""))


def _source(source: Source, wording: Wording, key: str) -> Iterator[list[Span]]:
    number = f"{source.line} " if source.line else ""
    arrow = [(f" ─ {visible(key)}", DIM)] if key else []
    yield [("  ← ", DIM), (number, DIM), *wording.source(source), *arrow]
    yield from ([("    ", ""), *line] for line in wording.source_details(source))


def _pool(pool: PoolNode, wording: Wording) -> Iterator[list[Span]]:
    yield [*wording.pool(pool), ("  ", ""), wording.pool_size(pool)]
    yield from ([("  ", ""), *line] for line in wording.pool_details(pool))
    for number, queue in enumerate(pool.queues, 1):
        yield [(f"  {number} " if pool.ranked else "  ─ ", DIM), (visible(queue), "")]


def _cut(line: Sequence[Span], width: int) -> list[Span]:
    """Cut a line to the terminal."""
    found: list[Span] = []
    for text, style in line:
        shown = cut(text, width)
        if shown:
            found.append((shown, style))
        width -= columns(shown)
    return found
