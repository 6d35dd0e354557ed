"""The supervisor's own log: stamped lines on its stdout, in files that don't grow for ever; never raises."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

from celeryfleet.plan.values import LogPlan


def speak_into(file: Path) -> None:
    """Make this file our stdout and stderr. Raises OSError."""
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd in (1, 2):
        os.dup2(out, fd)
    os.close(out)


def say(text: str, file: Path, limits: LogPlan) -> None:
    """Write lines, each with the time; those that a full disk does not take are lost, and nothing else is."""
    stamp = datetime.now().isoformat(" ", "milliseconds")
    with contextlib.suppress(OSError):
        if shift(file, limits):
            speak_into(file)
    with contextlib.suppress(OSError):
        lines = "".join(f"{stamp} {line}\n" for line in text.splitlines())
        os.write(1, lines.encode("utf-8", "backslashreplace"))


def shift(file: Path, limits: LogPlan) -> bool:
    """Rename a file that is full to `.1`, that one to `.2` and so on; tell whether it was. Raises OSError."""
    if not file.exists() or file.stat().st_size < limits.max_size:
        return False
    names = [file, *(Path(f"{file}.{number}") for number in range(1, limits.max_files))]
    for older, newer in reversed(list(zip(names[1:], names, strict=False))):
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
    file.unlink(missing_ok=True)
    return True
