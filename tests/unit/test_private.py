"""Folders and files that are for their owner alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from celeryfleet import private, trust
from tests.strangers import STRANGER, needs_root


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_whatever_the_umask_folders_are_0700_and_files_0600(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        private.folder(str(tmp_path), "a", "b")
        private.write(str(tmp_path / "a" / "b" / "file"), b"text")
        os.close(private.opened(str(tmp_path / "a" / "log"), os.O_WRONLY))
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "file") == mode(tmp_path / "a" / "log") == 0o600
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"text"


def test_what_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o777)
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o666)
    private.folder(str(tmp_path), "a")
    os.close(private.opened(str(tmp_path / "file"), os.O_WRONLY))
    assert (mode(tmp_path / "a"), mode(tmp_path / "file")) == (0o700, 0o600)


@pytest.mark.parametrize("names", [("link",), ("link", "below"), ("real", "link")])
def test_no_folder_is_made_or_changed_behind_a_link(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A root that chmods what a planted link leads to gives or takes what is not the fleet's."""
    target = tmp_path / "target"
    for folder in (target, tmp_path / "real"):
        folder.mkdir()
        folder.chmod(0o755)
    (tmp_path / names[0] if names[0] == "link" else tmp_path / "real" / "link").symlink_to(target)
    with pytest.raises(OSError, match="it is a symbolic link"):
        private.folder(str(tmp_path), *names)
    assert mode(target) == 0o755
    assert list(target.iterdir()) == []


def test_no_file_is_written_or_changed_behind_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    target.chmod(0o644)
    for name in ("log", "file", "file.new"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        private.opened(str(tmp_path / "log"), os.O_WRONLY)
    private.write(str(tmp_path / "file"), b"ours")
    assert (target.read_text(), mode(target)) == ("kept", 0o644)
    assert (tmp_path / "file").read_text() == "ours"
    assert not (tmp_path / "file").is_symlink()


@needs_root
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.chown(tmp_path / "a", STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=re.escape(f"it belongs to {trust.named(STRANGER)}")):
        private.folder(str(tmp_path), "a")
