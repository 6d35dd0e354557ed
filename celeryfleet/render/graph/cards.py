"""The boxes of the drawn topology: what is written in each, and how large that makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from celeryfleet.render.graph import labels
from celeryfleet.render.graph.labels import Words
from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import columns, middle, mono, printable, sans
from celeryfleet.render.graph.topology import SourceKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import ExchangeNode, PoolNode, QueueNode, Source, Topology

#: pixels
TITLE, DETAIL, TAG = 13.0, 11.0, 10.0
LINE = 15.0
PAD = 14.0
HEAD = 17.0
PORT = 20.0
_WIDEST = 270.0
#: details are put side by side up to it
_WRAP = 170.0
_TAG_GAP = 20.0
#: with spaces that XML does not fold
BETWEEN = "\u00a0\u00a0·\u00a0\u00a0"
_KINDS = {SourceKind.ROUTER: "router", SourceKind.BEAT: "beat", SourceKind.DEFAULT: "", SourceKind.ROUTE: ""}


@dataclass(frozen=True, slots=True)
class Card:
    """One box."""

    id: str
    #: source, exchange, queue or pool: its colour
    kind: str
    title: str
    #: at the right of the title
    tag: str
    lines: tuple[tuple[Words, ...], ...]
    mood: Mood
    #: all of it, for the pointer
    tooltip: str
    #: pixels
    width: float
    height: float
    monospaced: bool = False
    dashed: bool = False


def cards(topology: Topology, live: Live | None) -> dict[str, Card]:
    """Make a box for every node; those of one kind are equally wide."""
    groups = (
        [_source(node) for node in topology.sources],
        [_exchange(node) for node in topology.exchanges],
        [_queue(node, live) for node in topology.queues],
        [_pool(node, live) for node in topology.pools],
    )
    found: dict[str, Card] = {}
    for group in groups:
        width = max((card.width for card in group), default=0.0)
        found |= {card.id: replace(card, width=width) for card in group}
    return found


def _source(node: Source) -> Card:
    details = [words for words in labels.source_details(node) if words.text]
    kind = _KINDS[node.kind]
    tag = " ".join(part for part in (kind, f":{node.line}" if node.line else "") if part)
    mood = Mood.BAD if node.lost else Mood.PLAIN
    place = f" ({node.where})" if node.where else ""
    return _card(
        node.id,
        "source",
        labels.source(node),
        tag,
        details,
        mood,
        place,
        monospaced=node.kind is not SourceKind.DEFAULT,
        dashed=node.kind is SourceKind.ROUTER,
    )


def _exchange(node: ExchangeNode) -> Card:
    mood = Mood.PLAIN if node.type else Mood.LATE
    return _card(node.id, "exchange", node.name, "", [labels.exchange_kind(node)], mood, dashed=not node.type)


def _queue(node: QueueNode, live: Live | None) -> Card:
    details = labels.queue_details(node, live)
    mood = labels.queue_mood(node, live)
    return _card(node.id, "queue", node.name, "default" if node.default else "", details, mood)


def _pool(node: PoolNode, live: Live | None) -> Card:
    details = [Words(labels.pool_size(node, live)), *labels.pool_details(node, live)]
    least = len(node.queues) * PORT + 6
    mood = labels.pool_mood(node, live)
    return _card(node.id, "pool", node.name, "", details, mood, dashed=not node.active, least=least)


def _card(
    name: str,
    kind: str,
    title: str,
    tag: str,
    details: Sequence[Words],
    mood: Mood,
    place: str = "",
    monospaced: bool = False,
    dashed: bool = False,
    least: float = 0.0,
) -> Card:
    title = printable(title)
    tag_width = sans(tag, TAG) * 1.12 + _TAG_GAP if tag else 0.0
    measure = _title_mono if monospaced else _title_sans
    shown = shortened(title, _WIDEST - 2 * PAD - tag_width, measure)
    widest = max([measure(shown) + tag_width, *(min(sans(words.text, DETAIL), _WRAP) for words in details)])
    lines = tuple(_lines(details, max(widest, _WRAP)))
    inner = max([measure(shown) + tag_width, *(_line_width(line) for line in lines)])
    tooltip = " · ".join([f"{kind} {title}{place}", *(words.text for words in details)])
    height = max(least, HEAD + LINE * len(lines) + (15.0 if lines else 13.0))
    return Card(name, kind, shown, tag, lines, mood, tooltip, inner + 2 * PAD, height, monospaced, dashed)


def _title_sans(text: str) -> float:
    return sans(text, TITLE) * 1.12  # it is bold


def _title_mono(text: str) -> float:
    return mono(text, TITLE - 1)


def _line_width(line: Sequence[Words]) -> float:
    return sans(BETWEEN.join(words.text for words in line), DETAIL)


def _lines(details: Sequence[Words], width: float) -> Iterator[tuple[Words, ...]]:
    """Put as many details on a line as there is room for."""
    line: tuple[Words, ...] = ()
    for words in details:
        words = Words(shortened(words.text, _WIDEST - 2 * PAD, lambda text: sans(text, DETAIL)), words.mood)
        if line and _line_width((*line, words)) > width:
            yield line
            line = (words,)
        else:
            line = (*line, words)
    if line:
        yield line


def shortened(text: str, width: float, measure: Callable[[str], float]) -> str:
    """Shorten a text in its middle until it takes no more than so many pixels."""
    size = columns(text)
    shown = text
    while measure(shown) > width and size > 1:
        size -= 1
        shown = middle(text, size)
    return shown
