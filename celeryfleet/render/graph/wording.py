"""What the drawing in the terminal says of each node, in spans cut to the room there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celeryfleet.render.graph import labels
from celeryfleet.render.graph.canvas import MOODS, Span, Style
from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import columns, cut, middle, printable
from celeryfleet.render.graph.topology import SourceKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import PoolNode, QueueNode, Source

_NO_LIMIT = 10_000
_MARK = {SourceKind.ROUTER: "router ", SourceKind.BEAT: "beat "}
#: the default source, where there is no room to say more
_OTHER = "any other"
_BETWEEN: Span = (" · ", Style.FAINT)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much room each part may take, in columns."""

    source: int = _NO_LIMIT
    key: int = _NO_LIMIT
    name: int = _NO_LIMIT
    #: what stands below a name is wrapped at it
    detail: int = 30
    pool: int = _NO_LIMIT
    #: a pool's size stands below its name
    stacked: bool = False

    def with_(self, part: str, width: int) -> Limits:
        """Return them with another limit for a part."""
        changed: dict[str, Any] = {part: width}
        return replace(self, **changed)


#: parts and what they are cut to at least, one after another until all fits
CUTS = (
    *(("source", 24), ("key", 12), ("detail", 22), ("source", 18), ("key", 8), ("pool", 14), ("name", 14)),
    *(("detail", 18), ("source", 12), ("pool", 8), ("name", 8), ("key", 5), ("detail", 14), ("source", 10)),
)


@dataclass(slots=True)
class Wording:
    """Writes within limits, and remembers how much room the parts took."""

    live: Live | None
    limits: Limits
    widest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(dict(CUTS), 0))

    def fit(self, part: str, text: str, more: int = 0) -> str:
        """Cut a text to the limit of its part, and to the columns more that its row has to spare."""
        shown = middle(printable(text), getattr(self.limits, part) + more)
        if not more:
            self.widest[part] = max(self.widest[part], columns(shown))
        return shown

    def source(self, source: Source, more: int = 0) -> list[Span]:
        """Write a source's first line."""
        style = Style.BAD if source.lost else Style.FAINT if source.kind is SourceKind.DEFAULT else Style.PLAIN
        text = labels.source(source)
        if source.kind is SourceKind.DEFAULT and max(self.limits.source, len(_OTHER) + more) < columns(text):
            text = _OTHER
        found: list[Span] = [(self.fit("source", text, more), style)]
        if mark := _MARK.get(source.kind):
            found.insert(0, (mark, Style.FAINT))
        if source.priority is not None:
            found.append((f" p{source.priority}", Style.FAINT))
        return found

    def source_details(self, source: Source) -> list[list[Span]]:
        """Write what stands below a source."""
        texts = [(source.schedule, Style.FAINT), (source.task, Style.FAINT)]
        if source.lost:
            texts.append((source.note, Style.BAD))
        width = min(self.limits.source, 28)
        return [[(line, style)] for text, style in texts for line in wrap(printable(text).split(" "), width, " ")]

    def queue(self, queue: QueueNode, more: int = 0) -> list[Span]:
        """Write a queue's first line."""
        mood = labels.queue_mood(queue, self.live)
        style = Style.STRONG if mood is Mood.PLAIN else MOODS[mood]
        name: Span = (self.fit("name", queue.name, more), style)
        return [name, (" ★", Style.LATE)] if queue.default else [name]

    def queue_details(self, queue: QueueNode) -> list[list[Span]]:
        """Write what stands below a queue."""
        return self._wrapped(labels.queue_details(queue, self.live))

    def pool(self, pool: PoolNode, more: int = 0) -> list[Span]:
        """Write a pool's first line."""
        mood = labels.pool_mood(pool, self.live)
        style = Style.STRONG if mood is Mood.PLAIN else MOODS[mood]
        return [(self.fit("pool", pool.name, more), style if pool.active else Style.FAINT)]

    def pool_size(self, pool: PoolNode) -> Span:
        """Write how large a pool is, to stand beside its name."""
        return ("", Style.FAINT) if self.limits.stacked else (labels.pool_size(pool, self.live), Style.FAINT)

    def pool_details(self, pool: PoolNode) -> list[list[Span]]:
        """Write what stands below a pool."""
        size = [labels.Words(labels.pool_size(pool, self.live))] if self.limits.stacked else []
        return self._wrapped([*size, *labels.pool_details(pool, self.live)])

    def _wrapped(self, details: Sequence[labels.Words]) -> list[list[Span]]:
        """Put as many details on a line as there is room for."""
        lines: list[list[Span]] = []
        room = 0
        for words in details:
            for text in wrap(words.text.split(" "), self.limits.detail, " "):
                size = columns(text)
                if lines and size + 3 <= room:
                    lines[-1] += [_BETWEEN, (text, MOODS[words.mood])]
                    room -= size + 3
                else:
                    lines.append([(text, MOODS[words.mood])])
                    room = self.limits.detail - size
                self.widest["detail"] = max(self.widest["detail"], self.limits.detail - room)
        return lines


def wrap(parts: Iterable[str], width: int, between: str) -> Iterator[str]:
    """Put parts on lines no wider than this; a part that is wider by itself is cut."""
    line = ""
    for part in parts:
        if line and columns(line) + len(between) + columns(part) > width:
            yield cut(line, width)
            line = part
        else:
            line = f"{line}{between}{part}" if line else part
    if line:
        yield cut(line, width)
