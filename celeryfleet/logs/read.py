"""Reads the log files of all workers as one log: the end of it, and what is added; knows no processes.

New lines are looked for every 50 to 200 ms, with one stat per file: about 1 ms of work a second for 16 workers.
inotify would need ctypes, whose import costs more than minutes of that, and does not exist on macOS.
"""

from __future__ import annotations

import heapq
import io
import math
import os
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.logs.choose import Choice, Line, records
from celeryfleet.logs.times import time_of

if TYPE_CHECKING:
    from typing import BinaryIO

#: (unix seconds, worker, line)
_Timed = tuple[float, str, bytes]

_NAME = re.compile(r"(.+)\.log(?:\.\d+)?")
#: bytes of one file that one poll takes
_GULP = 1 << 20
#: bytes that a search in a large file reads at once
_BLOCK = 65536
#: lines without a time that the last lines are extended by at most, to find out when they were written
_LOOK_BACK = 1000
#: seconds that a line may be ahead of its file's last change and its time be believed: zones differ by less
_AHEAD = 86400
#: seconds between two polls, while lines come and when they don't
_EAGER, _LAZY = 0.05, 0.2


class Follower:
    """Follows the logs of a folder: what is there when it is made is the backlog, what comes later is polled.

    No line is lost or doubled by a rotation (renaming), however many there are between two polls; a truncated
    file is read from its start. `wanted` chooses workers by name; new ones are found as they appear.
    """

    def __init__(self, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
        self._folder = folder
        self._wanted = wanted
        self._logs: dict[str, _Log] = {}
        self._look_for_new()
        for log in self._logs.values():
            log.discover()
            log.skip()

    def backlog(self, n: int | None = None, since: float | None = None, choice: Choice | None = None) -> Iterator[Line]:
        """Yield the last `n` lines of the merged log, or those since a time (unix seconds), oldest first.

        Of lines that are looked for, those of the last `n` records.
        """
        logs = self._logs.items()
        found = _merged(log.backlog(None if choice and choice.few(name) else n, since) for name, log in logs)
        chosen = choice(found) if choice else found
        if choice and choice.patterns and n is not None:
            chosen = chain(*deque(records(chosen), n))
            n = None
        yield from chosen if n is None else deque(chosen, maxlen=n)

    def poll(self) -> list[Line]:
        """Return the whole lines added since the last poll, in the order of their times."""
        self._look_for_new()
        return list(_merged(log.grown() for log in self._logs.values()))

    def close(self) -> list[Line]:
        """Close all files; return the last lines, of which some may lack their end."""
        rest = [log.close() for log in self._logs.values()]
        self._logs.clear()
        return list(_merged(rest))

    def _look_for_new(self) -> None:
        try:
            files = os.listdir(self._folder)  # noqa: PTH208 - names alone, several times a second
        except FileNotFoundError:
            return
        names = {found[1] for file in files if (found := _NAME.fullmatch(file))} - self._logs.keys()
        for name in sorted(filter(self._wanted, names), key=natural):
            self._logs[name] = _Log(self._folder, name)


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


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of one file that are not empty, oldest first; none if it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BLOCK))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


class _File:
    """One open file of a log, current or rotated, and how far it is read."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.at = 0
        self.partial = b""
        self._quiet = False

    def stat(self) -> os.stat_result:
        return os.fstat(self.fd)

    def whole(self) -> int:
        """Return where the last whole line ends."""
        size = self.stat().st_size
        end = os.pread(self.fd, _BLOCK, max(0, size - _BLOCK))
        return size - len(end) + end.rfind(b"\n") + 1

    def grown(self) -> tuple[list[bytes], bool]:
        """Read the whole lines that were added, and tell whether that is all."""
        if self.stat().st_size < self.at:  # truncated
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
        found: list[_File] = []
        missing = number = 0
        while missing < 3:  # a rotation in progress leaves a gap
            try:
                file = _File(f"{self._path}.{number}" if number else str(self._path))
            except FileNotFoundError:
                missing += 1
            else:
                missing = 0
                if any(os.path.samestat(file.stat(), other.stat()) for other in self._files):
                    os.close(file.fd)
                    break
                twins = [other for other in found if os.path.samestat(file.stat(), other.stat())]
                for twin in twins:  # it has moved on, behind those that were met after it
                    found.remove(twin)
                    os.close(twin.fd)
                found.append(file)
            number += 1
        self._files += reversed(found)

    def skip(self) -> None:
        """Take what is there now as read; it is the backlog."""
        for file in self._files[:-1]:
            file.at = file.stat().st_size
        for file in self._files[-1:]:
            file.at = file.whole()

    def grown(self) -> Iterator[_Timed]:
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
        return self._timed(lines)

    def backlog(self, n: int | None, since: float | None) -> Iterator[_Timed]:
        """Return the lines that were there first: the last `n`, and some to know their time, or those since a time."""
        past = _Past([(file.fd, file.at) for file in self._files])
        file = io.BufferedReader(past, _BLOCK)
        start = 0 if since is None else _first_since(file, past.size, since)
        file.seek(start if n is None else _start_of_last(file, start, past.size, n))
        return self._timed(line.removesuffix(b"\n") for line in file)

    def close(self) -> list[_Timed]:
        lines = []
        for file in self._files:
            done = False
            while not done:
                added, done = file.grown()
                lines += added
            lines += [file.partial] if file.partial else []
        timed = list(self._timed(lines))
        for file in self._files:
            os.close(file.fd)
        self._files = []
        return timed

    def _replaced(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return not self._files
        return not self._files or not os.path.samestat(found, self._files[-1].stat())

    def _forget(self) -> None:
        """Close the rotated files that were deleted: until then a process may still write to them."""
        for file in self._files[:-1]:
            if not file.partial and (found := file.stat()).st_nlink == 0 and file.at >= found.st_size:
                os.close(file.fd)
                self._files.remove(file)

    def _timed(self, lines: Iterable[bytes]) -> Iterator[_Timed]:
        """Give each line its time, or that of the line before: a traceback stays together."""
        latest = max((file.stat().st_mtime for file in self._files), default=0.0) + _AHEAD
        for line in lines:
            time = time_of(line) or 0.0
            self._last = max(self._last, time if time < latest else 0.0)
            yield self._last, self.name, line


class _Past(io.RawIOBase):
    """Several files up to an offset in each, as one file to read; a line without an end is ended with its file."""

    def __init__(self, parts: Sequence[tuple[int, int]]) -> None:
        self._parts = [(fd, end, end + (end > 0 and os.pread(fd, 1, end - 1) != b"\n")) for fd, end in parts]
        self.size = sum(padded for _, _, padded in self._parts)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = (0, self._at, self.size)[whence] + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        start = self._at
        for fd, end, padded in self._parts:
            if start < padded:
                data = os.pread(fd, min(len(buffer), end - start), start) or b"\n"
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            start -= padded
        return 0


def _first_since(file: BinaryIO, size: int, since: float) -> int:
    """Find where the first line since a time begins; reads little of a large file, since its times only grow."""

    def time_after(offset: int) -> float:
        return _next_timed(file, offset, 0.0)[1]

    blocks = range(0, size, _BLOCK)
    number = bisect_left(blocks, since, key=time_after)
    return _next_timed(file, blocks[number - 1], since)[0] if number else 0


def _next_timed(file: BinaryIO, offset: int, since: float) -> tuple[int, float]:
    """Find the first line behind an offset that has a time, not before `since`; return its offset and the time."""
    file.seek(offset)
    if offset:
        offset += len(file.readline())  # some line's end
    for line in file:
        time = time_of(line)
        if time is not None and time >= since:
            return offset, time
        offset += len(line)
    return offset, math.inf


def _start_of_last(file: BinaryIO, start: int, end: int, n: int) -> int:
    """Find where the last `n` lines begin, or the record that the first of them belongs to."""
    reach = _BLOCK
    while n:
        at = max(start, end - reach)
        file.seek(at)
        lines = file.readlines(end - at)[at > start :]  # without a line of which only the end was read
        first = len(lines) - n
        while first > max(0, len(lines) - n - _LOOK_BACK) and time_of(lines[first]) is None:
            first -= 1
        if first > 0 or at == start:
            return end - sum(map(len, lines[max(first, 0) :]))
        reach *= 4
    return end


def _merged(logs: Iterable[Iterable[_Timed]]) -> Iterator[Line]:
    """Yield the lines of several logs in the order of their times."""
    for _, name, line in heapq.merge(*logs, key=lambda timed: timed[0]):
        yield name, line.decode(errors="backslashreplace")


def natural(name: str) -> list[tuple[int, str]]:
    """Sort web-2 before web-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
