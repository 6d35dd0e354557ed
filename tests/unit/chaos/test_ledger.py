"""The ledger and the verdict: what counts as lost, left, cut short and doubled."""

from __future__ import annotations

from pathlib import Path

from chaos.ledger import Ledger, judge
from chaos.run import Outcome


def ledger(path: Path, *lines: str) -> Ledger:
    path.write_text("".join(f"{line} web-1 1 0.0\n" for line in lines))
    found = Ledger(path)
    found.read()
    return found


def test_each_task_is_counted_as_what_became_of_it(tmp_path: Path) -> None:
    done = ("begin late-1", "end late-1", "begin early-2", "end early-2")
    twice = ("begin late-3", "begin late-3", "end late-3", "end late-3")
    found = ledger(tmp_path / "ledger", *done, *twice, "begin early-5")
    sent = ("late-1", "early-2", "late-3", "late-4", "early-5", "early-6", "late-7", "early-8")
    verdict = judge(sent, found, kept={"late-7", "early-8"})
    assert (verdict.sent, verdict.done) == (8, 3)
    assert verdict.lost == ("late-4",)
    assert verdict.left == ("late-7", "early-8")
    assert verdict.cut_short == ("early-5",)
    assert verdict.not_begun == ("early-6",)
    assert (verdict.doubled_late, verdict.doubled_early) == (("late-3",), ())


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    found = Ledger(path)
    assert not found.read()
    path.write_text("begin late-1 web-1 1 0.0\nend la")
    assert found.read()
    assert not found.read()
    with path.open("a") as file:
        file.write("te-1 web-1 1 0.0\n")
    assert found.read()
    assert found.ended["late-1"] == 1


def test_a_run_fails_by_lost_left_and_orphaned_not_by_doubled(tmp_path: Path) -> None:
    found = ledger(tmp_path / "ledger", "begin late-1", "end late-1", "end late-1")
    fine = Outcome("redis", 7, verdict=judge(["late-1"], found, set()))
    assert fine.failures() == []
    bad = Outcome("redis", 7, verdict=judge(["late-1", "late-2", "late-3"], found, {"late-3"}), orphans=["12 worker"])
    assert bad.failures() == [
        "1 tasks that acknowledge late are lost: late-2",
        "1 tasks are still in the broker: late-3",
        "1 processes are left: 12 worker",
    ]
    assert Outcome("redis", 7).failures() == ["it did not come to its end"]
