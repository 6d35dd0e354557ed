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
from celeryfleet.protocol import Apply, Scale
from celeryfleet.records import encode, parse
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.actions import Spawn, Stop
from celeryfleet.supervise.decide.events import Did
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.dispatch import Dispatcher
from celeryfleet.supervise.leftovers import Leftovers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.workers import Workers, stacks
from celeryfleet.worker_protocol import Beat, Hello, Ready, Revoked, Start
from tests.unit.supervise.histories import plan, pool


class Forks:
    """Takes requests for forked workers, and keeps the worker's end of each line."""

    def __init__(self) -> None:
        self.lines: list[socket.socket] = []

    def __getitem__(self, app: str) -> Forks:
        """Be the server of every app."""
        return self

    def fork(self, start: Start, heartbeat: int, former: bool) -> None:
        """Keep a line."""
        self.lines.append(socket.socket(fileno=heartbeat))

    def owns(self, pid: int) -> bool:
        """Say no: there is no server."""
        return False


class Stage:
    """A crew of one worker that is to be forked."""

    def __init__(self, home: Path) -> None:
        (home / "logs").mkdir()
        self.fleet = Reconciler(replace(plan(pool(fork=True)), state_dir=str(home)), self.execute, lambda: None)
        self.forks = Forks()
        self.workers = Workers(self.fleet, self.forks, -1)  # type: ignore[arg-type]

    def execute(self, action: object) -> None:
        """Do nothing: the fork server never comes up, so that nothing is decided about the worker."""

    def spawn(self) -> socket.socket:
        """Start the worker; return its end of the line."""
        spec = self.fleet.target.specs["web-1"]
        self.fleet.happen(Did(Spawn(spec, True, 30.0, "it is wanted")))
        self.workers.spawn(spec, True)
        return self.forks.lines[-1]

    @property
    def worker(self) -> Any:
        return self.fleet.state.workers["web-1"]

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
                for ours in stage.workers._lines.values():
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
        pid = sleeper()
        line = stage.spawn()
        line.sendall(encode(Hello(pid)) + encode(Beat(processed=3)))
        line.close()
        os.kill(pid, signal.SIGKILL)
        assert stage.workers.owns(pid)
        stage.workers.ended(pid, -9)
        assert stage.worker.last_exit.reason == "it was killed by SIGKILL"
        assert stage.worker.last_exit.signal == "SIGKILL"
        assert stage.worker.processed_before == 3
        assert not stage.workers.owns(pid)

    act(scene)


def test_a_worker_that_was_stopped_before_it_had_a_pid_gets_its_signal_with_the_hello(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        line = stage.spawn()
        stage.fleet.happen(Did(Stop("web-1", 30.0, "it is no longer wanted")))
        stage.workers.signal("web-1", signal.SIGTERM)
        line.sendall(encode(Hello(pid)))
        await stage.until(lambda: process.birth(pid) is None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM

    act(scene)


def test_a_killed_worker_takes_its_whole_group_along(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        stage.spawn().sendall(encode(Hello(pid)))
        await stage.until(lambda: stage.worker.pid == pid)
        stage.workers.kill("web-1")
        await stage.until(lambda: process.birth(pid) is None)

    act(scene)


NOT_UNDERSTOOD = [
    b"hello\n",
    b"[1]\n",
    b'{"no": 1}\n',
    b'{"t": "hello"}\n',
    b'{"t": "hello", "pid": "x"}\n',
    b'{"t": "hello", "pid": -1}\n',
    b'{"t": "hello", "pid": 1}\n',
    b'{"t": "hello", "pid": 1e400}\n',
    b'{"t": "hello", "pid": %d}\n' % 10**30,
    b'{"t": "beat", "active": "x"}\n',
    b'{"t": "beat", "queues": "mail"}\n',
    b'{"t": "beat", "processed": true}\n',
    b'{"t": "ready", "tasks": [{}]}\n',
    b'{"t": "restored", "nodes": [1]}\n',
]


@pytest.mark.parametrize("said", NOT_UNDERSTOOD)
def test_a_worker_that_is_not_understood_before_its_hello_counts_as_ended(act: Act, said: bytes) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(said)
        line.settimeout(0)
        await stage.until(lambda: stage.worker.status is Status.BACKOFF)
        assert stage.worker.pid is None
        assert line.recv(10) == b""

    act(scene)


@pytest.mark.parametrize("said", [*NOT_UNDERSTOOD, pytest.param(b"x" * 5_000_000, id="endless")])
def test_a_worker_that_is_not_understood_later_keeps_its_pid_and_is_hung_up_on(act: Act, said: bytes) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        line = stage.spawn()
        line.setblocking(False)
        line.sendall(encode(Hello(pid)))
        with contextlib.suppress(BrokenPipeError):
            await asyncio.get_running_loop().sock_sendall(line, said)
        await stage.until(lambda: not stage.workers._lines["web-1"].open)
        assert stage.worker.pid == pid
        stage.workers.kill("web-1")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    act(scene)


def test_a_worker_cannot_take_the_pid_of_another_process(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pids = [sleeper(), sleeper(), os.getpid(), os.getppid()]
        for pid in pids[1:]:
            line = stage.spawn()
            line.sendall(encode(Hello(pids[0])) + encode(Hello(pid)))
            await stage.until(lambda: not stage.workers._lines["web-1"].open)
            assert stage.worker.pid == pids[0]
        for pid in pids[:2]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    act(scene)


def test_a_second_hello_is_not_understood(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = sleeper()
        line = stage.spawn()
        line.sendall(encode(Hello(pid)) * 2)
        await stage.until(lambda: not stage.workers._lines["web-1"].open)
        stage.workers.kill("web-1")
        os.waitpid(pid, 0)

    act(scene)


def test_what_workers_have_half_said_is_bounded_in_total(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        stage.workers._room.left = 1000
        line = stage.spawn()
        line.sendall(b"x" * 600)
        await stage.until(lambda: stage.workers._room.left == 400)
        line.sendall(b"x" * 600)
        await stage.until(lambda: "web-1" not in stage.workers._lines)
        assert stage.workers._room.left == 1000

    act(scene)


def test_two_hundred_ends_leave_no_descriptor(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(200):
            pid = process.spawn(["true"], os.environ)
            line = stage.spawn()
            line.sendall(encode(Hello(pid)))
            await stage.until(lambda: stage.worker.pid is not None)
            line.close()
            os.waitpid(pid, 0)
            stage.workers.ended(pid, 0)
        assert stage.workers._lines == {}

    act(scene)


def test_a_worker_that_does_not_answer_holds_up_no_status(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        pid = process.spawn(["true"], os.environ)
        line = stage.spawn()
        line.sendall(encode(Hello(pid)) + encode(Ready(("x",))))
        await stage.until(lambda: stage.worker.status is Status.READY)
        for _ in range(3):
            await stage.workers.poke()
        assert stage.workers._pokes == {}
        assert stage.fleet.state.app("").tasks == ("x",)

    act(scene)


def test_revoked_ids_are_kept_for_later_and_not_without_end(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        line = stage.spawn()
        line.sendall(encode(Revoked(tuple(map(str, range(2500))))))
        await stage.until(lambda: len(stage.workers._revoked) == 2000)
        assert list(stage.workers._revoked)[-1] == "2499"

    act(scene)


@pytest.mark.parametrize("count", [-1, 10**9])
def test_a_number_of_replicas_that_cannot_be_is_refused(act: Act, count: int) -> None:
    async def scene(stage: Stage) -> None:
        dispatcher = Dispatcher(stage.fleet, stage.workers, Claim(), lambda plan: None)
        with pytest.raises(FleetError, match="web can have 0 to 1000 replicas"):
            await dispatcher(Scale({"web": count}), [])
        await dispatcher(Scale({"web": 3}), [])
        assert list(stage.fleet.target.specs) == ["web-1", "web-2", "web-3"]

    act(scene)


def test_settings_that_cannot_be_written_leave_the_fleet_as_it_was(act: Act) -> None:
    async def scene(stage: Stage) -> None:
        def full(plan: object) -> None:
            raise OSError(28, "No space left on device")

        claim = Claim()
        dispatcher, before = Dispatcher(stage.fleet, stage.workers, claim, full), stage.fleet.target
        with pytest.raises(FleetError, match=r"goes on as it was: settings\.json could not be written: No space left"):
            await dispatcher(parse(Apply, encode(Apply(stage.fleet.plan.to_json()))), [])
        assert stage.fleet.target is before
        claim.release()

    act(scene)


def test_a_thousand_workers_that_are_killed_and_replaced_leave_nothing_in_memory(act: Act, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        leftovers = Leftovers(tmp_path / "pids.json")

        async def cycle() -> None:
            pid = sleeper()
            line = stage.spawn()
            line.sendall(encode(Hello(pid)) + encode(Ready(("shop.add",))) + encode(Beat(processed=1)))
            await stage.until(lambda: stage.worker.beat.processed)
            leftovers.remember(stage.fleet.state, {})
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[0] == pid
            stage.workers.ended(pid, -signal.SIGKILL)
            stage.forks.lines.pop().close()

        async def grown_by(cycles: int) -> int:
            gc.collect()
            before = len(gc.get_objects())
            for _ in range(cycles):
                await cycle()
            gc.collect()
            return len(gc.get_objects()) - before

        await grown_by(100)  # as many exits as are remembered, and what Python keeps for the next time
        assert await grown_by(900) < 450, "something is left of each"

    act(scene)


def test_of_a_hung_worker_it_is_kept_where_each_thread_was_last() -> None:
    frames = [f'  File "x.py", line {number} in f{number}' for number in range(9)]
    older = ["Current thread 0x1 (most recent call first):", '  File "old.py", line 1 in old', "[2026-11-26] received"]
    log = [
        *older,
        "Thread 0x2 (most recent call first):",
        *frames,
        "Current thread 0x1 (most recent call first):",
        *frames,
    ]
    kept = [
        "Thread 0x2 (most recent call first):",
        *frames[:3],
        "Current thread 0x1 (most recent call first):",
        *frames[:3],
    ]
    assert stacks([*log, "[2026-11-26] a last line"]) == tuple(kept)
    assert stacks(["one", "two"]) == ("one", "two")
    assert stacks([]) == ()
