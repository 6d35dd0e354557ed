"""Which tasks run in a worker is written down, and those that ended one run one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals

from celeryfleet.worker.running import Running
from celeryfleet.worker.suspects import Suspects
from celeryfleet.worker_protocol import RUNNING_BYTES, LogFile, Ran, Start, running


class Task:
    """What signals tell of a task."""

    def __init__(self, name: str = "shop.add", eager: bool = False, acks_late: bool | None = None) -> None:
        self.name, self.acks_late = name, acks_late
        self.request = SimpleNamespace(is_eager=eager)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    path = tmp_path / "running" / "web-1"
    made = Running(str(path))
    before = [list(signal.receivers or ()) for signal in (signals.task_prerun, signals.task_postrun)]
    made.connect()
    yield made, path
    for signal, receivers in zip((signals.task_prerun, signals.task_postrun), before, strict=True):
        signal.receivers = receivers


def names(path: Path) -> dict[int, Ran]:
    return running(path.read_bytes())


def begin(task_id: str, task: Task) -> None:
    signals.task_prerun.send(sender=task, task_id=task_id, task=task)


def end(task_id: str, task: Task) -> None:
    signals.task_postrun.send(sender=task, task_id=task_id, task=task)


def test_what_runs_is_in_the_file_and_what_has_ended_is_not(written: tuple[Running, Path]) -> None:
    made, path = written
    assert path.stat().st_mode & 0o777 == 0o600
    begin("one", Task())
    begin("two", Task("shop.mail", acks_late=True))
    begin("within two", Task(eager=True))
    assert names(path) == {0: ("one", "shop.add", False), 1: ("two", "shop.mail", True)}
    end("one", Task())
    end("within two", Task(eager=True))
    begin("three", Task())
    assert names(path) == {0: ("three", "shop.add", False), 1: ("two", "shop.mail", True)}
    made.forget("two")
    end("three", Task())
    assert names(path) == {}


def test_a_name_that_is_too_long_is_cut_and_a_worker_that_cannot_write_works(tmp_path: Path) -> None:
    made = Running(str(tmp_path / "running" / "web-1"))
    made._begins("one", Task("x" * 1000))
    assert names(tmp_path / "running" / "web-1")[0][1] == "x" * (RUNNING_BYTES - len("one\n\n"))
    os.close(made._fd)
    (tmp_path / "file").touch()
    elsewhere = Running(str(tmp_path / "file" / "web-1"))
    elsewhere._begins("one", Task())
    elsewhere.forget("one")
    os.close(elsewhere._fd)


class Stage:
    """A worker that runs what it is told to at once."""

    def __init__(self, folder: Path, limit: int = 3, **strikes: int) -> None:
        start = Start("web-1", (), {}, {}, {}, LogFile("x", 1, 1), "text", "scratch", 1.0, 30.0, str(folder / "web-1"))
        app = Celery("shop", set_as_current=False, broker="memory://")
        self.suspects = Suspects(app, start.but(park_after=limit, strikes=strikes), lambda message: None)
        self.suspects.run = self.take
        self.suspects._park = self.park  # type: ignore[method-assign]
        self.ran: list[str] = []
        self.parked: list[str] = []

    def park(self, request: Any, why: str) -> None:
        self.parked.append(request.id)
        self.suspects.ended(request.id)

    def take(self, name: Any, redelivered: bool = True) -> None:
        request = (
            SimpleNamespace(id=name, delivery_info={"redelivered": redelivered}) if isinstance(name, str) else name
        )
        if request.id not in self.suspects.strikes or self.suspects.admit(request):
            self.ran.append(request.id)


def test_suspects_run_one_at_a_time_and_others_beside_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one=1, two=1, three=2)
    for name in ("one", "two", "other", "three"):
        stage.take(name)
    assert stage.ran == ["one", "other"]
    stage.suspects.ended("other")
    assert stage.ran == ["one", "other"]
    stage.suspects.ended("one")
    stage.suspects.ended("two")
    assert stage.ran == ["one", "other", "two", "three"]


def test_one_that_has_gone_on_too_often_is_parked_and_lets_the_next_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one=1, two=3, three=1, four=1)
    for name in ("one", "two", "three"):
        stage.take(name)
    stage.suspects.learn({"three": 3})
    stage.take("four")
    stage.suspects.ended("one")
    assert (stage.ran, stage.parked) == (["one", "four"], ["two", "three"])


def test_one_that_somebody_has_sent_again_is_given_new_tries(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one=3)
    stage.take("one", redelivered=False)
    assert (stage.ran, stage.parked) == (["one"], [])


def test_without_a_limit_none_is_parked(tmp_path: Path) -> None:
    stage = Stage(tmp_path, limit=0, one=100)
    stage.take("one")
    assert (stage.ran, stage.parked) == (["one"], [])


def test_when_the_connection_is_lost_those_that_wait_come_again_as_messages(tmp_path: Path) -> None:
    stage = Stage(tmp_path, one=1, two=1)
    stage.take("one")
    stage.take("two")
    stage.suspects.disconnected()
    stage.suspects.ended("one")
    assert stage.ran == ["one"]
    stage.take("two")
    assert stage.ran == ["one", "two"]
