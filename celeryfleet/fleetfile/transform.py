"""One tree made of another: an override laid over it, its `${VAR}` replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celeryfleet.errors import Problem
from celeryfleet.fleetfile.cursor import subject
from celeryfleet.fleetfile.tree import Entry, MappingNode, Node, Path, ScalarNode, SequenceNode, is_null
from celeryfleet.fleetfile.variables import LARGEST, VariableError, interpolate


def overridden(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """Lay fleet.override.yaml over fleet.yaml, as compose does.

    Mappings are merged, key by key; everything else is replaced, but that the override's routes go before the base's,
    and nothing written under a key changes nothing where the base has a mapping.
    """
    if isinstance(base, SequenceNode) and isinstance(over, SequenceNode) and path == ("routes",):
        return replace(over, items=over.items + base.items)
    if path == ("broker",) and isinstance(over, MappingNode) != isinstance(base, MappingNode):
        base, over = _as_broker(base), _as_broker(over)
    if not isinstance(base, MappingNode):
        return over
    if not isinstance(over, MappingNode):
        return base if is_null(over) else over
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        if key in entries:
            merged = overridden(entries[key].node, entry.node, (*path, key))
            mark = entries[key].mark if merged is entries[key].node or isinstance(merged, MappingNode) else entry.mark
            entries[key] = Entry(mark, merged)
        else:
            entries[key] = entry
    return replace(base, entries=entries)


def _as_broker(node: Node) -> Node:
    """A broker that is text alone is its URL."""
    if isinstance(node, ScalarNode) and not is_null(node):
        return MappingNode({"url": Entry(node.mark, node)}, node.mark)
    return node


def interpolated(node: Node, variables: Mapping[str, str], problems: list[Problem]) -> Node:
    """Return the tree with its texts interpolated; a key is never touched."""
    return _Interpolation(variables, problems).of(node, ())


@dataclass
class _Interpolation:
    """Goes through a tree once."""

    variables: Mapping[str, str]
    problems: list[Problem]
    #: characters that all texts together may still grow to
    room: int = LARGEST

    def of(self, node: Node, path: Path) -> Node:
        match node:
            case ScalarNode():
                return self._scalar(node, path) if "$" in node.text else node
            case SequenceNode():
                return replace(node, items=tuple(self.of(item, (*path, i)) for i, item in enumerate(node.items)))
            case MappingNode():
                return replace(
                    node,
                    entries={
                        k: Entry(entry.mark, self.of(entry.node, (*path, k))) for k, entry in node.entries.items()
                    },
                )

    def _scalar(self, node: ScalarNode, path: Path) -> ScalarNode:
        try:
            text = interpolate(node.text, self.variables, self.room)
        except VariableError as error:
            self.problems.append(Problem(f"{subject(path)} {error}.", str(node.mark), error.hint))
            return replace(node, written=node.text, failed=True)
        self.room -= len(text)
        return replace(node, text=text, written=node.text if "${" in node.text else None)
