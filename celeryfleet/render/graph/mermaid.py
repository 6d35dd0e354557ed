"""Topology → a Mermaid flowchart, as GitHub, GitLab and the like draw it in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from celeryfleet.render.graph import labels
from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import printable
from celeryfleet.render.graph.topology import EdgeKind, SourceKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import Edge, Topology

#: characters that mean nothing to Mermaid, Markdown or HTML within quotes
_SAFE = frozenset(" -,/=…·×–→")
_WITHIN_A_WORD = re.compile(r"(?<=[^\W_])_(?=[^\W_])")
_ARROWS = {
    EdgeKind.SENDS: "-->",
    EdgeKind.MAY_SEND: "-.->",
    EdgeKind.BINDS: "-->",
    EdgeKind.READS: "-->",
    EdgeKind.DEAD_LETTERS: "-.->",
}
_CLASSES = (
    "classDef source fill:#eef2ff,stroke:#6366f1,color:#1e1b4b",
    "classDef exchange fill:#faf5ff,stroke:#a855f7,color:#3b0764",
    "classDef queue fill:#ecfeff,stroke:#0891b2,color:#083344",
    "classDef pool fill:#f8fafc,stroke:#64748b,color:#0f172a",
    "classDef well fill:#f0fdf4,stroke:#16a34a,color:#052e16",
    "classDef late fill:#fffbeb,stroke:#d97706,color:#451a03,stroke-width:2px",
    "classDef bad fill:#fef2f2,stroke:#dc2626,color:#450a0a,stroke-width:2px",
    "classDef idle stroke-dasharray:5 4",
)
_AMBER, _RED = "#d97706", "#dc2626"
_KINDS = {SourceKind.ROUTE: "", SourceKind.ROUTER: "router", SourceKind.DEFAULT: "", SourceKind.BEAT: "beat"}


def mermaid(topology: Topology, live: Live | None = None) -> str:
    """Write the drawing; every node stands on a line of its own, every edge too."""
    return "\n".join(_lines(topology, live)) + "\n"


def _lines(topology: Topology, live: Live | None) -> Iterator[str]:
    ids = _ids(topology)
    yield "---"
    yield f'title: "{labels.summary(topology, live)}"'
    yield "---"
    yield "flowchart LR"
    for source in topology.sources:
        kind = f"{_KINDS[source.kind]} " if _KINDS[source.kind] else ""
        text = _label([f"{kind}{labels.source(source)}"], [*labels.line(source), *labels.source_details(source)])
        yield f"  {ids[source.id]}[{text}]:::{'bad' if source.lost else 'source'}"
    for exchange in topology.exchanges:
        text = _label([exchange.name], [labels.exchange_kind(exchange)])
        yield f"  {ids[exchange.id]}{{{{{text}}}}}:::{'exchange' if exchange.type else 'late'}"
    for queue in topology.queues:
        name = f"{queue.name} (default)" if queue.default else queue.name
        text = _label([name], labels.queue_details(queue, live))
        yield f"  {ids[queue.id]}[({text})]:::{_class(labels.queue_mood(queue, live), 'queue')}"
    for pool in topology.pools:
        text = _label([pool.name, labels.pool_size(pool, live)], labels.pool_details(pool, live))
        name = ids[pool.id]
        yield f"  {name}([{text}]):::{_class(labels.pool_mood(pool, live), 'pool')}"
        if not pool.active:
            yield f"  class {name} idle"
    for edge in topology.edges:
        yield f"  {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}"
    for number, edge in enumerate(topology.edges):
        if edge.lost or edge.kind is EdgeKind.DEAD_LETTERS:
            yield f"  linkStyle {number} stroke:{_RED if edge.lost else _AMBER}"
    yield from (f"  {line}" for line in _CLASSES)


def _ids(topology: Topology) -> dict[str, str]:
    """Name the nodes so that Mermaid takes no part of a name for its own words."""
    groups = {
        "s": [node.id for node in topology.sources],
        "x": [node.id for node in topology.exchanges],
        "q": [node.id for node in topology.queues],
        "p": [node.id for node in topology.pools],
    }
    return {name: f"{letter}{number}" for letter, names in groups.items() for number, name in enumerate(names, 1)}


def _class(mood: Mood, usual: str) -> str:
    return usual if mood is Mood.PLAIN else mood.value


def _arrow(edge: Edge) -> str:
    arrow = "-.->" if not edge.active else _ARROWS[edge.kind]
    words = f"dead letters {edge.label}".strip() if edge.kind is EdgeKind.DEAD_LETTERS else edge.label
    return f'{arrow}|"{escape(words)}"|' if words else arrow


def _label(heads: Iterable[str], details: Iterable[labels.Words]) -> str:
    lines = [*heads, *(words.text for words in details)]
    return f'"{"<br/>".join(escape(line) for line in lines)}"'


def escape(text: str) -> str:
    """Write as Mermaid's entity codes all that is not plainly a letter, a digit or harmless.

    A dot behind a number may begin a list in Markdown, and an underscore before or behind a word emphasis.
    """
    text = printable(text)
    dots = "" if text[:1].isdigit() else "."
    inner = {match.start() for match in _WITHIN_A_WORD.finditer(text)}
    return "".join(
        c if c.isalnum() or c in _SAFE or c in dots or at in inner else f"#{ord(c)};" for at, c in enumerate(text)
    )
