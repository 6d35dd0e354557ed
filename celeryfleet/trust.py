"""Whose files and sockets are believed: the user's own, root's, and those of folders that CELERYFLEET_TRUST names.

What a fleet.yaml names is run, so whoever may write it, or a module beside it, acts as the user who runs it.
`health` and `status` import this, so it imports nothing that takes long.
"""

from __future__ import annotations

import os
import socket
import stat
import sys

from celeryfleet.errors import FleetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: environment variable: folders of fleet.yaml files of other users to believe, as in PATH; `*` stands for all
VARIABLE = "CELERYFLEET_TRUST"

#: how a socket is asked who is at its other end, and bytes of the answer: for the uid, which is the second number, and
#: for the pid, the first; on macOS LOCAL_PEERCRED and LOCAL_PEERPID
_LINUX = hasattr(socket, "SO_PEERCRED")
_PEER = (socket.SOL_SOCKET, socket.SO_PEERCRED, 12) if _LINUX else (0, 1, 76)
_PEER_PID = _PEER if _LINUX else (0, 2, 4)


def vet(file: str) -> None:
    """Raise FleetError where a fleet.yaml, its folder or one above is another user's, or open to everyone.

    A folder above may be open if it is sticky, as /tmp is: what lies in it can't be replaced. In the folder itself
    anyone could then put a module of a name that the app imports. A file that is not there is nobody's.
    """
    folder = os.path.dirname(os.path.abspath(file))
    if trusted(folder):
        return
    whole = os.path.realpath(file)
    try:
        for own in dict.fromkeys((os.path.realpath(folder), os.path.dirname(whole))):
            for path in _upwards(own):
                _vet(path, folder, os.lstat(path), sticky=path != own)
        _vet(whole, folder, os.lstat(whole))
    except OSError:  # what cannot be looked at cannot be read either, and whoever tries says why
        return


def trusted(folder: str) -> bool:
    """Tell whether the user has said that a folder is to be believed, whoever owns it."""
    return any(name == "*" or os.path.realpath(name) == os.path.realpath(folder) for name in _named())


def stranger(uid: int) -> bool:
    """Tell whether a user is neither us nor root, nor whoever owns `/`: in a user namespace root is seen as another."""
    return uid not in (0, os.geteuid()) and uid != os.stat("/").st_uid


def believed(uid: int) -> bool:
    """Tell whether a fleet of this user is believed: ours, root's, or one in a folder that is trusted."""
    return not stranger(uid) or any(name == "*" or uid in _owners(name) for name in _named())


def peer(sock: socket.socket) -> int:
    """Return the uid of the process at the other end of a unix socket. Raises OSError."""
    return int.from_bytes(sock.getsockopt(*_PEER)[4:8], sys.byteorder)


def peer_pid(sock: socket.socket) -> int:
    """Return the pid of the process at the other end of a unix socket. Raises OSError."""
    return int.from_bytes(sock.getsockopt(*_PEER_PID)[:4], sys.byteorder)


def named(uid: int) -> str:
    """Name a user for a message: `alice (uid 1000)`."""
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _named() -> list[str]:
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _owners(folder: str) -> set[int]:
    """Return whose a folder and the fleets in it are."""
    found = set()
    for path in (folder, f"{folder}/.celeryfleet"):
        try:
            found.add(os.lstat(path).st_uid)
        except OSError:  # there is none
            continue
    return found


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _vet(path: str, folder: str, found: os.stat_result, sticky: bool = False) -> None:
    if stranger(found.st_uid):
        why = f"belongs to {named(found.st_uid)}, and you are {named(os.geteuid())}"
    elif found.st_mode & stat.S_IWOTH and not (sticky and found.st_mode & stat.S_ISVTX):
        why = "can be written by every user of this machine"
    else:
        return
    raise FleetError(
        f"{path} {why}: nothing of {folder} is read or run.",
        hint=f"If you trust what it would run as you, say so: {VARIABLE}={folder} celeryfleet …",
    )
