"""Writes YAML line by line: values in quotes only where they need them, comments in one column; knows no key."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping

from celeryfleet.fleetfile.writing import scalar as scalar
from celeryfleet.importers import variables
from celeryfleet.text import listed

#: the column in which comments start
_COLUMN = 34
_WIDTH = 110


def literal(text: str, *, flow: bool = False) -> str:
    """Write a text that may be a number, such as an option's value."""
    return str(int(text)) if re.fullmatch("[0-9]{1,12}", text) else scalar(text, flow=flow)


def listing(texts: Iterable[str]) -> str:
    """Write texts as a list."""
    return f"[{', '.join(scalar(text, flow=True) for text in texts)}]"


def mapping(values: Mapping[str, str]) -> str:
    """Write a mapping of texts that may be numbers."""
    return f"{{{', '.join(f'{key}: {literal(value, flow=True)}' for key, value in values.items())}}}"


class Writer:
    """Lines of YAML with comments in one column, and the variables that they need."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        #: the same without comments, and with a value for each variable that must be set, to try it
        self.trial: list[str] = []

    def key(self, key: str, value: str, comment: str = "", indent: int = 0) -> None:
        """Write `key: value  # comment`."""
        missing = sorted(variables.required(value)) if "${" in value else []
        if missing:
            comment = f"{comment}; {listed(missing)} must be set".removeprefix("; ")
        self.line(f"{key}: {value}", comment, indent, f"{key}: {variables.tried(key, value)}")

    def line(self, text: str, comment: str = "", indent: int = 0, tried: str = "") -> None:
        """Write a line."""
        self.trial.append(" " * indent + (tried or text))
        text = " " * indent + text
        self.lines.append(f"{text:<{_COLUMN - 2}}  # {_clean(comment)}" if comment else text)

    def blank(self) -> None:
        """Leave a line."""
        self.lines.append("")

    def comment(self, text: str, bullet: str = "") -> None:
        """Write a comment on lines of its own."""
        first, rest = f"# {bullet}", f"# {' ' * len(bullet)}"
        self.lines += textwrap.wrap(
            _clean(text), _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip

    def text(self) -> str:
        """Return the whole."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


def _clean(text: str) -> str:
    """Write a comment's text on one line, without what YAML forbids."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
