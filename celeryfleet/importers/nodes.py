"""What a shell script is made of, as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from celeryfleet.importers.tokens import Word


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple command: assignments, words, and redirections into files, such as `>> worker.log`."""

    words: tuple[Word, ...]
    files: tuple[tuple[str, Word], ...]
    line: int = field(compare=False)
    #: name, whether it appends, and the value; the items of an array
    assigned: tuple[tuple[str, bool, Word | list[Word]], ...] = ()


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands one after the other."""

    items: tuple[Node, ...]
    #: options on lines of their own that were given to the command before, and their lines
    joined: tuple[tuple[str, int], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Either:
    """`a && b` or `a || b`."""

    left: Node
    both: bool
    right: Node


@dataclass(frozen=True, slots=True)
class Not:
    """`! a`."""

    node: Node


@dataclass(frozen=True, slots=True)
class Subshell:
    """`( … )`, or a part of a pipe."""

    node: Node


@dataclass(frozen=True, slots=True)
class If:
    """`if`, `elif` and `else`, whose condition is None."""

    branches: tuple[tuple[Node | None, Node], ...]
    line: int


@dataclass(frozen=True, slots=True)
class Case:
    """`case`."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Node], ...]
    line: int


@dataclass(frozen=True, slots=True)
class For:
    """`for`."""

    name: str
    words: tuple[Word, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Loop:
    """`while`, or `until`."""

    until: bool
    condition: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Function:
    """`name() { … }`."""

    name: str
    body: Node


Node = Simple | Sequence | Either | Not | Subshell | If | Case | For | Loop | Function
