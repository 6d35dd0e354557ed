"""`${VAR}` and its forms in every text of a tree; the variables are an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celeryfleet.errors import Problem
from celeryfleet.fleetfile.cursor import subject
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import Entry, MappingNode, Node, Path, ScalarNode, SequenceNode

_OPEN = "holds a ${ that is not closed"
_FORMS = "Write ${VAR}, ${VAR:-default}, ${VAR-default} or ${VAR:?message}, and $$ for a dollar."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?]")
_NEXT = re.compile(r"\$\$|\$\{|\}")
#: levels of ${A:-${B:-c}}
_DEEPEST = 10


class VariableError(ValueError):
    """A `${…}` that cannot be replaced; goes on after the name of what holds it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with every `${VAR}` replaced and every `$$` a `$`; a lone `$` stays. Raises VariableError."""
    if "$" not in text:
        return text
    return _until(text, 0, variables, 0)[0]


def _until(text: str, start: int, variables: Mapping[str, str], level: int) -> tuple[str, int]:
    """Read up to the `}` that closes this level, or to the end at level 0; return what was read and where it ends."""
    if level > _DEEPEST:
        raise VariableError(f"nests ${{…}} more than {_DEEPEST} levels deep")
    parts: list[str] = []
    at = start
    while match := _NEXT.search(text, at):
        parts.append(text[at : match.start()])
        if match[0] == "}" and level:
            return "".join(parts), match.end()
        if match[0] == "${":
            value, at = _variable(text, match.end(), variables, level)
            parts.append(value)
        else:
            parts.append(match[0][0])
            at = match.end()
    if level:
        raise VariableError(_OPEN, _FORMS)
    return "".join(parts) + text[at:], len(text)


def _variable(text: str, start: int, variables: Mapping[str, str], level: int) -> tuple[str, int]:
    name = _NAME.match(text, start)
    if name is None:
        raise VariableError("holds a ${ that no variable's name follows", _FORMS)
    value = variables.get(name[0])
    operator = _OPERATOR.match(text, name.end())
    if operator is None:
        if not text.startswith("}", name.end()):
            closed = "}" in text[name.end() :]
            raise VariableError(f"holds a form of ${{{name[0]}…}} that is unknown" if closed else _OPEN, _FORMS)
        if value is None:
            raise VariableError(f"needs the variable {name[0]}, which is not set", _how_to_set(name[0], variables))
        return value, name.end() + 1
    given = bool(value) if operator[0].startswith(":") else value is not None
    # What is not needed may itself name variables that are not set: only its end is looked for.
    other, end = _until(text, operator.end(), _Anything() if given else variables, level + 1)
    if given:
        return value or "", end
    if operator[0].endswith("?"):
        raise VariableError(f"needs the variable {name[0]}: {other}" if other else f"needs the variable {name[0]}")
    return other, end


class _Anything(dict[str, str]):
    """Every variable is set."""

    def get(self, name: str, default: Any = None) -> str:
        return name


def _how_to_set(name: str, variables: Mapping[str, str]) -> str:
    guess = did_you_mean(name, variables)
    ways = f"Set it in the environment or in an env_file, or write ${{{name}:-default}}."
    return f"{guess} {ways}" if guess else ways


def interpolated(node: Node, variables: Mapping[str, str], problems: list[Problem], path: Path = ()) -> Node:
    """Return the tree with its texts interpolated; a key is never touched."""
    match node:
        case ScalarNode():
            return _scalar(node, variables, problems, path)
        case SequenceNode():
            items = (interpolated(item, variables, problems, (*path, i)) for i, item in enumerate(node.items))
            return replace(node, items=tuple(items))
        case MappingNode():
            entries = {
                key: Entry(entry.mark, interpolated(entry.node, variables, problems, (*path, key)))
                for key, entry in node.entries.items()
            }
            return replace(node, entries=entries)


def _scalar(node: ScalarNode, variables: Mapping[str, str], problems: list[Problem], path: Path) -> ScalarNode:
    if "$" not in node.text:
        return node
    try:
        text = interpolate(node.text, variables)
    except VariableError as error:
        problems.append(Problem(f"{subject(path)} {error}.", str(node.mark), error.hint))
        return replace(node, written=node.text, failed=True)
    return replace(node, text=text, written=node.text if "${" in node.text else None)
