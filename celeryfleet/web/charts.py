"""How many tasks ended over some time, and how long they waited and ran: counted in the ledger, for charts."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.history import percentiles

if TYPE_CHECKING:
    from celeryfleet.ledger.read import Ledger

#: seconds in all, and of each step
SPANS = {"15m": (900, 15), "24h": (86_400, 300)}
#: tasks of one look at most whose times are looked at, evenly over all
_SAMPLES = 50_000
#: seconds by which a task may be told late; charts that are remembered
_LATE, _KEPT = 10, 50


class Charts:
    """Remembers steps that are over, so that only the latest are counted again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}

    def chart(self, ledger: Ledger, span: str, queue: str, now: float) -> dict[str, Any]:
        """Return a point for each step of time that is over. Raises FleetError for a span that there is not."""
        if span not in SPANS:
            raise FleetError(f"there is no chart over {span}.")
        seconds, step = SPANS[span]
        last = int(now // step)
        first = last - seconds // step
        if len(self._known) > _KEPT:
            self._known.clear()
        known = self._known.get((span, queue), {})
        begin = max(first, max(known, default=0) - _LATE // step)
        points = {at: point for at, point in known.items() if at >= first} | _counted(ledger, begin, last, step, queue)
        self._known[span, queue] = points
        shown = [points[at] for at in range(first, last)]
        return {"span": span, "step_s": step, "points": shown, "count": round(sum(p["done_s"] for p in shown) * step)}


def _counted(ledger: Ledger, begin: int, end: int, step: int, queue: str) -> dict[int, dict[str, Any]]:
    """Return the point of each step from one to another."""
    counts = {at: (done, wrong) for at, done, wrong in ledger.counts(begin * step, step, queue)}
    waits, runs = defaultdict[int, list[float | None]](list), defaultdict[int, list[float | None]](list)
    for at, waited, ran in ledger.samples(begin * step, step, queue, _SAMPLES):
        waits[at].append(waited)
        runs[at].append(ran)
    found = {}
    for at in range(end - begin):
        done, wrong = counts.get(at, (0, 0))
        times = {"wait": percentiles(waits[at]), "run": percentiles(runs[at])}
        found[begin + at] = {"at": (begin + at + 1) * step, "done_s": done / step, "failed_s": wrong / step, **times}
    return found
