"""Topology → Graphviz's DOT; the same text can be laid out by any program that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from celeryfleet.render.graph.labels import COLOURS, arrow, boxes, summary
from celeryfleet.render.graph.topology import EdgeKind, Mood
from celeryfleet.text import visible

if TYPE_CHECKING:
    from celeryfleet.render.graph.labels import Box
    from celeryfleet.render.graph.topology import Edge, Topology

#: of what → shape and style
_SHAPES = {
    "source": ("box", "filled,rounded"),
    "exchange": ("hexagon", "filled"),
    "queue": ("cylinder", "filled"),
    "pool": ("box", "filled,rounded"),
}


def dot(topology: Topology) -> str:
    """Write the drawing; every node stands on a line of its own, every edge too."""
    return "\n".join(_lines(topology)) + "\n"


def _lines(topology: Topology) -> Iterator[str]:
    yield f"digraph {quote(topology.fleet)} {{"
    yield "  graph [rankdir=LR, ranksep=1.2, nodesep=0.25, labelloc=t]"
    yield f"  graph [label={label([summary(topology)])}]"
    yield '  graph [fontname="Helvetica,Arial,sans-serif"]'
    yield '  node [fontname="Helvetica,Arial,sans-serif", fontsize=11]'
    yield '  edge [fontname="Helvetica,Arial,sans-serif", fontsize=10, color="#64748b", arrowsize=0.7]'
    for kind, group in groupby(boxes(topology), key=lambda box: box.kind):
        shape, style = _SHAPES[kind]
        yield "  {"
        yield "    rank=same"
        yield f"    node [{_attributes({'shape': shape, 'style': style, **_colours(kind)})}]"
        yield from (f"    {_node(box)}" for box in group)
        yield "  }"
    yield from (f"  {_edge(edge)}" for edge in topology.edges)
    yield "}"


def _node(box: Box) -> str:
    more = {"style": f"{_SHAPES[box.kind][1]},dashed"} if box.dashed else {}
    if box.mood is not Mood.PLAIN:
        more |= _colours(box.mood)
    rest = f", {_attributes(more)}" if more else ""
    return f"{quote(box.id)} [label={label(box.lines)}{rest}]"


def _colours(name: str) -> dict[str, str]:
    fill, line, _ = COLOURS[name]
    return {"fillcolor": fill, "color": line}


def _attributes(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={quote(value)}" for key, value in pairs.items())


def _edge(edge: Edge) -> str:
    words, dashed, colour = arrow(edge)
    pairs = {"label": label([words])} if words else {}
    if dashed:
        pairs["style"] = "dashed"
    if colour:
        pairs["color"] = quote(colour)
    if edge.kind is EdgeKind.DEAD_LETTERS:
        pairs["constraint"] = "false"
    rest = ", ".join(f"{key}={value}" for key, value in pairs.items())
    return f"{quote(edge.source)} -> {quote(edge.target)}" + (f" [{rest}]" if rest else "")


def label(lines: Iterable[str]) -> str:
    """Write lines as a label, in which Graphviz looks for HTML entities."""
    return '"' + "\\n".join(quote(line.replace("&", "&amp;"))[1:-1] for line in lines) + '"'


def quote(text: str) -> str:
    """Write a string in which no quote and no backslash means anything."""
    text = visible(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
