"""One tree made of another: an override laid over it, its `${VAR}` replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from celeryfleet.errors import Problem
from celeryfleet.fleetfile.cursor import subject
from celeryfleet.fleetfile.tree import Entry, MappingNode, Node, Path, ScalarNode, SequenceNode, is_null
from celeryfleet.fleetfile.variables import VariableError, interpolate


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
