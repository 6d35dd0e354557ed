"""YAML text → a tree with places, or every problem; bounded in size, depth and aliases, and never executes a tag."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from celeryfleet.errors import FleetError, Problem
from celeryfleet.fleetfile.tree import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode, is_null

#: characters; the largest fleets need a hundredth of it
LIMIT: Final = 1024 * 1024
#: nodes once all aliases are expanded
MOST_NODES: Final = 50_000
DEEPEST: Final = 40

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_TAGS = {f"{_CORE}{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
#: part of YAML's own message → what to do, in most cases
_EXPLAINED = (
    ("cannot start any token", "A tab cannot indent YAML. Indent with spaces."),
    ("mapping values are not allowed", "Put a text that holds a colon and a space in quotes, or correct the indent."),
    ("did not find expected <document start>", "Remove the --- or ... before it, or correct the indent."),
    ("expected ',' or", "Close the bracket, or put a text that holds one, such as ${VAR}, in quotes."),
    ("could not find expected ':'", "Each line of a mapping is `key: value`."),
    ("did not find expected key", "Correct the indent: keys of one mapping stand below one another."),
    ("block sequence entries are not allowed", "Start the list on a line of its own."),
    ("did not find expected '-' indicator", "Correct the indent: items of one list stand below one another."),
    ("while scanning a quoted scalar", "Close the quote."),
)


class _StoppedError(Exception):
    """The text cannot be read any further."""


@dataclass
class _Frame:
    """A list or mapping that is being read."""

    kind: type
    mark: Mark
    anchor: str | None
    items: list[Node] = field(default_factory=list)


def parse_yaml(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """Read one document; None if there is nothing in it, or if it cannot be read to its end."""
    reader = _Reader(file)
    if len(text) > LIMIT:
        return None, [Problem(f"the file is larger than {LIMIT // 1024} KiB.", file, _TOO_BIG)]
    if control := _CONTROL.search(text):
        return None, [Problem("the file holds control characters.", _place(text, control.start(), file), _NOT_TEXT)]
    try:
        text.encode()
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except _StoppedError:
        return None, reader.problems
    except UnicodeEncodeError as error:
        return None, [Problem("the file is not UTF-8.", _place(text, error.start, file), _NOT_TEXT)]
    except yaml.YAMLError as error:
        return None, [*reader.problems, _syntax(error, text, file)]
    return reader.root, reader.problems


_TOO_BIG = "Is it the right file?"
_NOT_TEXT = "Is it the right file? A fleet.yaml is plain text in UTF-8."


def decoded(data: bytes, file: str) -> str:
    """Decode a file's bytes. Raises FleetError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FleetError("the file is not UTF-8.", f"{file}:{line}:1", _NOT_TEXT) from None


def _place(text: str, index: int, file: str) -> str:
    line = text.count("\n", 0, index) + 1
    return str(Mark(file, line, index - text.rfind("\n", 0, index)))


def _syntax(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file)
    said = [getattr(error, "context", None), getattr(error, "problem", None) or getattr(error, "reason", None)]
    reason = ", ".join(part for part in said if part) or str(error).splitlines()[0]
    if "maximum nesting depth" in reason:  # PyYAML has a limit of its own since 6.0.4, and reads ahead of its events
        return _too_deep(where)
    hint = next((meaning for needle, meaning in _EXPLAINED if needle in reason), "")
    lines = text.splitlines()[where.line - 1 : where.line]
    if "cannot start any token" in reason and "\t" not in "".join(lines)[: where.column]:
        hint = "Put a text that starts with this character in quotes."
    elif any("\t" in line[: len(line) - len(line.lstrip())] for line in lines):
        hint = _EXPLAINED[0][1]
    return Problem(f"this is no YAML: {reason}.", str(where), hint)


def _too_deep(mark: Mark) -> Problem:
    return Problem(f"this is nested more than {DEEPEST} levels deep.", str(mark))


class _Reader:
    """Builds the tree out of the parser's events; a stack of its own, so no nesting can exhaust Python's."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._merged = 0

    def take(self, event: Any) -> None:
        """Take the next event."""
        mark = Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.ScalarEvent():
                self._add(self._scalar(event, mark), event.anchor)
            case yaml.AliasEvent():
                self._add(self._alias(str(event.anchor), mark), None)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event, mark)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                frame = self._stack.pop()
                self._add(self._listing(frame) if frame.kind is SequenceNode else self._block(frame), frame.anchor)
            case yaml.DocumentStartEvent() if self.root is not None:
                self._stop("a second document starts here.", mark, "Keep one document in a file: remove the ---")
            case _:
                pass

    def _problem(self, what: str, mark: Mark, hint: str = "") -> None:
        self.problems.append(Problem(what, str(mark), hint))

    def _stop(self, what: str, mark: Mark, hint: str = "") -> None:
        self._problem(what, mark, hint)
        raise _StoppedError

    # --- Nodes --------------------------------------------------------------------------------------------

    def _scalar(self, event: Any, mark: Mark) -> ScalarNode:
        plain = event.style in (None, "")
        if event.tag in (None, "!"):
            return ScalarNode(event.value, mark, plain and event.tag is None)
        name = self._tag(event.tag, mark)
        return ScalarNode(event.value, mark, name not in ("str", ""))

    def _tag(self, tag: str, mark: Mark) -> str:
        if tag not in _TAGS:
            shown = tag.replace(_CORE, "!!")
            self._problem(f"the tag {shown} is unknown.", mark, "fleet.yaml needs no tags.")
        return _TAGS.get(tag, "")

    def _open(self, event: Any, mark: Mark) -> None:
        if event.tag not in (None, "!"):
            self._tag(event.tag, mark)
        if len(self._stack) >= DEEPEST:
            self.problems.append(_too_deep(mark))
            raise _StoppedError
        kind = SequenceNode if isinstance(event, yaml.SequenceStartEvent) else MappingNode
        self._stack.append(_Frame(kind, mark, event.anchor))

    def _alias(self, name: str, mark: Mark) -> Node:
        if any(frame.anchor == name for frame in self._stack):
            self._stop(f"*{name} stands within &{name} itself.", mark)
        if name not in self._anchors:
            self._problem(f"*{name} refers to no anchor &{name} above it.", mark)
            return ScalarNode("", mark)
        return self._anchors[name]

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if node.size > MOST_NODES:
            self._stop(f"with its aliases expanded, this holds more than {MOST_NODES} values.", node.mark)
        if node.depth + len(self._stack) > DEEPEST:
            self._stop(f"with its aliases expanded, this is nested more than {DEEPEST} levels deep.", node.mark)
        if self._stack:
            self._stack[-1].items.append(node)
        else:
            self.root = node

    def _listing(self, frame: _Frame) -> SequenceNode:
        return SequenceNode(tuple(frame.items), frame.mark, *_measure(frame.items))

    def _block(self, frame: _Frame) -> MappingNode:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, node in zip(frame.items[::2], frame.items[1::2], strict=True):
            if not isinstance(key, ScalarNode):
                self._problem("a key must be text.", key.mark, "Put it in quotes if it holds a { or [")
            elif key.plain and key.text == "<<":
                self._merge(node, merged)
            elif key.text in own:
                first = own[key.text].mark
                self._problem(
                    f"the key {key.shown} is written twice.",
                    key.mark,
                    f"It was written first at line {first.line}. Keep one of them.",
                )
            else:
                own[key.text] = Entry(key.mark, node)
        entries = merged | own
        return MappingNode(entries, frame.mark, *_measure(entry.node for entry in entries.values()))

    def _merge(self, node: Node, merged: dict[str, Entry]) -> None:
        """Take the keys of `<<`: of a list of mappings the first that has a key gives it."""
        for source in node.items if isinstance(node, SequenceNode) else (node,):
            if not isinstance(source, MappingNode):
                if not is_null(source):
                    self._problem("<< merges mappings only.", source.mark, "Write <<: *anchor")
                continue
            self._merged += len(source.entries)
            if self._merged > MOST_NODES:
                self._stop(f"merging with << goes over more than {MOST_NODES} keys.", source.mark)
            for key, entry in source.entries.items():
                merged.setdefault(key, entry)


def _measure(nodes: Iterable[Node]) -> tuple[int, int]:
    size, depth = 1, 0
    for node in nodes:
        size, depth = size + node.size, max(depth, node.depth)
    return size, depth + 1
