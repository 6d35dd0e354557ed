"""Topology → a Mermaid flowchart, as GitHub, GitLab and the like draw it in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from celeryfleet.render.graph.labels import boxes, summary
from celeryfleet.render.graph.topology import EdgeKind, Mood
from celeryfleet.text import visible

if TYPE_CHECKING:
    from celeryfleet.render.graph.topology import Edge, Topology

#: characters that mean nothing to Mermaid, Markdown or HTML within quotes
_SAFE = frozenset(" -,/=…·×–→")
_WITHIN_A_WORD = re.compile(r"(?<=[^\W_])_(?=[^\W_])")
#: of what → the letter of its ids, and what opens and closes its shape
_SHAPES = {
    "source": ("s", "[", "]"),
    "exchange": ("x", "{{", "}}"),
    "queue": ("q", "[(", ")]"),
    "pool": ("p", "([", "])"),
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


def mermaid(topology: Topology) -> str:
    """Write the drawing; every node stands on a line of its own, every edge too."""
    return "\n".join(_lines(topology)) + "\n"


def _lines(topology: Topology) -> Iterator[str]:
    yield from ("---", f'title: "{summary(topology)}"', "---", "flowchart LR")
    # Mermaid takes a part of many a name for its own words: the nodes are numbered.
    ids: dict[str, str] = {}
    numbers = dict.fromkeys(_SHAPES, 0)
    for box in boxes(topology):
        letter, start, end = _SHAPES[box.kind]
        numbers[box.kind] += 1
        ids[box.id] = name = f"{letter}{numbers[box.kind]}"
        text = "<br/>".join(escape(line) for line in box.lines)
        yield f'  {name}{start}"{text}"{end}:::{box.kind if box.mood is Mood.PLAIN else box.mood}'
        if box.kind == "pool" and box.dashed:
            yield f"  class {name} idle"
    for edge in topology.edges:
        yield f"  {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}"
    for number, edge in enumerate(topology.edges):
        if edge.lost or edge.kind is EdgeKind.DEAD_LETTERS:
            yield f"  linkStyle {number} stroke:{_RED if edge.lost else _AMBER}"
    yield from (f"  {line}" for line in _CLASSES)


def _arrow(edge: Edge) -> str:
    dotted = edge.kind in (EdgeKind.MAY_SEND, EdgeKind.DEAD_LETTERS) or not edge.active
    arrow = "-.->" if dotted else "-->"
    words = f"dead letters {edge.label}".strip() if edge.kind is EdgeKind.DEAD_LETTERS else edge.label
    return f'{arrow}|"{escape(words)}"|' if words else arrow


def escape(text: str) -> str:
    """Write as Mermaid's entity codes all that is not plainly a letter, a digit or harmless.

    A dot behind a number may begin a list in Markdown, and an underscore before or behind a word emphasis.
    """
    text = visible(text)
    dots = "" if text[:1].isdigit() else "."
    inner = {match.start() for match in _WITHIN_A_WORD.finditer(text)}
    return "".join(
        c if c.isalnum() or c in _SAFE or c in dots or at in inner else f"#{ord(c)};" for at, c in enumerate(text)
    )
