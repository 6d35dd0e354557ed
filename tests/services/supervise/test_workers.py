"""The supervisor's end of the line to a worker, with a test at the worker's end, and small children for its pid."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.protocol import encode
from celeryfleet.supervise import process
from celeryfleet.supervise.core import Core
from celeryfleet.supervise.decide.actions import Spawn, Stop
from celeryfleet.supervise.decide.events import Did
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.dispatch import Answers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.workers import Crew
from tests.unit.supervise.histories import plan, pool


class Forks:
    """Takes requests for forked workers, and keeps the worker's end of each line."""

    def __init__(self) -> None:
        self.lines: list[socket.socket] = []

    def fork(self, start: dict[str, Any], heartbeat: int) -> None:
        """Keep a line."""
        self.lines.append(socket.socket(fileno=heartbeat))


class Stage:
    """A crew of one worker that is to be forked."""

    def __init__(self, home: Path) -> None:
        (home / "logs").mkdir()
        self.turns = 0
        self.core = Core(replace(plan(pool(fork=True)), state_dir=str(home)), self.turn)
        self.forks = Forks()
        self.crew = Crew(self.core, self.forks, -1)  # type: ignore[arg-type]

    def turn(self) -> None:
        self.turns += 1

    def spawn(self) -> socket.socket:
        """Start the worker; return its end of the line."""
        spec = self.core.target.specs["web-1"]
        self.core.happen(Did(Spawn(spec, True, 30.0, "it is wanted")))
        self.crew.spawn(spec, True)
        return self.forks.lines[-1]

    @property
    def worker(self) -> Any:
        return self.core.state.workers["web-1"]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
def act(tmp_path: Path) -> Iterator[Callable[[Callable[[Stage], Awaitable[None]]], None]]:
    """Run a scene in an event loop of its own."""

    def run(scene: Callable[[Stage], Awaitable[None]]) -> None:
        async def whole() -> None:
            stage = Stage(tmp_path)
            try:
                await scene(stage)
            finally:
                for line in stage.forks.lines:
                    line.close()
                for ours in stage.crew._lines.values():
                    ours.hang_up()

        gc.collect()  # what other tests have left must not be closed in the middle
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        asyncio.run(whole())
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor leaks"  # noqa: PTH208

    yield run
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


Act = Callable[[Callable[[Stage], Awaitable[None]]], None]


def sleeper() -> int:
    return process.spawn(["sleep", "60"], os.environ)


def test_a_worker_that_ends_before_its_hello_is_noticed_by_its_line(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.spawn().close()
        await stage.until(lambda: stage.worker.status is Status.BACKOFF)
        assert stage.worker.last_exit.reason == "it ended before it had started"

    act(scene)


def test_an_exit_that_is_reaped_before_the_hello_is_read_is_still_the_workers(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(encode({"t": "hello", "pid": 12345}) + encode({"t": "beat", "processed": 3, "paused": []}))
        line.close()
        assert stage.crew.owns(12345)
        stage.crew.ended(12345, -9)
        assert stage.worker.last_exit.reason == "it was killed by SIGKILL"
        assert stage.worker.processed_before == 3
        assert not stage.crew.owns(12345)

    act(scene)


def test_a_worker_that_was_stopped_before_it_had_a_pid_gets_its_signal_with_the_hello(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        line = stage.spawn()
        stage.core.happen(Did(Stop("web-1", 30.0, "it is no longer wanted")))
        stage.crew.signal("web-1", signal.SIGTERM)
        line.sendall(encode({"t": "hello", "pid": pid}))
        await stage.until(lambda: process.birth(pid) is None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM

    act(scene)


def test_a_killed_worker_takes_its_whole_group_along(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        stage.spawn().sendall(encode({"t": "hello", "pid": pid}))
        await stage.until(lambda: stage.worker.pid == pid)
        stage.crew.kill("web-1")
        await stage.until(lambda: process.birth(pid) is None)

    act(scene)


@pytest.mark.parametrize("nonsense", [b"hello\n", b'{"t": "beat"}\n', b"[1]\n", b'{"t": "hello"}\n', b'{"no": 1}\n'])
def test_a_worker_that_talks_nonsense_is_hung_up_on(act: Act, nonsense: bytes) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(nonsense)
        line.settimeout(0)
        await stage.until(lambda: not stage.crew._lines["web-1"].open)
        assert line.recv(10) == b""

    act(scene)


def test_two_hundred_ends_leave_no_descriptor(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        for number in range(200):
            line = stage.spawn()
            line.sendall(encode({"t": "hello", "pid": 10_000_000 + number}))
            await stage.until(lambda: stage.worker.pid is not None)
            line.close()
            stage.crew.ended(10_000_000 + number, -9)
        assert stage.crew._lines == {}

    act(scene)


def test_a_worker_that_does_not_answer_holds_up_no_status(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(encode({"t": "hello", "pid": 10_000_000}) + encode({"t": "ready", "tasks": ["x"]}))
        await stage.until(lambda: stage.worker.status is Status.READY)
        for _ in range(3):
            await stage.crew.poke()
        assert stage.crew._pokes == {}

    act(scene)


def test_revoked_ids_are_kept_for_later_and_not_without_end(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(encode({"t": "revoked", "ids": [str(number) for number in range(2500)]}))
        await stage.until(lambda: len(stage.crew._revoked) == 2000)
        assert list(stage.crew._revoked)[-1] == "2499"

    act(scene)


def test_a_bug_in_a_turn_does_not_end_supervision(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        turns = []

        def fail() -> None:
            turns.append(1)
            if len(turns) == 1:
                raise OSError(28, "No space left on device")

        stage.core._turn = fail
        stage.core.schedule()
        await stage.until(lambda: len(turns) == 2)

    act(scene)


@pytest.mark.parametrize("count", [-1, 10**9, "2", 1.5, None, True])
def test_a_number_of_replicas_that_cannot_be_is_refused(act: Act, count: object) -> None:
    async def scene(stage: Stage) -> None:
        answers = Answers(stage.core, stage.crew, Claim(), lambda plan: None)
        with pytest.raises(FleetError, match="web can have 0 to 1000 replicas"):
            await answers({"do": "scale", "replicas": {"web": count}})
        await answers({"do": "scale", "replicas": {"web": 3}})
        assert list(stage.core.target.specs) == ["web-1", "web-2", "web-3"]

    act(scene)


def test_settings_that_cannot_be_written_leave_the_fleet_as_it_was(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        def full(plan: object) -> None:
            raise OSError(28, "No space left on device")

        claim = Claim()
        answers, before = Answers(stage.core, stage.crew, claim, full), stage.core.target
        with pytest.raises(FleetError, match=r"goes on as it was: settings\.json could not be written: No space left"):
            await answers({"do": "apply", "plan": stage.core.plan.to_json()})
        assert stage.core.target is before
        claim.release()

    act(scene)
