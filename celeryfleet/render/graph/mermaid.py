"""Topology → a Mermaid flowchart, as GitHub, GitLab and the like draw it in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from celeryfleet.render.graph.labels import COLOURS, arrow, boxes, summary
from celeryfleet.render.graph.topology import Mood
from celeryfleet.text import visible

if TYPE_CHECKING:
    from celeryfleet.render.graph.topology import Topology

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
    arrows = [arrow(edge) for edge in topology.edges]
    for edge, (words, dashed, _) in zip(topology.edges, arrows, strict=True):
        drawn = "-.->" if dashed else "-->"
        label = f'|"{escape(words)}"|' if words else ""
        yield f"  {ids[edge.source]} {drawn}{label} {ids[edge.target]}"
    yield from (f"  linkStyle {number} stroke:{colour}" for number, (_, _, colour) in enumerate(arrows) if colour)
    for name, (fill, line, text) in COLOURS.items():
        wide = ",stroke-width:2px" if name in (Mood.LATE, Mood.BAD) else ""
        yield f"  classDef {name} fill:{fill},stroke:{line},color:{text}{wide}"
    yield "  classDef idle stroke-dasharray:5 4"


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
