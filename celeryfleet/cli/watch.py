"""Reloads a fleet when its code or its fleet.yaml changes, by running `celeryfleet reload`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.errors import FleetError
from celeryfleet.text import listed, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session

#: milliseconds without a change after which a reload begins: an editor, or `git checkout`, writes many files
_QUIET = 200
#: milliseconds between two looks at files beyond the folder
_LOOK = 500
#: folders whose files are not the app's own code, besides hidden ones and virtual environments
_FOREIGN = ("__pycache__", "node_modules", "site-packages")


@contextmanager
def watching(session: Session, pools: Collection[str]) -> Iterator[None]:
    """Reload these pools, or all, at each change meanwhile. Raises FleetError where watchfiles is missing."""
    watcher = _Watcher(session, pools)
    thread = threading.Thread(target=watcher.run, name="celeryfleet-watch")
    thread.start()
    try:
        yield
    finally:
        watcher.over.set()
        thread.join()


class _Watcher:
    """Looks for changes, and has one reload after the other."""

    def __init__(self, session: Session, pools: Collection[str]) -> None:
        try:
            import watchfiles
        except ImportError:
            hint = 'Install it: pip install "celeryfleet[watch]"'
            raise FleetError("--watch needs watchfiles, which is not installed.", hint=hint) from None
        self._watchfiles = watchfiles
        self._folder = session.path.absolute().parent
        self._files = set(_files_of(session, self._folder))
        self._outside = [file for file in self._files if self._folder not in file.parents]
        self._seen = self._stamps()
        self._argv = [sys.executable, "-P", "-m", "celeryfleet", *session.words(), "reload", "--no-wait", *pools]
        self.over = threading.Event()

    def run(self) -> None:
        """Watch until `over` is set."""
        found = self._watchfiles.watch(  # its own filter would keep from us that time has passed
            self._folder, watch_filter=None, stop_event=self.over, step=_QUIET, rust_timeout=_LOOK,
            yield_on_timeout=True,
        )  # fmt: skip
        try:
            for changes in found:
                now = self._stamps()  # before the reload: what is written meanwhile is seen the next time
                changed = {Path(name) for _, name in changes if concerns(Path(name), self._folder, self._files)}
                changed |= {file for file in self._outside if now[file] != self._seen[file]}
                self._seen = now
                if changed:
                    self._changed(changed)
        except (OSError, RuntimeError) as error:  # such as too many folders for inotify
            say(f"changes are no longer seen: {error}", sys.stderr)

    def _stamps(self) -> dict[Path, tuple[int, int] | None]:
        """Tell the files beyond the folder apart from what they become: most editors put another one in its place."""
        found: dict[Path, tuple[int, int] | None] = {}
        for file in self._outside:
            try:
                stat = file.stat()
                found[file] = stat.st_ino, stat.st_mtime_ns
            except OSError:
                found[file] = None
        return found

    def _changed(self, files: Iterable[Path]) -> None:
        """Reload; what becomes of it the supervisor's log tells, and here why it could not even begin."""
        names = [str(file.relative_to(self._folder)) if self._folder in file.parents else str(file) for file in files]
        say(f"{listed(sorted(names), most=3)} changed: reloading", sys.stderr)
        done = subprocess.run(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, check=False,
        )  # fmt: skip
        if done.returncode and not self.over.is_set():
            say(f"{done.stdout}The workers go on as they are. Mend it: the next change is tried again.", sys.stderr)


def concerns(file: Path, folder: Path, files: Collection[Path]) -> bool:
    """Tell whether a file is one of `files` or code of the app: below `folder`, in no virtual environment."""
    if file in files:
        return True
    if file.suffix != ".py" or folder not in file.parents:
        return False
    parts = file.relative_to(folder).parts
    if any(part.startswith(".") or part in _FOREIGN for part in parts):
        return False
    between = [parent for parent in file.parents if folder in parent.parents]
    return not any((parent / "pyvenv.cfg").exists() for parent in between)


def _files_of(session: Session, folder: Path) -> Iterator[Path]:
    """Name the files that fleet.yaml is made of."""
    from celeryfleet.fleetfile.load import override_of

    yield session.path.absolute()
    yield override_of(session.path.absolute())
    for name in (*session.fleet.env_file, *(str(file.absolute()) for file in session.env_files)):
        yield Path(os.path.normpath(folder / name))
