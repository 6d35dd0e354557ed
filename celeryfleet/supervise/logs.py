"""Reads the log files of all workers as one log: the end of it, and what is added; knows no processes.

New lines are looked for every 50 to 200 ms, with one stat per file: about 1 ms of work a second for 16 workers.
inotify would need ctypes, whose import costs more than minutes of that, and does not exist on macOS.
"""

from __future__ import annotations

import heapq
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from celeryfleet.supervise import blocks
from celeryfleet.supervise.blocks import backward, forward
from celeryfleet.supervise.stamps import stamp_of

#: (worker, line without its end)
Line = tuple[str, str]
#: (unix seconds, worker, line)
_Stamped = tuple[float, str, bytes]
#: device and inode
_Identity = tuple[int, int]

_NAME = re.compile(r"(.+)\.log(?:\.\d+)?")
#: bytes of one file that one poll takes
_GULP = 1 << 20
#: seconds that a line may be ahead of its file's last change and its stamp be believed: zones differ by less
_AHEAD = 86400
#: seconds between two polls, while lines come and when they don't
_EAGER, _LAZY = 0.05, 0.2
#: cyan, green, yellow, magenta, blue, then the bright ones; red is for errors
_COLORS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


class Follower:
    """Follows the logs of a folder: what is there when it is made is the backlog, what comes later is polled.

    No line is lost or doubled by a rotation (renaming), however many there are between two polls; a truncated
    file is read from its start. `wanted` chooses workers by name; new ones are found as they appear.
    """

    def __init__(self, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
        self._folder = folder
        self._wanted = wanted
        self._logs: dict[str, _Log] = {}
        for name in self._names():
            log = self._logs[name] = _Log(self._folder, name)
            log.discover()
            log.skip()

    def backlog(self, n: int | None = None, since: float | None = None) -> Iterator[Line]:
        """Yield the last `n` lines of the merged log, or those since a time (unix seconds), oldest first."""
        streams = [log.backlog(n, since) for log in self._logs.values()]
        merged = heapq.merge(*streams, key=lambda item: item[0])
        yield from map(_shown, merged if n is None else deque(merged, maxlen=n))

    def poll(self) -> list[Line]:
        """Return the whole lines added since the last poll, in the order of their times."""
        for name in self._names():
            if name not in self._logs:
                self._logs[name] = _Log(self._folder, name)
        streams = [log.grown() for log in self._logs.values()]
        return [_shown(item) for item in heapq.merge(*streams, key=lambda item: item[0])]

    def close(self) -> list[Line]:
        """Close all files; return the last lines, of which some may lack their end."""
        rest = [log.close() for log in self._logs.values()]
        self._logs.clear()
        return [_shown(item) for item in heapq.merge(*rest, key=lambda item: item[0])]

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                files = [entry.name for entry in entries]
        except FileNotFoundError:
            return []
        names = {found[1] for file in files if (found := _NAME.fullmatch(file))}
        return sorted(filter(self._wanted, names), key=_natural)


def tail(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    n: int | None = None,
    since: float | None = None,
) -> Iterator[Line]:
    """Yield the last `n` lines of the merged log, or those since a time (unix seconds), oldest first."""
    follower = Follower(folder, wanted)
    try:
        yield from follower.backlog(n, since)
    finally:
        rest = follower.close()
    yield from rest


def follow(
    follower: Follower, pause: Callable[[float], object], over: Callable[[], bool] = lambda: False
) -> Iterator[Line]:
    """Yield lines as they come, pausing in between, until `over()` and nothing is left."""
    wait = _EAGER
    while True:
        last = over()
        lines = follower.poll()
        yield from lines
        if last and not lines:
            yield from follower.close()
            return
        wait = _EAGER if lines else min(wait * 1.2, _LAZY)
        pause(wait)


class Prefixes:
    """Puts the worker's name before each line: aligned, each worker in a colour of its own."""

    def __init__(self, names: Iterable[str] = (), color: bool = False, shown: bool = True) -> None:
        self._color = color
        self._shown = shown
        self._width = 0
        self._numbers: dict[str, int] = {}
        for name in sorted(names, key=_natural):
            self._number(name)

    def __call__(self, name: str, line: str) -> str:
        """Return the line as it is shown; a name unknown so far takes the next colour."""
        if not self._shown:
            return line
        number = self._number(name)
        prefix = f"{name:<{self._width}} |"
        if self._color:
            prefix = f"\x1b[{_COLORS[number % len(_COLORS)]}m{prefix}\x1b[0m"
        return f"{prefix} {line}"

    def _number(self, name: str) -> int:
        self._width = max(self._width, len(name))
        return self._numbers.setdefault(name, len(self._numbers))


class _File:
    """One open file of a log, current or rotated, and how far it is read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        found = os.fstat(fd)
        self.identity = (found.st_dev, found.st_ino)
        self.at = 0
        self.partial = b""
        self._quiet = False

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def whole(self) -> int:
        """Return where the last whole line ends."""
        size = self.size()
        offset, _ = next(backward(self.fd, 0, size), (0, b""))
        return size if size and os.pread(self.fd, 1, size - 1) == b"\n" else offset

    def grown(self) -> tuple[list[bytes], bool]:
        """Read the whole lines that were added, and tell whether that is all."""
        size = self.size()
        if size < self.at:  # truncated
            self.at, self.partial = 0, b""
        data = os.pread(self.fd, _GULP, self.at)
        self._quiet = not data
        self.at += len(data)
        *lines, self.partial = (self.partial + data).split(b"\n") if data else (self.partial,)
        return lines, len(data) < _GULP

    def leftover(self) -> list[bytes]:
        """Take the line without an end, once nothing was added to it for a while."""
        if not self.partial or not self._quiet:
            return []
        line, self.partial = self.partial, b""
        return [line]


class _Log:
    """The log of one worker: its open files, oldest first."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"{name}.log"
        self._files: list[_File] = []
        self._last = 0.0

    def discover(self) -> None:
        """Open the files that are newer than those known, as `.1`, `.2` … or in place of the current one.

        Rotation only ever moves a file from one number to the next, so going up the numbers meets each file at
        least once. The known files are open, so that none of their inodes can have been given to a new one.
        """
        known = {file.identity for file in self._files}
        found: list[_File] = []
        missing = number = 0
        while missing < 3:  # a rotation in progress leaves a gap
            file = _open(f"{self._path}.{number}" if number else str(self._path))
            number += 1
            missing = 0 if file else missing + 1
            if file is None:
                continue
            if file.identity in known:
                os.close(file.fd)
                break
            if any(file.identity == other.identity for other in found):
                os.close(file.fd)
            else:
                found.append(file)
        self._files += reversed(found)

    def skip(self) -> None:
        """Take what is there now as read; it is the backlog."""
        for file in self._files[:-1]:
            file.at = file.size()
        for file in self._files[-1:]:
            file.at = file.whole()

    def grown(self) -> Iterator[_Stamped]:
        """Return what was added to any of the files."""
        lines: list[bytes] = []
        if self._replaced():
            self.discover()
        for file in self._files:
            added, done = file.grown()
            lines += added
            if not done:
                break
            if file is not self._files[-1]:
                lines += file.leftover()
        self._forget()
        return self._stamped(lines)

    def backlog(self, n: int | None, since: float | None) -> Iterator[_Stamped]:
        parts = [(file.fd, 0, file.at) for file in self._files]
        if since is not None:
            parts = blocks.since(parts, since)
        if n is not None:
            parts = blocks.last(parts, n)
        return self._stamped(line for part in parts for line in forward(*part))

    def close(self) -> list[_Stamped]:
        lines = []
        for file in self._files:
            done = False
            while not done:
                added, done = file.grown()
                lines += added
            lines += [file.partial] if file.partial else []
        stamped = list(self._stamped(lines))
        for file in self._files:
            os.close(file.fd)
        self._files = []
        return stamped

    def _replaced(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return not self._files
        return not self._files or (found.st_dev, found.st_ino) != self._files[-1].identity

    def _forget(self) -> None:
        """Close the rotated files that were deleted: until then a process may still write to them."""
        for file in self._files[:-1]:
            if not file.partial and os.fstat(file.fd).st_nlink == 0 and file.at >= file.size():
                os.close(file.fd)
                self._files.remove(file)

    def _stamped(self, lines: Iterable[bytes]) -> Iterator[_Stamped]:
        """Give each line its time, or that of the line before: a traceback stays together."""
        latest = max((os.fstat(file.fd).st_mtime for file in self._files), default=0.0) + _AHEAD
        for line in lines:
            stamp = stamp_of(line) or 0.0
            self._last = max(self._last, stamp if stamp < latest else 0.0)
            yield self._last, self.name, line


def _open(path: str) -> _File | None:
    try:
        return _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None


def _shown(item: _Stamped) -> Line:
    return item[1], item[2].decode(errors="backslashreplace")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort web-2 before web-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
