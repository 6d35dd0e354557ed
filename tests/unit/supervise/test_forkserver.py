"""The supervisor's end of the channel to a fork server, with a test at the other end and a small child for its pid."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from celeryfleet.records import receive_with_fds, send_with_fds
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.actions import StartForkServer
from celeryfleet.supervise.decide.events import Did
from celeryfleet.supervise.decide.state import Phase
from celeryfleet.supervise.forkserver import ForkServer, ServerProcess
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.worker_protocol import App, Broken, LogFile, Preload, Preloaded, Revoked, Start
from tests.unit.supervise.histories import plan, pool

START = Start("web-1", (), {}, {}, {}, LogFile("x", 1, 1), "text", "scratch", 1.0, 30.0, "running")


class Stage:
    """A fork server that was started ahead, and has not been told the app."""

    def __init__(self, home: Path) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.process = ServerProcess(process.spawn(["sleep", "60"], os.environ), ours)
        self.pid = self.process.pid
        # Some worker is forked from it; whatever is decided, nothing is done.
        wanted = replace(plan(pool(fork=True)), state_dir=str(home), settings={"broker_url": "redis://x"})
        self.fleet = Reconciler(wanted, lambda action: None, lambda: None)
        self.lifeline = os.open(os.devnull, os.O_RDONLY)
        self.server = ForkServer(self.fleet, self.lifeline, self.process)
        self.fleet.happen(Did(StartForkServer(0, "the fleet starts")))

    @property
    def phase(self) -> Phase:
        return self.fleet.state.app("").fork_server.phase

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)


def act(tmp_path: Path, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage(tmp_path)
        try:
            await scene(stage)
        finally:
            stage.server.drop()
            stage.theirs.close()
            os.close(stage.lifeline)
            process.tell(stage.pid, signal.SIGKILL)
            os.waitpid(stage.pid, 0)

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    asyncio.run(whole())
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor leaks"  # noqa: PTH208


def test_the_one_that_was_started_ahead_is_told_the_app_and_reports(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.server.start()
        assert stage.server.pid == stage.pid
        message, fds = receive_with_fds(stage.theirs, Preload)
        assert message == Preload(
            App("shop", "", "/srv", {"broker_url": "redis://x"}, f"{tmp_path}/settings.json"),
            {},
            LogFile(f"{tmp_path}/logs/preload.log", 50_000_000, 5),
        )
        os.close(*fds)
        send_with_fds(stage.theirs, Preloaded("", ("shop.add",), 0.1), [])
        await stage.until(lambda: stage.phase is Phase.UP)
        assert stage.fleet.state.app("").tasks == ("shop.add",)

    act(tmp_path, scene)


def test_an_app_that_does_not_import_is_told(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        send_with_fds(stage.theirs, Broken("no such module"), [])
        await stage.until(lambda: stage.phase is Phase.BROKEN)
        assert stage.fleet.state.app("").fork_server.error == "no such module"

    act(tmp_path, scene)


def test_what_it_cannot_have_said_and_its_silence_are_waited_out_until_its_exit(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        send_with_fds(stage.theirs, Revoked(("x",)), [])
        await asyncio.sleep(0.05)
        assert stage.phase is Phase.STARTING
        assert not stage.server.ended(1, 0)
        assert stage.server.ended(stage.pid, -9)
        assert stage.server.pid is None
        why = "importing the app ends the fork server: it was killed by SIGKILL"
        assert stage.fleet.state.app("").fork_server.error == why

    act(tmp_path, scene)


def test_a_server_that_is_busy_is_sent_what_waits_when_it_reads_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        count = 400  # more than the channel takes
        for number in range(count):
            read, write = os.pipe()
            os.close(read)
            stage.server.fork(START.but(name=f"web-{number}"), write)
        assert stage.process._waiting
        names: list[str] = []
        while len(names) < count:
            message, fds = await asyncio.to_thread(receive_with_fds, stage.theirs, Start)
            names.append(message.name)
            os.close(*fds)
            await asyncio.sleep(0)
        assert names == [f"web-{number}" for number in range(count)]
        await stage.until(lambda: not stage.process._waiting)

    act(tmp_path, scene)


@pytest.mark.parametrize("waiting", [False, True])
def test_without_a_server_a_worker_counts_as_ended_and_nothing_is_kept_open(tmp_path: Path, waiting: bool) -> None:
    async def scene(stage: Stage) -> None:
        ours, theirs = socket.socketpair()
        if waiting:
            stage.process._waiting.append((START, []))
            stage.theirs.close()
        else:
            stage.server.drop()
        stage.server.fork(START, theirs.detach())
        with ours:
            assert await asyncio.to_thread(ours.recv, 10) == b""

    act(tmp_path, scene)
