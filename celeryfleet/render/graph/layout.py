"""Layers of nodes: their order with few crossing lines, and their places side by side; knows nothing of fleets."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from itertools import pairwise

#: times that the layers are gone through to and fro
_SWEEPS = 12

#: the ids of a layer's nodes, in their order
Layer = Sequence[str]
Line = tuple[str, str]


def arrange(layers: Sequence[Layer], lines: Sequence[Line]) -> list[list[str]]:
    """Order each layer by the barycentre of its neighbours; lines lead from a layer to the next.

    The order that is given stays wherever another would cross no fewer lines.
    """
    best = [list(layer) for layer in layers]
    least = crossings(best, lines)
    order = [list(layer) for layer in layers]
    before, after = _neighbours(lines)
    for sweep in range(_SWEEPS):
        if not least:
            break
        forth = sweep % 2 == 0
        indices = range(1, len(order)) if forth else range(len(order) - 2, -1, -1)
        for index in indices:
            fixed = order[index - 1 if forth else index + 1]
            order[index] = _by_barycentre(order[index], fixed, before if forth else after)
        found = crossings(order, lines)
        if found < least:
            best, least = [list(layer) for layer in order], found
    return best


def _neighbours(lines: Sequence[Line]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for start, end in lines:
        before.setdefault(end, []).append(start)
        after.setdefault(start, []).append(end)
    return before, after


def _by_barycentre(layer: Layer, fixed: Layer, neighbours: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort a layer; a node without neighbours stays behind the one it stood behind."""
    places = {name: place for place, name in enumerate(fixed)}
    keys: dict[str, float] = {}
    last = -1.0
    for name in layer:
        near = [places[other] for other in neighbours.get(name, ()) if other in places]
        if near:
            keys[name] = last = sum(near) / len(near)
        else:
            keys[name] = last
    return sorted(layer, key=lambda name: keys[name])


def crossings(layers: Sequence[Layer], lines: Sequence[Line]) -> int:
    """Count the pairs of lines between neighbouring layers that cross."""
    total = 0
    for left, right in pairwise(layers):
        starts = {name: place for place, name in enumerate(left)}
        ends = {name: place for place, name in enumerate(right)}
        seen: list[int] = []
        for _, end in sorted((starts[a], ends[b]) for a, b in lines if a in starts and b in ends):
            total += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return total


def centres(
    layers: Sequence[Layer], lines: Sequence[Line], heights: Mapping[str, float], gap: float
) -> dict[str, float]:
    """Place the middle of every node on the other axis: near its neighbours', none nearer to the next than `gap`."""
    places: dict[str, float] = {}
    for layer in layers:
        at = 0.0
        for name in layer:
            places[name] = at + heights[name] / 2
            at += heights[name] + gap
    before, after = _neighbours(lines)
    both = {name: [*before.get(name, ()), *after.get(name, ())] for name in places}
    for sweep in range(_SWEEPS):
        wanted = (before, after, both)[sweep % 3]
        for layer in layers if sweep % 2 == 0 else list(layers)[::-1]:
            _settle(layer, places, wanted, heights, gap)
    # The layer that has least room stays as it is, and the others lie down beside it: so most lines are straight.
    fullest = max(range(len(layers)), key=lambda at: sum(heights[name] + gap for name in layers[at]), default=0)
    for layer in layers[fullest + 1 :]:
        _settle(layer, places, before, heights, gap)
    for layer in list(layers[:fullest])[::-1]:
        _settle(layer, places, after, heights, gap)
    return _closed_up(places, heights, gap)


def _closed_up(places: Mapping[str, float], heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Begin at 0, and leave no strip empty that is wider than the gap between two nodes."""
    closed: dict[str, float] = {}
    end = shift = 0.0
    for name in sorted(places, key=lambda name: places[name] - heights[name] / 2):
        top = places[name] - heights[name] / 2 - shift
        if not closed:
            shift, top = top, 0.0
        elif top > end + gap:
            shift, top = shift + top - end - gap, end + gap
        closed[name] = top + heights[name] / 2
        end = max(end, top + heights[name])
    return {name: closed[name] for name in places}


def _settle(
    layer: Layer,
    places: dict[str, float],
    neighbours: Mapping[str, Sequence[str]],
    heights: Mapping[str, float],
    gap: float,
) -> None:
    """Move a layer's nodes to the mean of their neighbours, as near as their order and sizes allow.

    Nodes that would overlap are joined to a block, which goes to the mean of what its nodes want.
    """
    offsets: list[float] = []
    at = 0.0
    for name in layer:
        offsets.append(at + heights[name] / 2)
        at += heights[name] + gap
    blocks: list[tuple[float, int]] = []  # what they want on average, and how many they are
    for name, offset in zip(layer, offsets, strict=True):
        near = [places[other] for other in neighbours.get(name, ()) if other in places]
        wish = (sum(near) / len(near) if near else places[name]) - offset
        size = 1
        while blocks and blocks[-1][0] > wish:
            other, count = blocks.pop()
            wish = (other * count + wish * size) / (count + size)
            size += count
        blocks.append((wish, size))
    shifts = [wish for wish, size in blocks for _ in range(size)]
    for name, offset, shift in zip(layer, offsets, shifts, strict=True):
        places[name] = offset + shift
