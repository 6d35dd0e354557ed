"""Topology → Graphviz's DOT; the same text can be laid out by any program that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from celeryfleet.render.graph import labels
from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import printable
from celeryfleet.render.graph.topology import EdgeKind, SourceKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import Edge, Topology

#: of what → fill and line
_COLOURS = {
    "source": ("#eef2ff", "#6366f1"),
    "exchange": ("#faf5ff", "#a855f7"),
    "queue": ("#ecfeff", "#0891b2"),
    "pool": ("#f8fafc", "#64748b"),
    Mood.WELL: ("#f0fdf4", "#16a34a"),
    Mood.LATE: ("#fffbeb", "#d97706"),
    Mood.BAD: ("#fef2f2", "#dc2626"),
}
_DASHED = {"style": "filled,rounded,dashed"}
_AMBER, _RED = "#d97706", "#dc2626"


def dot(topology: Topology, live: Live | None = None) -> str:
    """Write the drawing; every node stands on a line of its own, every edge too."""
    return "\n".join(_lines(topology, live)) + "\n"


def _lines(topology: Topology, live: Live | None) -> Iterator[str]:
    yield f"digraph {quote(topology.fleet)} {{"
    yield "  graph [rankdir=LR, ranksep=1.2, nodesep=0.25, labelloc=t]"
    yield f"  graph [label={label([labels.summary(topology, live)])}]"
    yield '  graph [fontname="Helvetica,Arial,sans-serif"]'
    yield '  node [fontname="Helvetica,Arial,sans-serif", fontsize=11]'
    yield '  edge [fontname="Helvetica,Arial,sans-serif", fontsize=10, color="#64748b", arrowsize=0.7]'
    yield from _column("source", "box", "filled,rounded", _sources(topology))
    yield from _column("exchange", "hexagon", "filled", _exchanges(topology))
    yield from _column("queue", "cylinder", "filled", _queues(topology, live))
    yield from _column("pool", "box", "filled,rounded", _pools(topology, live))
    yield from (f"  {_edge(edge)}" for edge in topology.edges)
    yield "}"


def _column(kind: str, shape: str, style: str, nodes: Iterable[str]) -> Iterator[str]:
    lines = list(nodes)
    if lines:
        usual = {"shape": shape, "style": style, **_colours(kind)}
        yield "  {"
        yield "    rank=same"
        yield f"    node [{_attributes(usual)}]"
        yield from (f"    {line}" for line in lines)
        yield "  }"


def _sources(topology: Topology) -> Iterator[str]:
    for source in topology.sources:
        kind = f"{source.kind} " if source.kind in (SourceKind.ROUTER, SourceKind.BEAT) else ""
        text = label(
            [f"{kind}{labels.source(source)}"],
            [*labels.line(source), *labels.source_details(source)],
        )
        style = _DASHED if source.kind is SourceKind.ROUTER else {}
        yield _node(source.id, text, {**style, **_mood(Mood.BAD if source.lost else Mood.PLAIN)})


def _exchanges(topology: Topology) -> Iterator[str]:
    for exchange in topology.exchanges:
        text = label([exchange.name], [labels.exchange_kind(exchange)])
        yield _node(exchange.id, text, {} if exchange.type else {"style": "filled,dashed", **_mood(Mood.LATE)})


def _queues(topology: Topology, live: Live | None) -> Iterator[str]:
    for queue in topology.queues:
        name = f"{queue.name} (default)" if queue.default else queue.name
        text = label([name], labels.queue_details(queue, live))
        yield _node(queue.id, text, _mood(labels.queue_mood(queue, live)))


def _pools(topology: Topology, live: Live | None) -> Iterator[str]:
    for pool in topology.pools:
        text = label([pool.name, labels.pool_size(pool, live)], labels.pool_details(pool, live))
        yield _node(pool.id, text, {**({} if pool.active else _DASHED), **_mood(labels.pool_mood(pool, live))})


def _mood(mood: Mood) -> dict[str, str]:
    return {} if mood is Mood.PLAIN else _colours(mood)


def _colours(name: str) -> dict[str, str]:
    fill, line = _COLOURS[name]
    return {"fillcolor": fill, "color": line}


def _node(name: str, text: str, more: Mapping[str, str]) -> str:
    rest = f", {_attributes(more)}" if more else ""
    return f"{quote(name)} [label={text}{rest}]"


def _attributes(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={quote(value)}" for key, value in pairs.items())


def _edge(edge: Edge) -> str:
    pairs = {}
    dead = edge.kind is EdgeKind.DEAD_LETTERS
    words = f"dead letters {edge.label}".strip() if dead else edge.label
    if words:
        pairs["label"] = label([words])
    if dead or edge.kind is EdgeKind.MAY_SEND or not edge.active:
        pairs["style"] = "dashed"
    if edge.lost or dead:
        pairs["color"] = quote(_RED if edge.lost else _AMBER)
    if dead:
        pairs["constraint"] = "false"
    rest = ", ".join(f"{key}={value}" for key, value in pairs.items())
    return f"{quote(edge.source)} -> {quote(edge.target)}" + (f" [{rest}]" if rest else "")


def label(heads: Iterable[str], details: Iterable[labels.Words] = ()) -> str:
    """Write lines as a label, in which Graphviz looks for HTML entities."""
    lines = [*heads, *(words.text for words in details)]
    return '"' + "\\n".join(quote(line.replace("&", "&amp;"))[1:-1] for line in lines) + '"'


def quote(text: str) -> str:
    """Write a string in which no quote and no backslash means anything."""
    text = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
