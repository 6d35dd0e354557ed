"""Finds lines and times in huge log files without reading all of them; knows offsets, not workers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from celeryfleet.supervise.stamps import stamp_of

_BLOCK = 65536
#: lines without a time that `last` goes back at most to find out when they were written
_LOOK_BACK = 1000

#: a file descriptor, and the part of the file from one offset to another
Part = tuple[int, int, int]


def last(parts: Sequence[Part], n: int) -> list[Part]:
    """Cut off what comes before the last `n` lines, but not within a record."""
    count = 0
    for index in reversed(range(len(parts))):
        fd, start, end = parts[index]
        for offset, line in backward(fd, start, end):
            count += 1
            if count >= n + _LOOK_BACK or (count >= n and stamp_of(line) is not None):
                return [(fd, offset, end), *parts[index + 1 :]]
    return list(parts)


def since(parts: Sequence[Part], start_time: float) -> list[Part]:
    """Cut off what was written before; reads little of a large file, since its times only grow."""
    for index in reversed(range(len(parts))):
        fd, start, end = parts[index]
        first = _first_stamp(fd, start, end)
        if first is None or first[1] >= start_time:
            continue
        low, high = first[0], end
        while high - low > _BLOCK:
            middle = (low + high) // 2
            found = _first_stamp(fd, middle, high)
            if found is None or found[1] >= start_time:
                high = middle
            else:
                low = found[0]
        offset = low
        for line in forward(fd, low, end):
            stamp = stamp_of(line)
            if stamp is not None and stamp >= start_time:
                return [(fd, offset, end), *parts[index + 1 :]]
            offset += len(line) + 1
        return list(parts[index + 1 :])
    return list(parts)


def _first_stamp(fd: int, start: int, end: int) -> tuple[int, float] | None:
    """Find the first line that begins in this part and has a time."""
    offset = start
    if start and os.pread(fd, 1, start - 1) != b"\n":
        offset = start + len(next(forward(fd, start, end), b"")) + 1
    for line in forward(fd, offset, end):
        stamp = stamp_of(line)
        if stamp is not None:
            return offset, stamp
        offset += len(line) + 1
    return None


def forward(fd: int, start: int, end: int, block: int = _BLOCK) -> Iterator[bytes]:
    """Yield the lines of a part, the first of which may begin before it."""
    rest: list[bytes] = []
    while start < end and (data := os.pread(fd, min(block, end - start), start)):
        start += len(data)
        first, *lines = data.split(b"\n")
        rest.append(first)
        if lines:
            yield b"".join(rest)
            rest = [lines.pop()]
            yield from lines
    if last := b"".join(rest):
        yield last


def backward(fd: int, start: int, end: int, block: int = _BLOCK) -> Iterator[tuple[int, bytes]]:
    """Yield the offset of each line and the line, the last one first."""
    if end <= start:
        return
    rest = b""
    size = block
    at = end - 1 if os.pread(fd, 1, end - 1) == b"\n" else end
    while at > start:
        at -= (length := min(size, at - start))
        data = os.pread(fd, length, at) + rest
        rest, *lines = data.split(b"\n")
        size = block if lines else size * 2
        position = at + len(data)
        for line in reversed(lines):
            position -= len(line)
            yield position, line
            position -= 1
    yield start, rest
