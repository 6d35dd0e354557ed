"""The tables of a run."""

from __future__ import annotations

from collections import Counter

from chaos import report
from chaos.ledger import Verdict
from chaos.run import Outcome
from chaos.schedule import Kind

OUTCOME = Outcome(
    "redis",
    7,
    faults=Counter({Kind.CUT: 3}),
    recoveries={Kind.CUT: [0.1, 0.3, 0.2]},
    verdict=Verdict(3, 2, ("late-1",), (), (), (), (), ()),
    stray_keys=Counter({"unacked:web-N": 2}),
)


def test_a_table_names_what_is_lost_and_how_long_recovery_took() -> None:
    text = "\n".join(report.table([OUTCOME]))
    for line in ("| faults | 3 |", "| recovered, p50, s | 0.20 |", "| recovered, p99, s | 0.30 |"):
        assert line in text
    assert "| late acks: **lost** | 1 |" in text
    assert "| stray names in the broker | unacked:web-N × 2 |" in text


def test_each_fault_that_came_has_a_line() -> None:
    assert list(report.recoveries([OUTCOME]))[2:] == ["| all connections cut | 3 | 0.20 | 0.30 |"]


def test_the_file_says_what_failed() -> None:
    text = report.markdown([OUTCOME], {"date": "today"})
    assert "- date: today" in text
    assert "- redis: 1 tasks that acknowledge late are lost: late-1" in text
