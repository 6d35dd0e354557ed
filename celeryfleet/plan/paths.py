"""Where a fleet keeps its state and its sockets; pure, and so the same for whoever asks."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

#: bytes; the kernel's limit for a socket's path is 107 on Linux and 103 on macOS
SOCKET_LIMIT = 100
#: not $TMPDIR or $XDG_RUNTIME_DIR: two shells must agree on where the control socket is
RUNTIME_DIR = "/tmp"


@dataclass(frozen=True, slots=True)
class Paths:
    """Absolute paths of one fleet."""

    #: logs, data and lock
    state_dir: str
    #: the control socket
    control: str
    #: the embedded broker's socket
    broker: str
    #: the folder of both sockets: `state_dir`, or a short one when that is too long for a socket
    sockets: str


def paths(folder: str, name: str, uid: int, runtime_dir: str) -> Paths:
    """Lay out the fleet `name` whose fleet.yaml lies in `folder`.

    Where the sockets' paths would be too long they go to a folder under `runtime_dir` that is named after the user
    and a hash of `state_dir`; whoever creates it must make it 0700 and see that it is the user's own.
    """
    state_dir = os.path.join(folder, ".celeryfleet", name)  # noqa: PTH118 - text only, nothing is looked up
    sockets = state_dir
    if len(os.fsencode(f"{state_dir}/control.sock")) > SOCKET_LIMIT:
        digest = hashlib.blake2b(os.fsencode(state_dir), digest_size=8).hexdigest()
        sockets = f"{runtime_dir}/celeryfleet-{uid}/{digest}"
    return Paths(state_dir, f"{sockets}/control.sock", f"{sockets}/broker.sock", sockets)
