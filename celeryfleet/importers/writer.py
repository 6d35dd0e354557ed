"""Writes YAML line by line: comments in one column, and the variables that the values need; knows no key by itself."""

from __future__ import annotations

import textwrap

from celeryfleet.importers import variables
from celeryfleet.text import listed

#: the column in which comments start
_COLUMN = 34
_WIDTH = 110


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
        tried = variables.tried(key, value) if missing else value
        self.line(f"{key}: {value}", comment, indent, tried=f"{key}: {tried}")

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
        indent = " " * len(bullet)
        self.lines += textwrap.wrap(
            _clean(text),
            _WIDTH,
            initial_indent=f"# {bullet}",
            subsequent_indent=f"# {indent}",
            break_long_words=False,
            break_on_hyphens=False,
        )

    def text(self) -> str:
        """Return the whole."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


def _clean(text: str) -> str:
    """Write a comment's text on one line, without what YAML forbids."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
