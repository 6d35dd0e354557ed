"""What a plan is made of besides fleet.yaml, as plain values: this machine, its files, and the user's app."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: bytes; the kernel's limit for a socket's path is 107 on Linux and 103 on macOS
SOCKET_LIMIT = 100
#: not $TMPDIR or $XDG_RUNTIME_DIR: two shells must agree on where the control socket is
RUNTIME_DIR = "/tmp"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan needs to know of the machine; everything else is in fleet.yaml."""

    #: the machine's name, the last part of every node's
    host: str
    #: processors this process may use
    cpus: int
    #: whether a process that has imported a lot may be forked safely (Linux)
    can_fork: bool = True
    #: absolute path of fleet.yaml's folder, symbolic links resolved; empty: as the fleet names it
    folder: str = ""
    #: of the user, for the short socket folder
    uid: int = 0
    #: where that folder is made
    runtime_dir: str = RUNTIME_DIR
    #: the embedded broker's program, as found on this machine; empty: not looked for
    server: str = ""


@dataclass(frozen=True, slots=True)
class AppFacts:
    """The app as it is without the fleet; of several, what they are together."""

    #: registered tasks by their full names, sorted → what a task's own code says of how it is sent: queue, exchange,
    #: routing_key, priority (as on the wire), expires, time_limit… (`Task._get_exec_options`), without what is None
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: whether its own code calls `celeryfleet.install(app)`, as producers outside the fleet need it
    installs: bool = False
    #: settings the app makes itself (not Celery's defaults), by name
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: registered tasks → what their own code says of how they are run: acks_late, default_retry_delay (seconds);
    #: without what is Celery's default
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: names in its settings that Celery does not have → those that it has and that are almost the same
    unknown: Mapping[str, str] = field(default_factory=dict)
    #: the settings of each of several apps, by the apps' names
    apart: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def says(self, app: str) -> Mapping[str, Any]:
        """Return the settings that one app makes itself."""
        return self.apart.get(app, self.settings)


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
