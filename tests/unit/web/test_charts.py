"""What charts are made of, counted in a real ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import TOLD
from celeryfleet.ledger.read import Ledger
from celeryfleet.ledger.store import Store
from celeryfleet.web.charts import Charts

#: a step of each span begins now
NOW = 1_700_000_100.0


def row(number: int, ago: float, waited: int, ran: int, **changes: Any) -> list[Any]:
    """Return a task that ended so many seconds ago; `waited` and `ran` are milliseconds."""
    ended = int((NOW - ago) * 1000)
    known = {
        "id": str(number), "task": "shop.add", "queue": "mail", "state": "succeeded", "retries": 0, "late": 0,
        "sent": ended - ran - waited, "started": ended - ran, "ended": ended, "runtime": ran,
    }  # fmt: skip
    return [{**known, **changes}.get(name) for name in TOLD]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Keep twenty tasks of the last step but one, one that failed since, and one of an hour ago."""
    store = Store(str(tmp_path / "ledger"), 86_400, 1 << 30)
    old = row(0, 3600, 1, 1)
    rows = [row(n, 20, n * 100, 50, queue="low" if n % 2 else "mail") for n in range(1, 21)]
    bad = row(99, 5, 0, 1000, state="failed", sent=None)
    store.write([("web-1", [old, *rows, bad])])
    store.close()
    return Ledger(str(tmp_path / "ledger"))


def test_a_step_has_its_rate_and_the_percentiles_of_wait_and_run(ledger: Ledger) -> None:
    found = Charts().chart(ledger, "15m", "", NOW)
    assert (len(found["points"]), found["step_s"], found["count"]) == (60, 15, 21)
    *rest, before, last = found["points"]
    assert all(point["done_s"] == 0 and point["wait"] is None for point in rest)
    assert (before["done_s"], before["failed_s"]) == (20 / 15, 0)
    assert before["wait"] == [1.05, 1.905]
    assert before["run"] == [0.05, 0.05]
    assert (last["done_s"], last["failed_s"], last["wait"], last["run"]) == (1 / 15, 1 / 15, None, [1.0, 1.0])
    assert last["at"] == NOW
    ledger.close()


def test_a_chart_is_of_all_queues_or_one_and_of_a_day(ledger: Ledger) -> None:
    assert Charts().chart(ledger, "15m", "low", NOW)["count"] == 10
    assert Charts().chart(ledger, "24h", "", NOW)["count"] == 22
    with pytest.raises(FleetError, match="no chart over 2h"):
        Charts().chart(ledger, "2h", "", NOW)
    ledger.close()


def test_a_sample_is_spread_evenly_over_all(ledger: Ledger) -> None:
    assert len(list(ledger.samples(NOW - 900, 15, "", 100))) == 21
    assert 4 <= len(list(ledger.samples(NOW - 900, 15, "", 5))) <= 6
    ledger.close()


def test_steps_that_are_over_are_remembered_and_the_latest_counted_again(ledger: Ledger, tmp_path: Path) -> None:
    charts = Charts()
    before = charts.chart(ledger, "15m", "", NOW)
    store = Store(str(tmp_path / "ledger"), 86_400, 1 << 30)
    store.write([("web-1", [row(100, 600, 1, 1), row(101, -5, 1, 1)])])
    store.close()
    after = charts.chart(ledger, "15m", "", NOW + 15)
    assert after["points"][:-1] == before["points"][1:], "what comes ten minutes late is left out"
    assert after["points"][-1]["done_s"] == 1 / 15
    ledger.close()
