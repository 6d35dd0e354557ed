"""Asks an app what it says by itself, in a process of its own: importing it runs code that is not the fleet's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeryfleet.fleetfile.told import Told

#: seconds that an app may take to import
_PATIENCE = 60


def home_of(app: str, folder: Path) -> Path:
    """Return the folder that has the app's package: this one, one within it, or the current one."""
    package = app.partition(":")[0].partition(".")[0]
    homes = [folder, *sorted(path for path in folder.glob("[!.]*") if path.is_dir()), Path.cwd()]
    return next((home for home in homes if (home / package).is_dir() or (home / f"{package}.py").is_file()), folder)


def told_by(app: str, django: str, folder: Path, env: Mapping[str, str]) -> tuple[Told | None, str]:
    """Return what an app says, with these variables where the environment has none of them, or why it says nothing."""
    from celeryfleet.fleetfile.told import Told
    from celeryfleet.records import parse

    argv = [
        sys.executable,
        "-P",
        "-m",
        "celeryfleet.app.told",
        app,
        str(folder.absolute()),
        *([django] if django else []),
    ]
    try:
        done = subprocess.run(
            argv, cwd=folder, env={**env, **os.environ}, capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f'the app "{app}" is not imported after {_PATIENCE} seconds.'
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return None, next((line for line in lines if line.startswith(("the app", "no Celery app"))), lines[-1])
    told: Told = parse(Told, done.stdout)
    return told, ""
