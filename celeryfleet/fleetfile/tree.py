"""The parsed YAML as a tree of frozen nodes, each with its place; knows no key of fleet.yaml."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from celeryfleet.text import cut, visible

Path = tuple[str | int, ...]
Plain = str | int | float | bool | None

#: of YAML 1.2's core schema: `on`, `yes`, `1_000`, `1:30` and `2024-01-01` are the text they look like
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,9})?")
_WORDS: Mapping[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BASES = {"0o": 8, "0x": 16}
_TRUTHS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file."""

    #: as the user named it
    file: str
    #: counted from 1
    line: int = 1
    #: counted from 1, in characters
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def row(self) -> str:
        """Return the file and the line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class ScalarNode:
    """A value that is not a mapping or a list."""

    text: str
    mark: Mark
    #: written without quotes, so that it may be a number, a boolean or null
    plain: bool = True
    #: as written, where it held `${VAR}`
    written: str | None = None
    #: its `${VAR}` could not be replaced, which was said already
    failed: bool = False
    #: nodes in it, aliases expanded; and levels
    size: int = field(default=1, repr=False)
    depth: int = field(default=1, repr=False)

    @cached_property
    def value(self) -> Plain:
        """Return what it means in YAML 1.2's core schema."""
        return resolve(self.text) if self.plain else self.text

    @property
    def shown(self) -> str:
        """Return it for a message, as written, and not at length."""
        text = cut(self.text if self.written is None else self.written, 60)
        return text if self.plain and text and text.isprintable() else quoted(text)


@dataclass(frozen=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark
    size: int = field(default=1, repr=False)
    depth: int = field(default=1, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, with its value."""

    mark: Mark
    node: Node


@dataclass(frozen=True)
class MappingNode:
    """A mapping; its keys are text."""

    entries: dict[str, Entry]
    mark: Mark
    size: int = field(default=1, repr=False)
    depth: int = field(default=1, repr=False)


Node = ScalarNode | SequenceNode | MappingNode


def resolve(text: str) -> Plain:
    """Type the text of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        base = _BASES.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if len(text) <= 400 and _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def plain(node: Node) -> Any:
    """Return JSON's types."""
    match node:
        case ScalarNode():
            return node.value
        case SequenceNode():
            return [plain(item) for item in node.items]
        case MappingNode():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def at(root: Node, path: Path) -> Node | None:
    """Return the node at a path."""
    node = root
    for step in path:
        match node:
            case MappingNode() if step in node.entries:
                node = node.entries[str(step)].node
            case SequenceNode() if isinstance(step, int) and 0 <= step < len(node.items):
                node = node.items[step]
            case _:
                return None
    return node


def is_null(node: Node | None) -> bool:
    """Tell whether nothing, or null, was written."""
    return isinstance(node, ScalarNode) and node.value is None


def entries(node: Node | None) -> Iterator[tuple[str, Entry]]:
    """Go through a mapping; anything else has no entries."""
    if isinstance(node, MappingNode):
        yield from node.entries.items()


def items(node: Node | None) -> tuple[Node, ...]:
    """Return what a list holds; anything else holds nothing."""
    return node.items if isinstance(node, SequenceNode) else ()


def child(node: Node | None, key: str) -> Node | None:
    """Return a mapping's value; null counts as not written."""
    found = node.entries.get(key) if isinstance(node, MappingNode) else None
    return None if found is None or is_null(found.node) else found.node


def text(node: Node | None) -> str | None:
    """Return a scalar's text; null has none, nor has one whose `${VAR}` could not be replaced."""
    return node.text if isinstance(node, ScalarNode) and not node.failed and not is_null(node) else None


def truth(text: str | None) -> bool | None:
    """Return a boolean however it is written, `yes` and `off` too; None if it is none."""
    return _TRUTHS.get((text or "").strip().lower())


def described(node: Node) -> str:
    """Name what was written, for a message."""
    match node:
        case ScalarNode():
            return "empty" if is_null(node) else node.shown
        case SequenceNode():
            return "a list"
        case MappingNode():
            return "a mapping"


def on_one_line(node: Node) -> str:
    """Return a mapping as it might be written on one line, without its braces."""
    return ", ".join(f"{key}: {_on_one_line(entry.node)}" for key, entry in entries(node))


def _on_one_line(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return f"{{{on_one_line(node)}}}"
    return node.shown if isinstance(node, ScalarNode) else plain(node)


def quoted(name: str) -> str:
    """Put a name in quotes for a message."""
    return f'"{visible(cut(name, 60))}"'
