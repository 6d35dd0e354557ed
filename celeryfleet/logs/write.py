"""A process's stdout and stderr: whole lines appended to a log file that any of its processes may rotate.

Nothing here blocks on a lock that a fork, a signal handler or a greenlet could find taken: a line is one append
of the kernel's, and what must happen once is tried, and left to the next line when somebody else is at it.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from celeryfleet import private

#: bytes without a line end that are written as they are
_LONGEST_PARTIAL = 8192
#: what the kernel is asked for
_FLAGS = os.O_WRONLY | os.O_APPEND

_installed: LogFile | None = None


class LogFile:
    """One log file behind several descriptors of several processes, renamed to `.1`, `.2` … as it fills."""

    def __init__(self, path: Path, max_size: int, max_files: int, fds: Sequence[int] = (1, 2)) -> None:
        #: lines that could not be written and were not yet reported
        self.dropped = 0
        self._fds = tuple(fds)
        self._why = ""
        self._torn = False
        self._busy = _thread.allocate_lock()
        self.redirect(path, max_size, max_files)

    def redirect(self, path: Path, max_size: int, max_files: int) -> None:
        """Go on in another file, e.g. in a forked worker; `max_size` is bytes, `max_files` counts the current one."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path.absolute()  # a task may change the working folder
        self.max_size = max_size
        self.max_files = max_files
        self._reopen()

    def write(self, fd: int, data: bytes) -> None:
        """Append to the file; never raises OSError: a full disk must not fail a task."""
        with contextlib.suppress(OSError):
            self._keep_up(len(data))
        lines = data.count(b"\n") or 1
        lost, self.dropped = self.dropped, 0
        try:
            self._append(fd, self._notice(lost) + data if lost else data)
        except OSError as error:
            self.dropped += lost + lines
            self._why = error.strerror or str(error)

    def after_fork(self) -> None:
        """Forget what belongs to the parent: its lock, and the lines that it lost."""
        self._busy = _thread.allocate_lock()
        self.dropped = 0

    def _append(self, fd: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            done = os.write(fd, rest)
            rest = rest[done:]
            self._torn = bool(rest)

    def _notice(self, lost: int) -> bytes:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        text = f"{stamp},000 WARNING celeryfleet: {lost} lines of this log could not be written: {self._why}\n"
        return ("\n" * self._torn + text).encode()

    def _keep_up(self, size: int) -> None:
        """Follow the file when another process has rotated it, and rotate it when it is full."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            full, ours = False, False
        else:
            full = found.st_size > 0 and found.st_size + size > self.max_size
            ours = os.path.samestat(found, self._opened)
        if ours and not full:
            return
        if self._busy.acquire(False):
            try:
                if not ours or self._rotate():
                    self._reopen()
            finally:
                self._busy.release()

    def _reopen(self) -> None:
        fd = private.opened(str(self.path), _FLAGS)
        try:
            for target in self._fds:
                os.dup2(fd, target)
            self._opened = os.fstat(fd)
        finally:
            os.close(fd)

    def _rotate(self) -> bool:
        """Shift the files by one; false if another process is doing so."""
        with _locked(self.path) as fd:
            if fd is None:
                return False
            if os.path.samestat(os.fstat(fd), self.path.stat()):  # else it has just been done
                shift(self.path, self.max_files)
            return True


def shift(path: Path, max_files: int) -> None:
    """Rename a log to `.1`, that one to `.2` and so on up to the first gap; drop what is beyond the limit."""

    def numbered(number: int) -> Path:
        return Path(f"{path}.{number}") if number else path

    gap = 1
    while gap < max_files - 1 and numbered(gap).exists():
        gap += 1
    for number in range(min(gap, max_files - 1), 0, -1):
        numbered(number - 1).rename(numbered(number))
    with contextlib.suppress(FileNotFoundError):
        for number in range(max_files, max_files + 100):
            numbered(number).unlink()
    if max_files <= 1:
        path.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Lock the log file itself, so that no lock file is left behind; None where another process holds it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield None
        return
    try:
        yield fd
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a fork in between has a copy of fd
        os.close(fd)


class LogStream(io.TextIOBase):
    """A text stream that hands whole lines to a LogFile; each thread's unfinished line waits for its end."""

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    line_buffering = True
    write_through = True

    def __init__(self, log: LogFile, fd: int, name: str) -> None:
        self.name = name
        self.buffer = _Bytes(self)
        self._log = log
        self._fd = fd
        self._partial: dict[int, bytes] = {}

    def write(self, text: str) -> int:
        """Write text; what follows the last line end is kept back until its own comes, or `flush`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.write_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes, by the same rule."""
        thread = threading.get_ident()
        if self._partial:
            data = self._partial.pop(thread, b"") + data
        end = data.rfind(b"\n") + 1
        if end < len(data) <= end + _LONGEST_PARTIAL:
            self._partial[thread] = data[end:]
            data = data[:end]
        if data:
            self._log.write(self._fd, data)

    def flush(self) -> None:
        """Write the unfinished lines too."""
        while self._partial:
            with contextlib.suppress(KeyError):
                self._log.write(self._fd, self._partial.popitem()[1])

    def after_fork(self) -> None:
        """Leave the parent's unfinished lines to the parent."""
        self._partial = {}

    def fileno(self) -> int:
        """Return 1 or 2, which stays the log's whatever is rotated."""
        return self._fd

    def writable(self) -> bool:
        """Say yes."""
        return True

    def reconfigure(self, **options: object) -> None:
        """Accept what scripts ask of sys.stdout; UTF-8 by lines is what they get."""

    def close(self) -> None:
        """Do nothing: descriptors 1 and 2 live as long as the process."""


class _Bytes(io.BufferedIOBase):
    """`sys.stdout.buffer` of a LogStream."""

    def __init__(self, text: LogStream) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        whole = bytes(data)
        self._text.write_bytes(whole)
        return len(whole)

    def flush(self) -> None:
        self._text.flush()

    def fileno(self) -> int:
        return self._text.fileno()

    def writable(self) -> bool:
        return True


def limit(max_size: int, max_files: int) -> None:
    """Give this process's log other limits, if it has one."""
    if _installed is not None:
        _installed.max_size, _installed.max_files = max_size, max_files


def install(path: Path, max_size: int, max_files: int) -> None:
    """Make the log at `path` this process's stdout and stderr, for Python and for C code alike.

    Called again, after a fork, it moves the streams to the other file: whoever kept sys.stderr follows.
    """
    global _installed
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if _installed is not None:
        _installed.redirect(path, max_size, max_files)
        return
    log = _installed = LogFile(path, max_size, max_files)
    out, err = LogStream(log, 1, "<stdout>"), LogStream(log, 2, "<stderr>")
    sys.stdout = sys.__stdout__ = out  # type: ignore[misc,assignment]
    sys.stderr = sys.__stderr__ = err  # type: ignore[misc,assignment]
    for owner in (log, out, err):
        os.register_at_fork(after_in_child=owner.after_fork)
