"""Rows and tracks for lines that leave one column and enter the next: no two lines ever lie upon each other.

Each line is a net: it leaves at one row, goes up and down on one track, and enters at its ports. Where a net's port
lies on the row at which another net leaves, the other's track must be to the left, or both would use the same cells.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter

#: times that the two columns are sorted by each other
_SWEEPS = 6
#: crossings that no order has: two lines would lie upon each other
_NEVER = 1_000_000


@dataclass(frozen=True, slots=True)
class Port:
    """Where a net enters."""

    row: int
    #: what stands on the line there
    label: str = ""
    dashed: bool = False


@dataclass(slots=True, eq=False)
class Net:
    """A line from one row to some."""

    name: str
    row: int
    ports: list[Port] = field(default_factory=list)
    #: counted from the left; meaningless if it goes straight
    track: int = 0

    @property
    def straight(self) -> bool:
        """Tell whether it needs no track."""
        return all(port.row == self.row for port in self.ports)

    @property
    def top(self) -> int:
        """Return its first row."""
        return min([self.row, *(port.row for port in self.ports)])

    @property
    def bottom(self) -> int:
        """Return its last row."""
        return max([self.row, *(port.row for port in self.ports)])

    def spans(self, row: int) -> bool:
        """Tell whether it goes through a row."""
        return self.top <= row <= self.bottom


class Channel:
    """The nets between two columns, while their rows are being given out."""

    def __init__(self) -> None:
        self.nets: dict[str, Net] = {}
        #: which net enters at a row
        self.entering: dict[int, str] = {}
        self._leaving: dict[int, str] = {}

    def leave(self, name: str, row: int) -> int:
        """Let a net leave at the first row from this one on where it can; return the row."""
        while row in self._leaving or (row in self.entering and not self._drawable([(name, self.entering[row])])):
            row += 1
        self.nets[name] = Net(name, row)
        self._leaving[row] = name
        return row

    def enter(self, names: Sequence[str], row: int) -> int:
        """Find the first row from this one on where these nets can enter, one below the other."""
        while not self._drawable([(self._leaving.get(row + at), name) for at, name in enumerate(names)]):
            row += 1
        self.entering |= {row + at: name for at, name in enumerate(names)}
        return row

    def _drawable(self, more: Iterable[tuple[str | None, str]]) -> bool:
        """Tell whether there is an order of the tracks, if these nets too leave and enter at the same row."""
        try:
            self._sorter(more).prepare()
        except CycleError:
            return False
        return True

    def _sorter(self, more: Iterable[tuple[str | None, str]] = ()) -> TopologicalSorter[str]:
        sorter = TopologicalSorter(dict.fromkeys(self.nets, ()))
        for left, right in [*((self._leaving.get(row), name) for row, name in self.entering.items()), *more]:
            if left is not None and left != right:
                sorter.add(right, left)
        return sorter

    def settle(self) -> int:
        """Give out the tracks so that few lines cross; return how many there are."""
        allowed = [self.nets[name] for name in self._sorter().static_order()]
        nets = _improved([net for net in allowed if not net.straight])
        for index, net in enumerate(nets):
            beside = [other.track for other in nets[:index] if other.top <= net.bottom and net.top <= other.bottom]
            net.track = max(beside, default=-1) + 1
        return max((net.track for net in nets), default=-1) + 1


# --- Tracks -----------------------------------------------------------------------------------------------


def _cost(left: Net, right: Net) -> int:
    """Count what crosses if the one net's track is left of the other's."""
    if any(port.row == right.row for port in left.ports):
        return _NEVER
    return left.spans(right.row) + sum(right.spans(port.row) for port in left.ports)


def _improved(order: list[Net]) -> list[Net]:
    """Order the tracks from left to right, each net moved to its best place until none has a better one."""
    cost = cache(_cost)
    better = True
    while better:
        better = False
        for net in list(order):
            index = order.index(net)
            rest = order[:index] + order[index + 1 :]
            costs = [sum(cost(net, other) for other in rest)]
            for other in rest:  # what it costs to stand behind this one, too
                costs.append(costs[-1] + cost(other, net) - cost(net, other))
            place = min(range(len(costs)), key=lambda at: (costs[at], abs(at - index)))
            if costs[place] < costs[index]:
                order = [*rest[:place], net, *rest[place:]]
                better = True
    return order


# --- The order of a column --------------------------------------------------------------------------------


def untangled(names: Sequence[str], ends: Mapping[str, Sequence[str]]) -> list[str]:
    """Order names so that few of the lines to their ends cross; `ends` says which names lead to each.

    The order that is given stays wherever another would cross no fewer lines.
    """
    starts: dict[str, list[str]] = {}
    for end, leading in ends.items():
        for name in leading:
            starts.setdefault(name, []).append(end)
    left, right = list(names), list(ends)
    best, least = left, crossings(left, right, ends)
    for sweep in range(2 * _SWEEPS):
        if not least:
            break
        if sweep % 2 == 0:
            right = _by_middle(right, left, ends)
        else:
            left = _by_middle(left, right, starts)
        found = crossings(left, right, ends)
        if found < least:
            best, least = left, found
    return best


def _by_middle(column: Sequence[str], other: Sequence[str], lines: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort a column by the mean place of what its lines lead to; one without stays behind the one before it."""
    places = {name: place for place, name in enumerate(other)}
    keys: dict[str, float] = {}
    last = -1.0
    for name in column:
        near = [places[end] for end in lines.get(name, ())]
        keys[name] = last = sum(near) / len(near) if near else last
    return sorted(column, key=keys.__getitem__)


def crossings(left: Sequence[str], right: Sequence[str], ends: Mapping[str, Sequence[str]]) -> int:
    """Count the pairs of lines that cross."""
    starts = {name: place for place, name in enumerate(left)}
    total = 0
    seen: list[int] = []
    for _, place in sorted((starts[name], place) for place, end in enumerate(right) for name in ends[end]):
        total += len(seen) - bisect_right(seen, place)
        insort(seen, place)
    return total
