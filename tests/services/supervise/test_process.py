"""Real small children: spawned, signalled, reaped, watched and known again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeryfleet.supervise import process
from tests.fakes import eventually

SH = ["/bin/sh", "-c"]


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Collect the pids of processes that must be gone after the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        process.kill_group(pid)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue


def run(script: str, children: list[int], **how: object) -> int:
    pid = process.spawn([*SH, script], os.environ, **how)  # type: ignore[arg-type]
    children.append(pid)
    return pid


def reaped(ours: set[int]) -> dict[int, int]:
    """Reap until all of ours are."""
    found: dict[int, int] = {}

    def all_there() -> bool:
        found.update(process.reap(ours.__contains__))
        return ours <= found.keys()

    eventually(all_there)
    return found


def test_a_child_inherits_its_descriptors_and_no_other(tmp_path: Path, children: list[int]) -> None:
    out, (read, write) = tmp_path / "out", os.pipe()
    ours = os.readlink(f"/proc/self/fd/{write}")  # noqa: PTH115
    pid = run("ls -l /proc/self/fd", children, out=str(out), fds=[write])
    reaped({pid})
    assert [line.split()[-3] for line in out.read_text().splitlines() if line.endswith(ours)] == [str(write)]
    assert not os.get_inheritable(write)
    os.close(read)
    os.close(write)


def test_a_child_reads_nothing_and_leads_a_session(tmp_path: Path, children: list[int]) -> None:
    out = tmp_path / "out"
    pid = run("cat; sleep 60", children, out=str(out))
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull  # noqa: PTH115


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        process.spawn(["/nonexistent/program"], os.environ)


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", -9), ("exit 0", 0)])
def test_reaping_tells_how_a_child_ended(script: str, code: int, children: list[int]) -> None:
    pid = run(script, children)
    assert reaped({pid})[pid] == code


def test_what_is_left_of_the_group_of_one_of_ours_is_killed(tmp_path: Path, children: list[int]) -> None:
    pid = run("sleep 60 & echo $!", children, out=str(tmp_path / "pid"))
    reaped({pid})
    left = int((tmp_path / "pid").read_text())
    eventually(lambda: process.birth(left) is None)


def test_a_daemon_of_a_task_outlives_the_middle_process_that_made_it(tmp_path: Path, children: list[int]) -> None:
    pid = run("sleep 60 & echo $!", children, out=str(tmp_path / "pid"))
    eventually(lambda: dict(process.reap(lambda pid: False)).get(pid) == 0)
    daemon = int((tmp_path / "pid").read_text())
    assert process.birth(daemon) is not None
    os.kill(daemon, signal.SIGKILL)


def test_a_zombie_and_nobody_have_no_birth(children: list[int]) -> None:
    assert process.birth(os.getpid()) == process.birth(os.getpid()) is not None
    pid = run("exit 0", children)
    eventually(lambda: process.birth(pid) is None)
    assert os.waitpid(pid, 0)[0] == pid
    assert process.birth(pid) is None


def test_a_process_whose_name_is_not_utf8_troubles_nobody(tmp_path: Path, children: list[int]) -> None:
    name = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b'caf\\xc3) x', 0, 0, 0); print(flush=True); time.sleep(60)"
    )
    out = tmp_path / "out"
    pid = process.spawn([sys.executable, "-c", name], os.environ, out=str(out))
    children.append(pid)
    eventually(lambda: out.read_text() == "\n")
    assert b"caf\xc3) x" in Path(f"/proc/{pid}/stat").read_bytes()
    assert process.birth(pid)
    assert process.resident_by_session([pid])[pid] > 1_000_000


@pytest.mark.parametrize("watch", [process.watch, lambda pid, gone: process._look_again(pid, process.birth(pid), gone)])
def test_the_end_of_a_process_that_is_not_a_child_is_told(watch: object, tmp_path: Path, children: list[int]) -> None:
    parent = run("sleep 60 & echo $!; wait", children, out=str(tmp_path / "pid"))
    eventually(lambda: (tmp_path / "pid").read_text().strip())
    pid = int((tmp_path / "pid").read_text())

    async def wait() -> None:
        gone = asyncio.Event()
        watch(pid, gone.set)  # type: ignore[operator]
        assert not gone.is_set()
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(gone.wait(), 20)

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    asyncio.run(wait())
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert parent


def test_the_end_of_a_process_that_is_gone_already_is_told() -> None:
    pid = process.spawn(["true"], os.environ)
    os.waitpid(pid, 0)

    async def wait() -> None:
        gone = asyncio.Event()
        process.watch(pid, gone.set)
        await asyncio.wait_for(gone.wait(), 20)

    asyncio.run(wait())


def test_signals_to_nobody_are_no_error() -> None:
    pid = process.spawn(["true"], os.environ)
    os.waitpid(pid, 0)
    process.tell(pid, signal.SIGTERM)
    process.kill_group(pid)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "it exited with code 0"),
        (-9, "it was killed by SIGKILL"),
        (-64, "it was killed by SIGRTMAX"),
        (-99, "it was killed by signal 99"),
    ],
)
def test_an_end_is_told_in_words(code: int, text: str) -> None:
    assert process.explain(code) == text
