"""The folder in which multiprocessing keeps a worker's shared memory, so that whoever outlives it can remove it.

By itself Python makes one with a random name, which a worker that is killed leaves behind for ever.
"""

from __future__ import annotations

import multiprocessing.process
import os
import shutil
from pathlib import Path
from typing import Any


def use(path: Path) -> None:
    """Have multiprocessing use this folder; leave it to its own ways if the folder can't be ours alone."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or path.stat().st_uid != os.geteuid():
            return
    except OSError:
        return
    process: Any = multiprocessing.process.current_process()
    process._config["tempdir"] = str(path)


def leave(path: Path) -> None:
    """Remove the folder at the end of a worker that may have outlived its supervisor."""
    shutil.rmtree(path, ignore_errors=True)
