"""The last lines of one log file, to say why a process ended; light enough for the supervisor."""

from __future__ import annotations

from pathlib import Path

#: bytes looked at
_REACH = 16_384


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file that are not empty, oldest first; none if it can't be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _REACH))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines[-count:]
