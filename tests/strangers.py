"""Another user of this machine, for tests of what he may not do; only root can be one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

#: of nobody
STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


def give(path: Path) -> Path:
    """Make a file or folder the stranger's, with all that is in it."""
    for found in (path, *path.rglob("*")):
        os.chown(found, STRANGER, STRANGER, follow_symlinks=False)
    return path


@contextlib.contextmanager
def supervisor_of_a_stranger(socket: Path) -> Iterator[None]:
    """Have the stranger's process answer every request on a socket as a supervisor that is content."""
    program = """
        import os, socket, sys
        os.setgid(65534); os.setuid(65534)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(sys.argv[1])
        os.chmod(sys.argv[1], 0o777)
        listener.listen()
        print("listening", flush=True)
        while True:
            caller, _ = listener.accept()
            try:
                caller.recv(65536)
                caller.sendall(b'{"t":"refused","what":"words of a stranger"}\\n')
            except OSError:
                pass  # the caller has hung up
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(socket)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()
