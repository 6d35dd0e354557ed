"""The arguments of `celery multi` → those of each node's worker, by the rules of `celery multi` itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from celeryfleet.importers.options import long_name, takes_value
from celeryfleet.importers.variables import settled, varies

#: commands of `celery multi` that start nodes
STARTS = ("start", "restart", "show")
#: options of multi itself, which say how its nodes are named and shown
_OWN = (
    "-n",
    "--cmd",
    "--append",
    "--suffix",
    "--nosplash",
    "--verbose",
    "--quiet",
    "-q",
    "--no-color",
    "--executable",
    "--prefix",
    "--range-prefix",
)
_PREFIX = "celery"
_MOST = 1000


@dataclass(slots=True)
class Nodes:
    """What one `celery multi` starts."""

    #: (name, arguments) of each
    nodes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    #: what was not understood, each a sentence
    doubts: list[str] = field(default_factory=list)


#: option as written, without its node → value; None: it has none
_Options = dict[str, str | None]


@dataclass(slots=True)
class _Line:
    """A command line, taken apart."""

    names: list[str] = field(default_factory=list)
    common: _Options = field(default_factory=dict)
    #: `1-3`, `1,2` or a node's name, as written → its options
    special: dict[str, _Options] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)


def expand(words: Sequence[str], known: Mapping[str, str]) -> Nodes:
    """Return the nodes of `celery multi start …`; `words` follow the command, `known` are variables."""
    found = Nodes()
    line = _taken_apart(words, found.doubts)
    names, counted = _names(line, known, found.doubts)
    prefix = (
        (line.common.pop("--range-prefix", None) or _PREFIX) if counted else line.common.pop("--prefix", None) or ""
    )
    own = _by_node(line, names, counted, found.doubts)
    common = {option: value for option, value in line.common.items() if option not in _OWN}
    for name in names:
        options = {**common, **own.get(name, {})}
        words_ = tuple(word for option, value in options.items() for word in _written(option, value))
        shown = f"{prefix}{name.partition('@')[0]}"
        found.nodes.append((shown, (*words_, *(["--", *line.settings] if line.settings else []))))
    return found


def _written(option: str, value: str | None) -> Iterator[str]:
    if value is None:
        yield option
    elif option.startswith("--"):
        yield f"{option}={value}"
    else:
        yield from (option, value)


def _taken_apart(words: Sequence[str], doubts: list[str]) -> _Line:
    line = _Line()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            line.settings = rest
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if takes_value(word) and rest and not rest[0].startswith("-"):
                value, equals = rest.pop(0), "="
                doubts.append(f"`{word} {value}`: `celery multi` takes {value} for a node's name; here it is the value")
            _add(line, name, value if equals else None)
        elif word.startswith("-") and len(word) > 1:
            _add(line, word, rest.pop(0) if rest and not rest[0].startswith("-") else None)
        elif word:
            line.names.append(word)
    return line


def _add(line: _Line, written: str, value: str | None) -> None:
    option, colon, nodes = written.partition(":")
    options = line.special.setdefault(nodes, {}) if colon else line.common
    long = long_name(option.lstrip("-"))
    options["-n" if long == "hostname" else option] = value


def _names(line: _Line, known: Mapping[str, str], doubts: list[str]) -> tuple[list[str], bool]:
    """Return the nodes' names, and whether they were counted: `start 3` names 1, 2 and 3."""
    names: list[str] = []
    for written in line.names:
        value = settled(written, known)
        if value is None:
            doubts.append(f"`{written}`: the file does not tell what it holds, nodes or options")
        else:
            names += value.split()
    if not names:
        return (["1"], True) if line.names else (["celery"], False)
    name = names[0]
    if len(names) > 1 or not name.isdecimal():
        return names, False
    if not 1 <= int(name) <= _MOST:
        doubts.append(f"{name} nodes are not from 1 to {_MOST}: one is taken")
        return ["1"], True
    return [str(number) for number in range(1, int(name) + 1)], True


def _by_node(line: _Line, names: Sequence[str], counted: bool, doubts: list[str]) -> dict[str, _Options]:
    """Give each node its own options: `-Q:1-3`, `-Q:1,2`, `-Q:images`. A number counts the nodes, from 1."""
    found: dict[str, _Options] = {}
    for written, options in line.special.items():
        for one in _members(written, counted):
            name = names[int(one) - 1] if one.isdecimal() and 0 < int(one) <= len(names) else one
            node = next((known for known in names if name in (known, known.partition("@")[0])), None)
            if node is None:
                shown = ", ".join(f"{option}:{written}" for option in options)
                doubts.append(f"`{shown}` is for the node {one}, which there is not")
            else:
                found.setdefault(node, {}).update(options)
    return found


def _members(written: str, counted: bool) -> Iterable[str]:
    for part in written.split(","):
        match = re.fullmatch(r"([0-9]{1,4})-([0-9]{1,4})", part) if counted else None
        yield from map(str, range(int(match[1]), int(match[2]) + 1)) if match else (part,)


def is_start(words: Sequence[str]) -> bool:
    """Tell whether these arguments of `celery multi` start nodes: its command is the first word that is no option."""
    return next((word for word in words if not word.startswith("-") and not varies(word)), "") in STARTS
