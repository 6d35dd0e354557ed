"""Spawning, signalling and reaping processes, and knowing one again after its supervisor has gone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36

#: seconds between two looks at a process whose end can't be waited for
_LOOK = 0.2

#: what the interpreter of a child is started with: never the working folder in front of the standard library
PYTHON = (sys.executable, "-P")


def become_subreaper() -> bool:
    """Have orphaned grandchildren re-parented to this process; False where the platform can't."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    fds: Sequence[int] = (),
    stdin: int | None = None,
    out: int | str | None = None,
) -> int:
    """Start a process in a session of its own that inherits just these descriptors; return its pid.

    `stdin` is its input (default: nothing); `out`, a descriptor or a file to append to, becomes its stdout and
    stderr (default: ours). Raises OSError.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    if stdin is None:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    else:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    if isinstance(out, str):
        actions.append((os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
    elif out is not None:
        actions += [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            dict(env),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE],
        )
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)


def command(file: str, *words: str) -> list[str]:
    """Return the command line of a command of ours about the fleet of this fleet.yaml."""
    return [*PYTHON, "-m", "celeryfleet", "--file", file, *words]


async def converse(module: str, env: Mapping[str, str], limit: int = 2**16) -> tuple[StreamReader, StreamWriter]:
    """Start one of our modules with a socket to us, whose end is its own; return our end. Raises OSError."""
    ours, theirs = socket.socketpair()
    streams = await asyncio.open_connection(sock=ours, limit=limit)
    try:
        with theirs:
            spawn([*PYTHON, "-m", module, str(theirs.fileno())], env, [theirs.fileno()])
    except OSError:
        streams[1].close()
        raise
    return streams


def tell(pid: int, number: signal.Signals) -> None:
    """Signal one process; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL the session that this process leads, or led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def is_child(pid: int) -> bool:
    """Tell whether this is a child of ours that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


def reap(ours: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """Collect children that have exited as (pid, exit code or minus the signal).

    What is left of the groups of `ours` is killed first. Other children are orphans that came to the subreaper, such
    as the middle process of a daemon that a task has started: its group is the daemon's.
    """
    while (pid := _exited()) is not None:
        if ours(pid):
            kill_group(pid)  # while its pid can't be anyone else's
        _, status = os.waitpid(pid, 0)
        yield pid, os.waitstatus_to_exitcode(status)


def _exited() -> int | None:
    """Return a child that has exited, and leave it to be waited for."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return _exited_by_psutil()
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _exited_by_psutil() -> int | None:
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                return child.pid
    return None


def watch(pid: int, gone: Callable[[], None]) -> None:
    """Call back, from the running loop, when a process that is not our child ends."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(gone)
    except (AttributeError, OSError):  # another platform than Linux, or a sandbox
        _look_again(pid, birth(pid), gone)
    else:
        loop.add_reader(pidfd, _ended, pidfd, gone)


def _ended(pidfd: int, gone: Callable[[], None]) -> None:
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    gone()


def _look_again(pid: int, born: float | None, gone: Callable[[], None]) -> None:
    if born is None or birth(pid) != born:
        gone()
    else:
        asyncio.get_running_loop().call_later(_LOOK, _look_again, pid, born, gone)


def explain(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def birth(pid: int) -> float | None:
    """Return when a process was started, in a unit of the platform's; None if there is none (or a zombie)."""
    if sys.platform == "linux":
        try:
            fields = _stat(pid)
        except OSError:
            return None
        return None if fields[0] in b"ZX" else float(fields[19])
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _stat(pid: int) -> list[bytes]:
    """Read what follows a process's name, which may be any bytes: a title that was cut within a letter."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def boot_id() -> str:
    """Name this run of the machine: a pid and its birth mean something within it only; empty if not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def resident_by_session(sessions: Sequence[int]) -> dict[int, int]:
    """Return the resident bytes of all processes of each of these sessions."""
    wanted = dict.fromkeys(sessions, 0)
    if sys.platform != "linux":
        return _resident_by_psutil(wanted)
    page = os.sysconf("SC_PAGESIZE")
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            fields = _stat(int(entry.name))
        except OSError:
            continue
        session = int(fields[3])
        if session in wanted:
            wanted[session] += int(fields[21]) * page
    return wanted


def _resident_by_psutil(wanted: dict[int, int]) -> dict[int, int]:
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            session = os.getsid(process.pid)
            if session in wanted:
                wanted[session] += process.memory_info().rss
    return wanted
