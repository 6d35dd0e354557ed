"""The token that opens the page's actions: its file, and the cookie that stands for it. Knows no HTTP."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from celeryfleet import private, trust
from celeryfleet.errors import Exit, FleetError

#: characters of a token at least: a shorter one can be guessed
_SHORTEST = 16
#: seconds that a cookie holds
LASTS = 12 * 3600


def read(path: Path) -> tuple[str, bool]:
    """Return the token in a file, and whether it was made now. Raises FleetError where others can read the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _made(path), True
    except OSError as error:
        raise FleetError(f"the token {path} cannot be read: {error.strerror}.", code=Exit.FAILURE) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise FleetError(f"the token {path} is no file.")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or trust.stranger(found.st_uid):
            what = f"the token {path} can be read by others."
            raise FleetError(what, hint=f"Have it be yours alone: chmod 600 {path}")
        text = os.read(fd, 4096).decode(errors="replace").strip()
    finally:
        os.close(fd)
    if len(text) < _SHORTEST:
        hint = f"Write at least {_SHORTEST} characters into it, or remove it: a new one is made."
        raise FleetError(f"the token {path} is too short.", hint=hint)
    return text, False


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(24)
    try:
        with open(private.opened(str(path), os.O_WRONLY | os.O_EXCL), "w") as file:  # noqa: PTH123 - pathlib opens no descriptors
            file.write(f"{token}\n")
    except OSError as error:
        raise FleetError(f"the token {path} cannot be written: {error.strerror}.", code=Exit.FAILURE) from None
    return token


def same(token: str, other: str) -> bool:
    """Compare two tokens in a time that tells nothing."""
    return hmac.compare_digest(token.encode(), other.encode())


def cookie(token: str, now: float) -> str:
    """Return what a browser is to bring back: until when it holds, signed."""
    until = str(int(now) + LASTS)
    return f"{until}.{_signature(token, until)}"


def holds(token: str, value: str, now: float) -> bool:
    """Tell whether a cookie is ours, and not over."""
    until, _, signature = value.partition(".")
    return same(signature, _signature(token, until)) and until.isdecimal() and int(until) > now


def _signature(token: str, until: str) -> str:
    return hmac.new(token.encode(), f"celeryfleet ui until {until}".encode(), hashlib.sha256).hexdigest()
