"""What was measured: figures by measurement and by what was measured; knows nothing of how."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a figure is about."""

    #: the measurement: "start of 16 pools"
    measure: str
    #: who was measured: "honcho, lean"
    subject: str


@dataclass(slots=True)
class Samples:
    """All figures of a run, in the order in which they came."""

    values: dict[Key, list[float]] = field(default_factory=dict)

    def add(self, measure: str, subject: str, value: float) -> None:
        """Keep one figure."""
        self.values.setdefault(Key(measure, subject), []).append(value)

    def median(self, key: Key) -> float | None:
        """Return the middle figure; None: there is none."""
        return median(self.values[key]) if key in self.values else None
