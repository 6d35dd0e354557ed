"""Makes folders 0700 and files 0600, whatever the umask, and follows no link on the way to them; knows no fleets."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from celeryfleet import trust

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def umask() -> Iterator[None]:
    """Have whatever is made in the body, by us or by a process that is started in it, be the user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def folder(base: str, *names: str) -> None:
    """Make a folder in `base`, one in that and so on, all ours alone.

    Raises OSError where one is a link or another user's; in a `base` that the user trusts it may be another's.
    """
    at, path = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), base
    try:
        for name in names:
            path = os.path.join(path, name)
            below = _entered(at, name, path)
            os.close(at)
            at = below
            found = os.fstat(at)
            if trust.stranger(found.st_uid) and not trust.trusted(base):
                raise PermissionError(1, f"it belongs to {trust.named(found.st_uid)}", path)
            if stat.S_IMODE(found.st_mode) != 0o700:
                os.fchmod(at, 0o700)
    finally:
        os.close(at)


def _entered(at: int, name: str, path: str) -> int:
    """Open a folder within another, made if it is not there."""
    with contextlib.suppress(FileExistsError), umask():
        os.mkdir(name, 0o700, dir_fd=at)
    try:
        return os.open(name, _FOLDER, dir_fd=at)
    except OSError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise NotADirectoryError(error.errno, "it is a symbolic link", path) from None
        raise type(error)(error.errno, error.strerror, path) from None


def opened(path: str, flags: int) -> int:
    """Open a file of ours, made if it is not there; return its descriptor. Raises OSError, also where it is a link."""
    fd = os.open(path, flags | _FILE, 0o600)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
        os.fchmod(fd, 0o600)
    return fd


def write(path: str, data: bytes) -> None:
    """Replace a file of ours as a whole. Raises OSError."""
    fresh = f"{os.path.splitext(path)[0]}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)  # of a process that was killed
    with open(opened(fresh, os.O_WRONLY | os.O_EXCL), "wb") as file:
        file.write(data)
    os.replace(fresh, path)
