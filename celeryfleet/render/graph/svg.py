"""Topology → an SVG that stands alone: no script, no font, no picture from elsewhere; light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from celeryfleet.render.graph import labels
from celeryfleet.render.graph.cards import BETWEEN, HEAD, LINE, PAD, TAG, cards
from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import printable, sans
from celeryfleet.render.graph.places import Box, Path, Places, places
from celeryfleet.render.graph.style import css
from celeryfleet.render.graph.topology import EdgeKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import Topology

#: pixels around the drawing, and above and below it
_MARGIN, _TOP, _FOOT = 28.0, 92.0, 46.0
_LEAST_WIDTH = 420.0
_TONES = {Mood.PLAIN: "faint", Mood.WELL: "well-text", Mood.LATE: "late-text", Mood.BAD: "bad-text"}


def svg(topology: Topology, live: Live | None = None) -> str:
    """Write the drawing."""
    return "\n".join(_elements(topology, live)) + "\n"


def _elements(topology: Topology, live: Live | None) -> Iterator[str]:
    drawn = places(topology, cards(topology, live))
    head = labels.summary(topology, live)
    foot = " ".join(_legend(topology))
    least = max(_LEAST_WIDTH, sans(head, 17), sans(foot, 11))
    width, height = max(drawn.width, least) + 2 * _MARGIN, drawn.height + _TOP + _FOOT
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="title desc">'
    )
    yield f'<title id="title">{escape(f"Topology of the fleet {topology.fleet}")}</title>'
    yield f'<desc id="desc">{escape(_description(topology, live))}</desc>'
    yield f"<style>{css()}</style>"
    yield "<defs>"
    yield from (_marker(name) for name in ("arrow", "arrow-late", "arrow-bad"))
    yield "</defs>"
    yield f'<rect class="paper" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10"/>'
    yield from _header(topology, live, drawn)
    yield f'<g transform="translate({_MARGIN:g} {_TOP:g})">'
    yield from (_line(path) for path in drawn.paths)
    yield from (element for box in drawn.boxes for element in _box(box))
    yield from (element for path in drawn.paths for element in _written(path))
    yield "</g>"
    if foot:
        yield f'<text class="faint" x="{_MARGIN:g}" y="{height - 18:.0f}">{escape(foot)}</text>'
    yield "</svg>"


def _legend(topology: Topology) -> Iterator[str]:
    """Explain what the drawing has."""
    if topology.pools:
        yield "2 × 4: workers × tasks at once in each."
    if any(pool.ranked for pool in topology.pools):
        yield "Circled: the order in which a pool reads its queues."
    if topology.edges_of(EdgeKind.MAY_SEND):
        yield "Dotted: a router decides."
    if topology.edges_of(EdgeKind.DEAD_LETTERS):
        yield "Dashed in amber: dead letters."


def _description(topology: Topology, live: Live | None) -> str:
    """Say in words what the lines show, for those who do not see them."""
    parts = [f"{labels.summary(topology, live)}."]
    for pool in topology.pools:
        parts.append(f"The pool {pool.name} reads {', '.join(pool.queues)}.")
    return printable(" ".join(parts))


def _marker(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 L2,4 z"/></marker>'
    )


def _header(topology: Topology, live: Live | None, drawn: Places) -> Iterator[str]:
    rest = labels.summary(topology, live).partition(": ")[2]
    yield f'<text class="title head" x="{_MARGIN:g}" y="38">{escape(topology.fleet)}</text>'
    x = _MARGIN + sans(topology.fleet, 17) * 1.06 + 12
    if live:
        mood = {"ready": "well", "down": "bad"}.get(live.state, "late")
        yield f'<circle class="{mood}-bar" cx="{x + 4:.1f}" cy="33" r="4"/>'
        yield f'<text class="{mood}-text" x="{x + 14:.1f}" y="37">{escape(live.state)}</text>'
        x += 14 + sans(live.state, 11) + 14
    yield f'<text class="faint" x="{x:.1f}" y="37">{escape(rest)}</text>'
    for title, left in drawn.columns:
        yield f'<text class="faint column" x="{left + _MARGIN:.1f}" y="{_TOP - 16:g}">{title}</text>'


def _line(path: Path) -> str:
    edge = path.edge
    dead = edge.kind is EdgeKind.DEAD_LETTERS
    tone = "-bad" if edge.lost else "-late" if dead else ""
    dash = " may" if edge.kind is EdgeKind.MAY_SEND else " dashed" if dead or not edge.active else ""
    tip = printable(f"{edge.source} → {edge.target}" + (f" ({edge.label})" if edge.label else ""))
    return (
        f'<path class="line{tone}{dash}" d="{path.d}" marker-end="url(#arrow{tone})">'
        f"<title>{escape(tip)}</title></path>"
    )


def _written(path: Path) -> Iterator[str]:
    """Write what stands on a line, above all lines."""
    x, y = path.at
    if path.badge:
        half = max(8.0, sans(path.badge, 10) / 2 + 5)
        yield (
            f'<rect class="badge" x="{x - half:.1f}" y="{y - 8:.1f}" width="{2 * half:.1f}" height="16" rx="8"/>'
            f'<text class="badge-text" x="{x:.1f}" y="{y + 3.6:.1f}">{escape(path.badge)}</text>'
        )
    elif path.label:
        ends = " end" if path.ends else ""
        yield f'<text class="label mono{ends}" x="{x:.1f}" y="{y:.1f}">{escape(path.label)}</text>'


def _box(box: Box) -> Iterator[str]:
    card = box.card
    frame = f"card {card.mood.value}" if card.mood in (Mood.LATE, Mood.BAD) else "card"
    bar = card.kind if card.mood is Mood.PLAIN else card.mood.value
    dashed = " dashed" if card.dashed else ""
    x, y, right = box.x, box.y, box.right
    yield f'<g class="{card.kind}"><title>{escape(card.tooltip)}</title>'
    yield (
        f'<rect class="{frame}{dashed}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{card.width:.1f}" height="{card.height:.1f}" rx="7"/>'
    )
    yield f'<rect class="{bar}-bar" x="{x:.1f}" y="{y + 7:.1f}" width="3" height="{card.height - 14:.1f}" rx="1.5"/>'
    content = HEAD + LINE * len(card.lines)
    base = y + (card.height - content) / 2 + 13
    font = "mono" if card.monospaced else "rest" if card.kind == "source" else "name"
    yield f'<text class="title {font}" x="{x + PAD:.1f}" y="{base:.1f}">{escape(card.title)}</text>'
    if card.tag and card.kind == "queue":
        size = sans(card.tag, TAG) + 12
        left = right - 10 - size
        yield f'<rect class="pill" x="{left:.1f}" y="{base - 11:.1f}" width="{size:.1f}" height="15" rx="7.5"/>'
        yield f'<text class="pill-text" x="{right - 10 - size / 2:.1f}" y="{base:.1f}">{escape(card.tag)}</text>'
    elif card.tag:
        yield f'<text class="faint tag end" x="{right - PAD:.1f}" y="{base:.1f}">{escape(card.tag)}</text>'
    for number, line in enumerate(card.lines, 1):
        yield f'<text x="{x + PAD:.1f}" y="{base + LINE * number + 1:.1f}">{_spans(line)}</text>'
    yield "</g>"


def _spans(line: tuple[labels.Words, ...]) -> str:
    between = f'<tspan class="faint">{BETWEEN}</tspan>'
    return between.join(f'<tspan class="{_TONES[words.mood]}">{escape(words.text)}</tspan>' for words in line)
