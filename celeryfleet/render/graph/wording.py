"""What the drawing in the terminal says of each node, in spans cut to the room there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from celeryfleet.render.graph.labels import MOODS, pool_details, pool_size, queue_details
from celeryfleet.render.graph.topology import Mood, SourceKind
from celeryfleet.render.paint import AMBER, BOLD, DIM, RED
from celeryfleet.text import columns, cut, middle, visible, wrap

if TYPE_CHECKING:
    from celeryfleet.render.graph.topology import PoolNode, QueueNode, Source
    from celeryfleet.render.paint import Span

_NO_LIMIT = 10_000
#: columns that each part may take; what stands below a name is wrapped at `detail`
_LIMITS = {"source": _NO_LIMIT, "key": _NO_LIMIT, "name": _NO_LIMIT, "pool": _NO_LIMIT, "detail": 30}
#: parts and what they are cut to at least, one after another until all fits
CUTS = (
    *(("source", 24), ("key", 12), ("detail", 22), ("source", 18), ("key", 8), ("pool", 14), ("name", 14)),
    *(("detail", 18), ("source", 12), ("pool", 8), ("name", 8), ("key", 5), ("detail", 14), ("source", 10)),
)
_MARK = {SourceKind.ROUTER: "router ", SourceKind.BEAT: "beat "}
#: the default source, where there is no room to say more
_OTHER = "any other"


class Wording:
    """Writes within limits, and remembers how much room the parts took; stacked, a pool's size is below its name."""

    def __init__(self, limits: Mapping[str, int] | None = None, stacked: bool = False) -> None:
        self._limits = {**_LIMITS, **(limits or {})}
        self._stacked = stacked
        self.widest = dict.fromkeys(_LIMITS, 0)

    def fit(self, part: str, text: str, more: int = 0) -> str:
        """Cut a text to the limit of its part, and to the columns more that its row has to spare."""
        shown = middle(visible(text), self._limits[part] + more)
        if not more:
            self.widest[part] = max(self.widest[part], columns(shown))
        return shown

    def source(self, source: Source, more: int = 0) -> list[Span]:
        """Write a source's first line."""
        style, text = RED if source.lost else "", source.text
        if source.kind is SourceKind.DEFAULT:
            style = style or DIM
            if max(self._limits["source"], len(_OTHER) + more) < columns(text):
                text = _OTHER
        found: list[Span] = [(self.fit("source", text, more), style)]
        if mark := _MARK.get(source.kind):
            found.insert(0, (mark, DIM))
        if source.priority is not None:
            found.append((f" p{source.priority}", DIM))
        return found

    def source_details(self, source: Source) -> list[list[Span]]:
        """Write what stands below a source."""
        texts = [(source.schedule, DIM), (source.task, DIM), (source.note if source.lost else None, RED)]
        width = min(self._limits["source"], 28)
        return [[(line, style)] for text, style in texts if text for line in _words(text, width)]

    def queue(self, queue: QueueNode, more: int = 0) -> list[Span]:
        """Write a queue's first line."""
        name = (self.fit("name", queue.name, more), BOLD if queue.mood is Mood.PLAIN else MOODS[queue.mood])
        return [name, (" ★", AMBER)] if queue.default else [name]

    def queue_details(self, queue: QueueNode) -> list[list[Span]]:
        """Write what stands below a queue."""
        return self._filled(queue_details(queue))

    def pool(self, pool: PoolNode) -> list[Span]:
        """Write a pool's first line."""
        style = BOLD if pool.mood is Mood.PLAIN else MOODS[pool.mood]
        return [(self.fit("pool", pool.name), style if pool.active else DIM)]

    def pool_size(self, pool: PoolNode) -> Span:
        """Write how large a pool is, to stand beside its name."""
        return "" if self._stacked else pool_size(pool), DIM

    def pool_details(self, pool: PoolNode) -> list[list[Span]]:
        """Write what stands below a pool."""
        size = [(pool_size(pool), DIM)] if self._stacked else []
        return self._filled([*size, *pool_details(pool)])

    def _filled(self, details: Sequence[Span]) -> list[list[Span]]:
        """Put as many details on a line as there is room for."""
        lines: list[list[Span]] = []
        limit, room = self._limits["detail"], 0
        for text, style in details:
            for part in _words(text, limit):
                size = columns(part)
                if lines and size + 3 <= room:
                    lines[-1] += [(" · ", DIM), (part, style)]
                    room -= size + 3
                else:
                    lines.append([(part, style)])
                    room = limit - size
                self.widest["detail"] = max(self.widest["detail"], limit - room)
        return lines


def _words(text: str, width: int) -> Iterator[str]:
    """Break a text between its words; a word that is wider by itself is cut."""
    return (cut(line, width) for line in wrap(visible(text).split(" "), width))
