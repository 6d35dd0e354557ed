"""Reads time, memory and CPU: of commands from start to end, of running processes out of /proc."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_PROC = Path("/proc")
_KIB = 1024


def pids_in(folder: Path) -> frozenset[int]:
    """Return the live processes that work in this folder or below it: the whole tree of what was started there.

    Parents do not tell: daemons leave theirs, and celeryfleet's workers are handed over to its supervisor.
    """
    needle = str(folder)
    found = set()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                place = str((entry / "cwd").readlink())
                if place == needle or place.startswith(f"{needle}/"):
                    found.add(int(entry.name))
    return frozenset(found)


def title(pid: int) -> str:
    """Return a process's command; empty if it is gone."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def parent(pid: int) -> int:
    """Return the pid of a process's parent; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def with_descendants(pids: Iterable[int], among: frozenset[int]) -> frozenset[int]:
    """Return these processes and their children to any depth, as far as they are in `among`."""
    parents = {pid: parent(pid) for pid in among}
    found = set(pids) & among
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return frozenset(found)


def pss(pids: Iterable[int]) -> int:
    """Return bytes: what the processes have to themselves, and their part of what they share."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return 0


def cpu(pids: Iterable[int]) -> dict[int, float]:
    """Return the seconds of CPU that each process has used, all its threads together.

    /proc/<pid>/stat counts the same in steps of 10 ms, half of what a lean supervisor uses in half a minute; where
    the kernel keeps nanoseconds they are taken.
    """
    return {pid: _cpu(pid) for pid in pids}


def _cpu(pid: int) -> float:
    try:
        threads = list((_PROC / str(pid) / "task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, IndexError):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on; the second may hold blanks."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_per_minute(before: Mapping[int, float], after: Mapping[int, float], seconds: float) -> float:
    """Return seconds of CPU a minute; a process that is in one of them only counts from or to then."""
    used = sum(max(0.0, value - before.get(pid, 0.0)) for pid, value in after.items())
    return used * 60 / seconds


def command(words: Sequence[str], folder: Path, env: Mapping[str, str], tty: bool = False) -> float:
    """Run a command to its end and return the seconds it took; it has to succeed."""
    run = _on_a_terminal if tty else _piped
    begun = time.perf_counter()
    code, text = run(words, folder, env)
    taken = time.perf_counter() - begun
    if code != 0:
        raise RuntimeError(f"{' '.join(words)}: exit {code}\n{text.decode(errors='replace')}")
    return taken


def _piped(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int, bytes]:
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _on_a_terminal(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int, bytes]:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    finally:
        os.close(theirs)
    text = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # EIO: nobody writes any more
        while chunk := terminal.read(65536):
            text += chunk
    return process.wait(), text
