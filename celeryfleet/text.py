"""How text is written for people: to a terminal or a pipe, widths, counts, lists, durations, sizes; knows no fleets.

`status` and `health` import it, so it imports nothing that takes long.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

#: stands for ESC in what we ourselves send to a terminal, until `say` writes it; nobody's text can hold it by design
ESC = os.urandom(8).hex()

#: of a terminal; compiled by who needs it, since that takes a millisecond
_ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"
#: seconds in each unit, the largest first
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


#: what turns the direction of letters, so that a text reads as another one
_TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


# --- Writing ----------------------------------------------------------------------------------------------


def say(text: object = "", file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Write text, as `print` does; on a terminal nothing but what is ours commands it, and a pipe gets all as it is."""
    stream = file or sys.stdout
    shown = f"{text}{end}"
    print(written(tamed(shown) if stream.isatty() else shown), file=stream, end="", flush=flush)


def written(text: str) -> str:
    """Return text with the colours of ours as a terminal takes them."""
    return text.replace(ESC, "\x1b")


def tamed(text: str) -> str:
    r"""Spell out what would command a terminal or deceive its reader, but for line ends and tabs: an escape as \x1b."""
    return "\n".join(line if line.isprintable() else "".join(map(_tamed, line)) for line in text.split("\n"))


def _tamed(char: str) -> str:
    from unicodedata import category

    harmless = char.isprintable() or char == "\t" or not (char in _TURNS or category(char) in ("Cc", "Cs", "Zl", "Zp"))
    return char if harmless else repr(char)[1:-1]


# --- Sentences --------------------------------------------------------------------------------------------


def counted(number: int, noun: str, one: str = "", more: str = "") -> str:
    """Count things, and say what one or more of them do: `1 worker`, `1,200 processes`, `1 message waits`."""
    plural, verb = ("", one) if number == 1 else ("es" if noun.endswith("s") else "s", more)
    return f"{number:,} {noun}{plural} {verb}".rstrip()


def listed(names: Iterable[str], last: str = "and", most: int = 0) -> str:
    """Join names as a sentence does: `a, b and c`; with `most`, the first so many of them: `a, b and 7 more`."""
    found = list(names) or [""]
    if most and len(found) > most + 1:
        found[most:] = [f"{len(found) - most} more"]
    *before, final = found
    return f"{', '.join(before)} {last} {final}" if before else final


def quoted(names: Iterable[str], most: int = 6) -> str:
    """List names in quotes, the first few of many."""
    return listed((f'"{name}"' for name in names), most=most)


def duration(seconds: float) -> str:
    """Write a length of time exactly, as fleet.yaml does: 1m30s, 2h, 500ms."""
    whole, text = int(seconds), ""
    for unit, each in _UNITS:
        if whole >= each:
            text += f"{whole // each}{unit}"
            whole %= each
    rest = round((seconds - int(seconds)) * 1000)
    return (f"{text}{rest}ms" if rest else text) or "0s"


def age(seconds: float) -> str:
    """Write a time that goes on, in at most two units: 8s, 3m12s, 1h05m, 2d03h."""
    whole = max(0, int(seconds))
    for (unit, each), (small, part) in pairwise(_UNITS):
        if whole >= each:
            return f"{whole // each}{unit}{whole % each // part:02d}{small}"
    return f"{whole}s"


def brief(seconds: float | None) -> str:
    """Write a length of time in few characters, and a dash for one that is not known: 80ms, 2.5s, 1m20s."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.2g}s" if seconds < 10 else age(seconds)


def size(number: float) -> str:
    """Write bytes in decimal units: 52 MB, 1.2 GB."""
    if number >= 1_000_000_000:
        return f"{round(number / 1e9, 1):g} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1_000_000 else f"{number / 1e3:.0f} kB"


# --- Room in a terminal -----------------------------------------------------------------------------------


def columns(text: str) -> int:
    """Count the columns of a terminal that a text takes: a character of some scripts takes two."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """Cut a text to so many columns; an ellipsis stands for the rest."""
    if columns(text) <= width:
        return text
    room = width - 1
    for at, char in enumerate(text):
        room -= columns(char)
        if room < 0:
            return f"{text[:at]}…" if width > 0 else ""
    return text


def middle(text: str, width: int) -> str:
    """Shorten a text to so many columns in its middle, where both ends tell something."""
    if columns(text) <= width:
        return text
    if width < 5:
        return cut(text, width)
    tail = cut(text[::-1], width // 2 + 1)[-2::-1]
    return cut(text, width - columns(tail)) + tail


def wrap(parts: Iterable[str], width: int, between: str = " ") -> Iterator[str]:
    """Put parts on lines of so many columns; one that is wider by itself stays whole."""
    line = ""
    for part in parts:
        if line and columns(line) + len(between) + columns(part) > width:
            yield line
            line = part
        else:
            line = f"{line}{between}{part}" if line else part
    if line:
        yield line


def folded(text: str, width: int) -> list[str]:
    """Break a line into parts of so many columns, at a blank where one stands in the second half of a part."""
    parts = []
    while columns(text) > width:
        end = len(cut(text, width + 1)) - 1
        blank = text.rfind(" ", end // 2, end + 1)
        parts.append(text[: blank if blank >= 0 else end])
        text = text[blank + 1 if blank >= 0 else end :]
    return [*parts, text]


def visible(text: str) -> str:
    r"""Spell out what would break a line or move the cursor: a line feed as \n."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def clean(text: str) -> str:
    """Take the colours out of a line of somebody's output, and make its other control characters visible."""
    return visible(re.sub(_ESCAPE, "", text).expandtabs(4))
