"""The drawing for the terminal as an SVG that stands alone: no script, and no font or picture from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape, unescape
from typing import TYPE_CHECKING

from celeryfleet.render.graph.drawing import draw
from celeryfleet.render.graph.labels import summary
from celeryfleet.text import columns

if TYPE_CHECKING:
    from rich.style import Style

    from celeryfleet.render.graph.topology import Topology
    from celeryfleet.render.paint import Span

#: rich's own loads a font from the network, and says nothing to those who do not see the drawing
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}" \
role="img" aria-labelledby="title desc">
<title id="title">{title}</title>
<desc id="desc">{description}</desc>
<style>
.{{unique_id}}-matrix {{{{ font: {{char_height}}px/{{line_height}}px \
ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}}}
.{{unique_id}}-title {{{{ font: bold 18px sans-serif }}}}
{{styles}}
</style>
<defs>
<clipPath id="{{unique_id}}-clip-terminal">
<rect x="0" y="0" width="{{terminal_width}}" height="{{terminal_height}}"/>
</clipPath>
{{lines}}
</defs>
{{chrome}}
<g transform="translate({{terminal_x}}, {{terminal_y}})" clip-path="url(#{{unique_id}}-clip-terminal)">
{{backgrounds}}
<g class="{{unique_id}}-matrix">
{{matrix}}
</g>
</g>
</svg>
"""

_WORDS = re.compile(r"[^ ]+(?: [^ ]+)*| +")
_TEXT = re.compile(r'(<text [^>]*textLength=")([\d.]+)("[^>]*>)([^<]*)(</text>)')


def svg(topology: Topology) -> str:
    """Write the drawing."""
    return picture(draw(topology), topology.fleet, f"Topology of the fleet {topology.fleet}", _description(topology))


def picture(drawn: Sequence[Iterable[Span]], name: str, title: str, description: str) -> str:
    """Write lines for a terminal as an SVG, under a name; title and description say in words what they show."""
    from rich.console import Console
    from rich.segment import Segment, Segments

    lines = [[Segment(*part) for span in line for part in _parts(*span)] for line in drawn]
    width = max(sum(part.cell_length for part in line) for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), legacy_windows=False)
    console.print(Segments([part for line in lines for part in [*line, Segment.line()]]), crop=False)
    words = {"title": title, "description": description}
    quoted = {key: escape(value).replace("{", "{{").replace("}", "}}") for key, value in words.items()}
    found = console.export_svg(title=name, code_format=_FORMAT.format(**quoted), unique_id="fleet")
    return _TEXT.sub(_mended, found)


def _parts(text: str, style: str) -> Iterator[tuple[str, Style | None]]:
    """Part words from the blanks around them, which not every viewer keeps."""
    from rich.ansi import SGR_STYLE_MAP
    from rich.style import Style

    shown = Style.parse(SGR_STYLE_MAP[int(style)]) if style else None
    return ((part, shown) for part in _WORDS.findall(text))


def _mended(found: re.Match[str]) -> str:
    """Give wide characters the room of two, which rich does not; and leave out the ends of lines."""
    start, length, middle, words, end = found.groups()
    text = unescape(words)
    room = float(length) * columns(text) / len(text)
    return f"{start}{room:g}{middle}{words}{end}".replace("&#160;", " ") if text.strip() else ""


def _description(topology: Topology) -> str:
    """Say in words what the lines show."""
    pools = [f"The pool {pool.name} reads {', '.join(pool.queues)}." for pool in topology.pools]
    return " ".join([f"{summary(topology)}.", *pools])
