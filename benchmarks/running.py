"""Starts a peer in a folder of its own, knows its processes, and leaves none of them behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import measure
from benchmarks.broker import PAUSE, Crowd
from benchmarks.peers import Recipe
from celeryfleet.plan.broker import socket_url

_APP = Path(__file__).with_name("shop.py")
#: seconds until what was killed must be gone
_GONE_WITHIN = 20.0


class Running:
    """A peer whose workers all answer ping."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], crowd: Crowd, count: int, answered: float, seconds: float
    ) -> None:
        self.folder = folder
        self.env = env
        self.crowd = crowd
        #: how many workers it runs
        self.count = count
        #: seconds from the start command to the last worker's answer
        self.answered = answered
        #: seconds until the start command is back, too
        self.seconds = seconds

    def pids(self) -> frozenset[int]:
        """Return the whole process tree."""
        return measure.pids_in(self.folder)

    def keepers(self) -> frozenset[int]:
        """Return what is not a worker or a child of one: the supervisor and its helpers."""
        everything = self.pids()
        return everything - measure.with_descendants(self.crowd.pids(self.count).values(), everything)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a folder with a short path, as sockets want it; at the end kill what works there, and remove it."""
    made = Path(tempfile.mkdtemp(prefix="cfb-", dir="/tmp")).resolve()
    try:
        yield made
    finally:
        clear(made)
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running(recipe: Recipe, count: int, url: str) -> Iterator[Running]:
    """Start a peer and wait for its workers; the broker is emptied before, and everything killed afterwards."""
    with folder() as home, contextlib.ExitStack() as stack:
        env = environment(url, recipe.env)
        shutil.copy(_APP, home)
        for name, text in recipe.files.items():
            (home / name).write_text(text)
        with Crowd(url) as crowd:
            crowd.call("FLUSHALL")
        log = stack.enter_context((home / "out.log").open("wb"))
        stack.callback(clear, home)
        begun = time.perf_counter()
        processes = [
            subprocess.Popen(
                words, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            for words in recipe.commands
        ]
        stack.callback(_reap, processes)
        try:
            crowd = stack.enter_context(
                Crowd(socket_url(str(home / recipe.socket)) if recipe.socket else url, recipe.ears)
            )
            crowd.await_all(count)
            answered = time.perf_counter() - begun
            _await_commands(recipe, processes)
        except Exception as error:
            error.add_note(f"{recipe.name}:\n{_tail(home / 'out.log')}")
            raise
        yield Running(home, env, crowd, count, answered, time.perf_counter() - begun)


def environment(url: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a peer: this interpreter's commands first, nothing of Celery's set outside."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY", "BENCH_", "PYTHON"))}
    commands = str(Path(sys.executable).parent)
    return kept | {"PATH": f"{commands}:{kept.get('PATH', os.defpath)}", "BENCH_BROKER": url, "TERM": "xterm", **more}


def _await_commands(recipe: Recipe, processes: list[subprocess.Popen[bytes]]) -> None:
    """See that the commands have ended well, or still run, as the recipe says they should."""
    for process in processes:
        code = process.wait() if recipe.detaches else process.poll()
        if code != (0 if recipe.detaches else None):
            raise RuntimeError(f"{recipe.name} ended with {code}")


def _reap(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def clear(home: Path) -> None:
    """Kill all that works in a folder, again and again until no supervisor is left to start something anew."""
    deadline = time.monotonic() + _GONE_WITHIN
    while pids := measure.pids_in(home) - {os.getpid()}:
        for pid in sorted(pids):  # the older ones first: supervisors before what they watch over
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"left behind in {home}: {sorted(pids)}")
        time.sleep(PAUSE)


def _tail(file: Path, lines: int = 30) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
