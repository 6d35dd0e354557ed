"""Colours on a terminal: what they are, whether a stream takes them, and how wide it is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from celeryfleet.text import ESC

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import TextIO, TypeAlias

    #: text, and the style it is shown in: the numbers of an ANSI sequence, or nothing
    Span: TypeAlias = tuple[str, str]

BOLD, DIM, RED, GREEN, AMBER, BLUE, MAGENTA, CYAN = "1", "2", "31", "32", "33", "34", "35", "36"
#: of a terminal that does not know its width
_COLUMNS = 80


def has_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether colours may be written."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def screen(stream: TextIO, environ: Mapping[str, str] = os.environ) -> tuple[bool, int]:
    """Tell whether to colour, and how wide a stream is; not a terminal: plain, and 0 for as wide as it takes."""
    wanted = environ.get("COLUMNS", "")
    if wanted.isdecimal():
        return has_colour(stream, environ), int(wanted)
    columns = (os.get_terminal_size(stream.fileno()).columns or _COLUMNS) if stream.isatty() else 0
    return has_colour(stream, environ), columns


def paint(text: str, style: str, color: bool = True) -> str:
    """Put a style on a text that is for `say`, where there is colour at all."""
    return f"{ESC}[{style}m{text}{ESC}[0m" if color and style and text else text
