"""What one supervisor writes down and the next one reads."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeryfleet.protocol import Mark
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.state import FleetState, Status, Worker
from celeryfleet.supervise.leftovers import Leftovers


@pytest.fixture
def child() -> Iterator[int]:
    pid = process.spawn(["sleep", "60"], os.environ)
    yield pid
    process.tell(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def fleet(pid: int | None, **changes: object) -> FleetState:
    worker = Worker("web-1", "web", "web-1@shop", Status.READY, pid=pid, grace=7.0, **changes)  # type: ignore[arg-type]
    return FleetState(workers={"web-1": worker}, dead_nodes=frozenset({"old-1@shop"}))


def test_what_still_runs_is_known_again(tmp_path: Path, child: int) -> None:
    file = tmp_path / "pids.json"
    Leftovers(file).remember(fleet(child), {"broker": os.getpid(), "keeper": None})
    again = Leftovers(file)
    found = {name: (old.pid, old.pool, old.node, old.grace) for name, old in again.alive()}
    assert found == {"web-1": (child, "web", "web-1@shop", 7.0), "broker": (os.getpid(), "", "", 0.0)}
    assert again.nodes == {"web-1@shop", "old-1@shop"}


def test_messages_that_are_being_brought_back_are_not_forgotten(tmp_path: Path, child: int) -> None:
    file = tmp_path / "pids.json"
    Leftovers(file).remember(fleet(child, restoring=frozenset({"gone-1@shop"})), {})
    assert "gone-1@shop" in Leftovers(file).nodes


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path, child: int) -> None:
    file = tmp_path / "pids.json"
    Leftovers(file).remember(fleet(child), {})
    text = json.loads(file.read_text())
    text["processes"]["web-1"]["birth"] -= 1
    file.write_text(json.dumps(text))
    assert list(Leftovers(file).alive()) == []


def test_a_pid_that_comes_round_again_is_written_with_its_new_birth(tmp_path: Path, child: int) -> None:
    file = tmp_path / "pids.json"
    leftovers = Leftovers(file)
    leftovers._births[child] = 1.0  # of an earlier process with this pid
    leftovers.remember(fleet(None), {})
    leftovers.remember(fleet(child), {})
    assert [name for name, _ in Leftovers(file).alive()] == ["web-1"]


def test_after_a_restart_of_the_machine_pids_mean_nothing_and_nodes_still_do(tmp_path: Path, child: int) -> None:
    file = tmp_path / "pids.json"
    Leftovers(file).remember(fleet(child), {})
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
    again = Leftovers(file)
    assert list(again.alive()) == []
    assert "web-1@shop" in again.nodes


def test_paused_queues_are_remembered_over_a_restart_of_the_machine_and_of_a_file_without_them_none(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pids.json"
    mark = Mark("mail", 2, True, "ada on a", 1.0)
    Leftovers(file).remember(FleetState(paused=frozenset({"mail"}), marks={"mail": mark}), {})
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {"boot": "another"}))
    assert (Leftovers(file).paused, Leftovers(file).marks) == (frozenset({"mail"}), (mark,))
    del written["paused"], written["marks"]
    file.write_text(json.dumps(written))
    assert (Leftovers(file).paused, Leftovers(file).marks) == (frozenset(), ())


@pytest.mark.parametrize(
    "torn",
    [b"", b"\0" * 100, b'{"processes": {"web-1": {"pi', b"[]", b"null", b'{"boot": "x"}', b"\xff",
     b'{"boot": "", "processes": [], "nodes": []}', b'{"boot": "", "processes": {}, "nodes": 3}'],
)  # fmt: skip
def test_a_torn_file_is_no_more_than_a_lost_memory(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "pids.json"
    file.write_bytes(torn)
    leftovers = Leftovers(file)
    assert list(leftovers.alive()) == []
    assert leftovers.remember(fleet(os.getpid()), {})
    assert not leftovers.remember(fleet(os.getpid()), {})
    assert len(list(Leftovers(file).alive())) == 1


def test_an_entry_of_another_version_is_no_more_than_a_lost_memory(tmp_path: Path) -> None:
    file = tmp_path / "pids.json"
    Leftovers(file).remember(fleet(os.getpid()), {})
    text = json.loads(file.read_text())
    text["processes"]["web-1"]["colour"] = "red"
    file.write_text(json.dumps(text))
    assert list(Leftovers(file).alive()) == []


def test_what_could_not_be_written_is_written_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "later" / "pids.json"
    leftovers = Leftovers(file)
    with pytest.raises(OSError, match="No such file"):
        leftovers.remember(fleet(os.getpid()), {})
    file.parent.mkdir()
    assert leftovers.remember(fleet(os.getpid()), {})
    assert not leftovers.remember(fleet(os.getpid()), {})
    assert len(list(Leftovers(file).alive())) == 1
