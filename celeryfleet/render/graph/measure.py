"""How wide a text is, on a terminal and in a drawing, and how it is made to fit; asks no font."""

from __future__ import annotations

from unicodedata import combining, east_asian_width

#: thousandths of an em that a character of a sans font takes, a little more than Arial and a little less than Verdana
_WIDTHS = {
    **dict.fromkeys("ijl|'", 270),
    **dict.fromkeys(" .,:;!/\\[]()It", 330),
    **dict.fromkeys('fr-`"*', 390),
    **dict.fromkeys("Jcksvxyz^", 550),
    **dict.fromkeys("mMwW@%", 920),
    **dict.fromkeys("ABCDEGHKNOPQRUVXY&+=<>~×–→", 720),
    "…": 1000,
    "·": 330,
}
_USUAL = 610
_WIDE = 1050
#: thousandths of an em of every character of a monospaced font
_MONO = 605


def printable(text: str) -> str:
    """Spell out what would break a line or move a cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def columns(text: str) -> int:
    """Count the columns of a terminal: some scripts take two for a character."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, width: int) -> str:
    """Cut a text to so many columns, an ellipsis in its place."""
    if columns(text) <= width:
        return text
    while text and columns(text) > width - 1:
        text = text[:-1]
    return text + "…" if width else ""


def middle(text: str, width: int) -> str:
    """Shorten a dotted name or pattern to so many columns in its middle, where both ends tell something."""
    if columns(text) <= width:
        return text
    if width < 5:
        return cut(text, width)
    tail = text
    while columns(tail) > width - 1 - (width - 1) // 2:
        tail = tail[1:]
    return cut(text, width - columns(tail)) + tail


def sans(text: str, size: float) -> float:
    """Return about how many pixels a text takes in a sans font of this size."""
    return sum(_width(char) for char in text) * size / 1000


def mono(text: str, size: float) -> float:
    """Return how many pixels a text takes in a monospaced font of this size."""
    return columns(text) * _MONO * size / 1000


def _width(char: str) -> int:
    if not char.isascii() and east_asian_width(char) in "WF":
        return _WIDE
    return 0 if combining(char) else _WIDTHS.get(char, _USUAL)
