"""Rows and tracks for lines that leave one column and enter the next: no two lines ever lie upon each other.

Each line is a net: it leaves at one row, goes up and down on one track, and enters at its ports. Where a net's port
lies on the row at which another net leaves, the other's track must be to the left, or both would use the same cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Port:
    """Where a net enters."""

    row: int
    #: what stands on the line there
    label: str = ""
    dashed: bool = False


@dataclass(slots=True)
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
        while row in self._leaving or self._circular([(row, name, self.entering.get(row))]):
            row += 1
        self.nets[name] = Net(name, row)
        self._leaving[row] = name
        return row

    def enter(self, names: Sequence[str], row: int) -> int:
        """Find the first row from this one on where these nets can enter, one below the other."""
        while self._circular([(row + at, self._leaving.get(row + at), name) for at, name in enumerate(names)]):
            row += 1
        for at, name in enumerate(names):
            self.entering[row + at] = name
        return row

    def _circular(self, more: Iterable[tuple[int, str | None, str | None]]) -> bool:
        """Tell whether these rows, left by the one net and entered by the other, would put nets in a circle."""
        found: list[tuple[str | None, str | None]] = [
            (self._leaving.get(row), name) for row, name in self.entering.items()
        ]
        found += [(left, right) for _, left, right in more]
        rights: dict[str, set[str]] = {}
        for left, right in found:
            if left is not None and right is not None and left != right:
                rights.setdefault(left, set()).add(right)
        return _has_circle(rights)

    def settle(self) -> int:
        """Give out the tracks so that few lines cross; return how many there are."""
        nets = _ordered([net for net in self.nets.values() if not net.straight])
        for index, net in enumerate(nets):
            beside = [other.track for other in nets[:index] if other.top <= net.bottom and net.top <= other.bottom]
            net.track = max(beside, default=-1) + 1
        return max((net.track for net in nets), default=-1) + 1


def _has_circle(rights: dict[str, set[str]]) -> bool:
    done: set[str] = set()

    def reaches_itself(name: str, above: frozenset[str]) -> bool:
        if name in above:
            return True
        if name in done:
            return False
        found = any(reaches_itself(other, above | {name}) for other in rights.get(name, ()))
        done.add(name)
        return found

    return any(reaches_itself(name, frozenset()) for name in rights)


# --- Tracks -----------------------------------------------------------------------------------------------

#: crossings that an order is worse than any other by, which would lay lines upon each other
_NEVER = 1_000_000


def _cost(left: Net, right: Net) -> int:
    """Count what crosses if the one net's track is left of the other's."""
    if any(port.row == right.row for port in left.ports):
        return _NEVER
    return left.spans(right.row) + sum(right.spans(port.row) for port in left.ports)


def _ordered(nets: list[Net]) -> list[Net]:
    """Order the tracks from left to right: first one that is allowed, then each net moved to its best place."""
    order = _allowed(nets)
    better = True
    while better:
        better = False
        for net in list(order):
            index = order.index(net)
            rest = order[:index] + order[index + 1 :]
            costs = _costs(net, rest)
            place = min(range(len(costs)), key=lambda at: (costs[at], abs(at - index)))
            if costs[place] < costs[index]:
                order = [*rest[:place], net, *rest[place:]]
                better = True
    return order


def _costs(net: Net, rest: Sequence[Net]) -> list[int]:
    """Return what it costs to put a net at each place among the others."""
    cost = sum(_cost(net, other) for other in rest)
    costs = [cost]
    for other in rest:
        cost += _cost(other, net) - _cost(net, other)
        costs.append(cost)
    return costs


def _allowed(nets: list[Net]) -> list[Net]:
    order: list[Net] = []
    left = list(nets)
    while left:
        free = next(net for net in left if not any(_cost(net, other) >= _NEVER for other in left if other is not net))
        left.remove(free)
        order.append(free)
    return order
