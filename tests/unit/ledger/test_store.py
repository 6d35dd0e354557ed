"""The ledger's file: what is written is read, it stays within its bounds, and damage is no end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import TOLD, Entry
from celeryfleet.ledger.read import Ledger
from celeryfleet.ledger.store import Store
from celeryfleet.worker_protocol import Ran

NOW = 1_800_000_000_000


def told(task_id: str, state: str, **values: Any) -> list[Any]:
    """Return a row as a worker tells it."""
    usual = {"id": task_id, "task": "shop.add", "queue": "mail", "state": state, "retries": 0, "late": 0, "sent": NOW}
    whole = {**usual, "received": NOW, **values}
    return [whole.get(name) for name in TOLD]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    store = Store(path, keep=3600, max_size=50_000_000)
    yield store
    store.close()


def write(store: Store, *rows: list[Any], worker: str = "web-1") -> int:
    return store.write([(worker, rows)])


def test_a_task_that_has_ended_is_found_with_all_that_was_told(store: Store, path: str) -> None:
    row = told("a", "failed", started=NOW + 500, ended=NOW + 2500, runtime=2000, error="ValueError: no", message="{}")
    write(store, row)
    with Ledger(path) as ledger:
        found = ledger.find("a")
        assert found == Entry("web-1", *row)
        assert (found.wait_s, found.runtime_s) == (0.5, 2.0)
        assert ledger.find("b") is None
        assert ledger.held() == []


def test_the_tasks_of_a_canvas_are_found_from_each_of_them(store: Store, path: str) -> None:
    """A group that a client sends has no root; the body of a chord is led to by the last of its header."""
    write(
        store,
        told("a", "succeeded", ended=NOW, group_id="g", received=NOW),
        told("b", "retrying", ended=NOW, group_id="g", received=NOW + 1),
        told("b", "succeeded", ended=NOW, group_id="g", received=NOW + 1, retries=1),
        told("alone", "succeeded", ended=NOW),
        told("body", "succeeded", ended=NOW, root="b", parent="b", received=NOW + 2),
        told("next", "running", started=NOW, root="b", parent="body", received=NOW + 3),
    )
    with Ledger(path) as ledger:
        for name in ("a", "b", "body", "next"):
            one = ledger.find(name)
            assert one
            assert [(each.id, each.state) for each in ledger.canvas(one, 100)] == [
                ("a", "succeeded"),
                ("b", "succeeded"),
                ("body", "succeeded"),
                ("next", "running"),
            ], name
        alone = ledger.find("alone")
        assert alone
        assert [each.id for each in ledger.canvas(alone, 100)] == ["alone"]


def test_a_task_is_held_until_it_has_ended(store: Store, path: str) -> None:
    write(store, told("a", "taken"), told("b", "taken"))
    write(store, told("a", "running", started=NOW))
    with Ledger(path) as ledger:
        assert [(one.id, one.state) for one in ledger.held()] == [("a", "running"), ("b", "taken")]
        assert [one.id for one in ledger.held("taken")] == ["b"]
        write(store, told("a", "succeeded", ended=NOW))
        assert [one.id for one in ledger.held()] == ["b"]
        assert [one.state for one in ledger.ended(0)] == ["succeeded"]


def test_a_retry_that_is_told_of_late_does_not_hide_the_try_that_came_of_it(store: Store, path: str) -> None:
    write(store, told("a", "running", retries=1, started=NOW), worker="web-2")
    write(store, told("a", "retrying", retries=1, eta=NOW))
    with Ledger(path) as ledger:
        assert ledger.held()[0].state == "running"
        write(store, told("a", "succeeded", retries=1, ended=NOW), worker="web-2")
        write(store, told("a", "retrying", retries=1, eta=NOW))
        found = ledger.find("a")
        assert found is not None
        assert found.state == "succeeded"


def test_what_a_try_has_failed_of_is_known_while_the_next_one_is_held(store: Store, path: str) -> None:
    write(store, told("a", "retrying", retries=1, eta=NOW, error="ValueError: no", max_retries=3))
    write(store, told("a", "scheduled", retries=1, eta=NOW))
    with Ledger(path) as ledger:
        found = ledger.find("a")
        assert found is not None
        assert (found.state, found.error, found.max_retries) == ("scheduled", "ValueError: no", 3)


def test_of_a_worker_that_is_gone_what_ran_is_lost_or_waits_and_what_did_not_run_waits(store: Store, path: str) -> None:
    write(
        store,
        told("early", "running", started=NOW),
        told("late", "running", started=NOW, late=1),
        told("over", "running", started=NOW),
        told("ahead", "taken"),
        told("again", "retrying", retries=1, eta=NOW),
    )
    write(store, told("elsewhere", "running", started=NOW), worker="web-2")
    untold = [Ran("untold", "shop.mul", late=False), Ran("late, untold", "shop.mul", late=True)]
    store.gone("web-1", [Ran("early", "shop.add", late=False), Ran("late", "shop.add", late=True), *untold], NOW + 1)
    with Ledger(path) as ledger:
        states = {one.id: one.state for one in (*ledger.held(), *ledger.held("unknown"), *ledger.ended(0))}
        assert states == {
            "early": "lost",
            "untold": "lost",
            "late": "waiting",
            "late, untold": "waiting",
            "ahead": "waiting",
            "over": "unknown",
            "again": "retrying",
            "elsewhere": "running",
        }
        lost = ledger.find("early")
        assert lost is not None
        assert (lost.ended, lost.error) == (NOW + 1, "its worker ended while it ran")


def test_after_a_supervisor_that_ended_before_its_workers_nobody_knows_what_they_held(store: Store, path: str) -> None:
    write(store, told("a", "running", started=NOW), told("b", "retrying", retries=1, eta=NOW))
    store.abandon()
    with Ledger(path) as ledger:
        assert {one.id: one.state for one in ledger.held("unknown", "retrying")} == {"a": "unknown", "b": "retrying"}


@pytest.mark.parametrize(
    "row",
    [["a"], told("a", "succeeded", started="soon"), told("a", "failed", error=["x"]), [None, *told("a", "x")[1:]], "a"],
)
def test_a_row_that_makes_no_sense_is_left_out_and_counted(store: Store, path: str, row: Any) -> None:
    assert write(store, row, told("b", "succeeded", ended=NOW)) == 1
    with Ledger(path) as ledger:
        assert [one.id for one in ledger.ended(0)] == ["b"]


def test_what_is_too_old_is_removed(store: Store, path: str) -> None:
    hour = 3_600_000
    write(store, told("old", "taken", sent=NOW - 2 * hour, received=NOW - 2 * hour))
    write(store, *(told(f"{number}", "succeeded", ended=NOW - 2 * hour) for number in range(15_000)))
    write(store, told("new", "succeeded", ended=NOW))
    assert store.trim(NOW)
    assert not store.trim(NOW)
    with Ledger(path) as ledger:
        assert [one.id for one in ledger.ended(0)] == ["new"]
        assert ledger.held() == []


def test_the_file_stays_within_its_size(path: str) -> None:
    store = Store(path, keep=3600, max_size=2_000_000)
    for start in range(0, 60_000, 5000):
        write(store, *(told(f"{number}", "succeeded", ended=NOW + number) for number in range(start, start + 5000)))
        while store.trim(NOW):
            pass
    assert store.size <= 2_000_000
    assert Path(path).stat().st_size < 4_000_000
    with Ledger(path) as ledger:
        assert ledger.ended(0, limit=1)[0].id == "59999"
    store.close()


def test_of_large_messages_only_as_many_are_removed_as_are_too_much(path: str) -> None:
    """Ten thousand rows were removed at once, which was all that a file of 200 MB had of tasks that had failed."""
    store = Store(path, keep=3600, max_size=2_000_000)
    write(store, *(told(f"{number}", "failed", ended=NOW, message="x" * 60_000) for number in range(40)))
    while store.trim(NOW):
        pass
    assert store.size <= 2_000_000
    with Ledger(path) as ledger:
        assert len(ledger.ended(0)) > 20
    store.close()


def test_a_file_that_is_damaged_inside_is_told_by_who_reads_it_and_begun_anew_by_who_writes_it(path: str) -> None:
    """Each command that read it ended with a traceback, from then on for ever."""
    store = Store(path, keep=3600, max_size=50_000_000)
    write(store, *(told(f"{number}", "succeeded", ended=NOW) for number in range(1000)))
    store.close()
    with Path(path).open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 65536)
    with Ledger(path) as ledger, pytest.raises(FleetError, match="cannot be used: database disk image is malformed"):
        ledger.ended(0)
    store = Store(path, keep=3600, max_size=50_000_000)
    assert store.discarded
    write(store, told("a", "succeeded", ended=NOW))
    with Ledger(path) as ledger:
        assert [one.id for one in ledger.ended(0)] == ["a"]
    store.close()


@pytest.mark.parametrize("damage", [b"x" * 10_000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_file_is_begun_anew(path: str, damage: bytes) -> None:
    Path(path).write_bytes(damage)
    store = Store(path, keep=3600, max_size=2_000_000)
    write(store, told("a", "succeeded", ended=NOW))
    with Ledger(path) as ledger:
        assert ledger.find("a") is not None
    store.close()
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_opened_now_is_not_damaged(store: Store, path: str) -> None:
    """It was removed with all that it knew, where another process had locked it or the disk was full."""
    write(store, told("a", "succeeded", ended=NOW))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            Store(path, keep=3600, max_size=2_000_000)
    with Ledger(path) as ledger:
        assert ledger.find("a") is not None


def test_a_file_that_is_not_there_is_empty(path: str) -> None:
    with Ledger(path) as ledger:
        assert (ledger.find("a"), ledger.held(), ledger.ended(0), ledger.rates(10)) == (None, [], [], {})
        assert (ledger.starting_with("a"), list(ledger.times(0))) == ([], [])
    assert not Path(path).exists()


def test_the_latest_are_found_without_a_look_at_all(store: Store, path: str) -> None:
    write(store, *(told(f"{number}", "succeeded", ended=NOW + number * 1000) for number in range(1000)))
    with Ledger(path) as ledger:
        since = (NOW + 990_000) / 1000
        assert [one.id for one in ledger.ended(since)] == [str(number) for number in range(999, 989, -1)]
        assert ledger.rates(10, now=(NOW + 999_000) / 1000) == {"mail": 1.1}
        assert len(list(ledger.times(since))) == 10
        assert ledger.ended(0, task="shop.m*") == []


def test_a_rate_is_that_since_the_work_began_not_since_a_minute_ago(store: Store, path: str) -> None:
    """Of a queue that was resumed three seconds ago it was said that it needs twenty times as long."""
    write(
        store, *(told(f"{one}", "succeeded", started=NOW + one * 20, ended=NOW + one * 20 + 20) for one in range(150))
    )
    write(store, *(told(f"l{one}", "succeeded", queue="low", started=NOW, ended=NOW + 30_000) for one in range(2)))
    with Ledger(path) as ledger:
        assert ledger.rates(60, now=(NOW + 3000) / 1000)["mail"] == 50
        assert ledger.rates(60, now=(NOW + 40_000) / 1000)["low"] == 0.05
        assert ledger.rates(60, now=(NOW + 80_000) / 1000)["low"] == 2 / 60


def test_a_task_is_sent_again_once_unless_that_is_wanted(store: Store, path: str) -> None:
    write(store, told("a", "failed", ended=NOW))
    with Ledger(path) as ledger:
        (fresh,) = ledger.ended(0)
        assert ledger.claim("a", "b")
        assert not ledger.claim("a", "c")
        (sent,) = ledger.ended(0)
        assert sent.retried_as == "b"
        assert ledger.retry_of("b") == "a"
        assert ledger.claim("a", "c", again=True)
        ledger.unclaim(sent)
        assert not ledger.claim("a", "d"), "it was sent as b"
        ledger.unclaim(fresh)
        assert ledger.claim("a", "d")


def test_of_what_failed_and_came_again_the_latest_end_counts(store: Store, path: str) -> None:
    write(store, *(told(one, "lost", ended=NOW) for one in ("again", "runs", "stays")))
    write(store, told("other", "failed", ended=NOW + 1000))
    write(store, told("again", "succeeded", ended=NOW + 1), told("runs", "running", started=NOW + 1))
    with Ledger(path) as ledger:
        assert [one.id for one in ledger.failures(0)] == ["stays", "other"]
        assert ledger.failures(0, "shop.m*") == []
        assert ledger.failures(0, "shop.[!m]*") == ledger.failures(0)
        assert [one.id for one in ledger.failures(NOW / 1000 + 1)] == ["other"]


def test_a_task_is_found_by_how_its_id_begins_if_that_is_of_one(store: Store, path: str) -> None:
    write(store, told("abc", "running", started=NOW), told("abd", "succeeded", ended=NOW))
    with Ledger(path) as ledger:
        assert [(found := ledger.named(text)) and found.id for text in ("abc", "abd", "b")] == ["abc", "abd", None]
        with pytest.raises(FleetError, match="several tasks begin with ab: abc, abd"):
            ledger.named("ab")
