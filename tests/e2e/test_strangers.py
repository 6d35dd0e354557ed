"""Other users of the machine: what they put in our way is neither read nor run, and what is ours is closed to them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeryfleet import trust
from tests.e2e.conftest import APP, FLEET, Home
from tests.strangers import STRANGER, give, needs_root, open_folder, supervisor_of_a_stranger

MARKED_APP = "import pathlib; (pathlib.Path(__file__).parent / 'ran').touch()\n" + APP


@pytest.fixture
def theirs() -> Iterator[Home]:
    """Give a fleet in a folder of another user."""
    with open_folder() as folder:
        found = Home(folder).write(app=MARKED_APP)
        give(folder)
        yield found


@needs_root
@pytest.mark.parametrize(
    "words", ["check", "health", "status", "up -d", "route shop.add", "send shop.add 1 2", "down", "logs", "config"]
)
def test_nothing_of_a_strangers_folder_is_read_or_run(theirs: Home, words: str) -> None:
    (theirs.path / "fleet.yaml").write_text(f"{FLEET}words of a stranger: 1\n")
    give(theirs.path)
    done = theirs.run(*words.split(), check=False)
    assert done.returncode == 2
    assert f"{theirs.path} belongs to {trust.named(STRANGER)}, and you are root (uid 0)" in done.stderr
    assert f"CELERYFLEET_TRUST={theirs.path} celeryfleet" in done.stderr
    assert "words of a stranger" not in done.stdout + done.stderr
    assert sorted(path.name for path in theirs.path.iterdir()) == ["fleet.yaml", "shop.py"]


@needs_root
def test_a_folder_that_is_trusted_is_used(theirs: Home) -> None:
    trusting = {trust.VARIABLE: str(theirs.path)}
    assert "0 warnings" in theirs.run("check", env=trusting).stderr
    assert (theirs.path / "ran").exists()
    theirs.run("up", "-d", "--wait", env=trusting)
    assert theirs.run("health", env=trusting).stdout == "shop is ready: 2 of 2 workers\n"
    theirs.run("down", env=trusting)


@needs_root
@pytest.mark.parametrize("command", ["health", "status", "ps --json"])
def test_a_supervisor_of_a_stranger_is_not_believed(command: str) -> None:
    """`health` printed "ready" for whoever planted a socket: here the folder is ours, and was once open."""
    with open_folder() as folder:
        home = Home(folder).write()
        (folder / ".celeryfleet").mkdir()
        (folder / "planted").mkdir()
        give(folder / "planted")
        (folder / ".celeryfleet" / "fleet.yaml.sock").symlink_to(folder / "planted" / "control.sock")
        with supervisor_of_a_stranger(folder / "planted" / "control.sock"):
            done = home.run(*command.split(), check=False)
    assert done.returncode == 3
    assert f"is a process of {trust.named(STRANGER)}, and is not believed" in done.stderr
    assert "words of a stranger" not in done.stdout + done.stderr


@needs_root
def test_a_planted_link_is_not_followed(home: Home) -> None:
    """Root made the folder behind it 0700."""
    home.write()
    with open_folder() as target:
        (home.path / ".celeryfleet").symlink_to(target)
        done = home.run("up", "-d", check=False)
        assert done.returncode == 2
        assert f"{home.path}/.celeryfleet is a symbolic link" in done.stderr
        assert stat.S_IMODE(target.stat().st_mode) == 0o755
        assert list(target.iterdir()) == []
        (home.path / ".celeryfleet").unlink()


def test_all_that_a_fleet_keeps_is_its_users_alone_under_any_umask(home: Home) -> None:
    home.write()
    argv = [sys.executable, "-m", "celeryfleet", "up", "-d", "--wait"]
    subprocess.run(argv, cwd=home.path, env=home.env, check=True, capture_output=True, umask=0)
    assert home.send("shop.add", "1", "2") == 3
    kept = [path for path in (home.path / ".celeryfleet").rglob("*") if not path.is_symlink()]
    open_ones = [str(path) for path in [home.path / ".celeryfleet", *kept] if path.stat().st_mode & 0o077]
    assert open_ones == []
    names = {path.name for path in kept}
    assert {"control.sock", "broker.sock", "pids.json", "settings.json", "web-1.log"} <= names
    assert any(name.endswith(".aof") for name in names)


@needs_root
def test_a_short_socket_folder_of_a_stranger_is_not_used(home: Home, tmp_path: Path) -> None:
    """What lies too deep for a socket keeps its sockets in /tmp, where anyone can be first."""
    deep = home.path / ("deep" * 25)
    deep.mkdir()
    below = Home(deep).write()
    sockets = Path(
        below.run("config", "--format", "json").stdout.partition("redis+socket://")[2].partition("/broker.sock")[0]
    )
    assert sockets.parent == Path(f"/tmp/celeryfleet-{os.geteuid()}")
    sockets.mkdir(parents=True)
    os.chown(sockets, STRANGER, STRANGER)
    try:
        done = below.run("up", "-d", check=False)
        assert done.returncode == 2
        assert f"{sockets} is of {trust.named(STRANGER)}" in done.stderr
    finally:
        sockets.rmdir()


@needs_root
def test_an_override_of_a_stranger_in_a_folder_of_ours_is_not_read(home: Home) -> None:
    home.write()
    (home.path / "fleet.override.yaml").write_text("words of a stranger: 1\n")
    give(home.path / "fleet.override.yaml")
    done = home.run("check", check=False)
    assert done.returncode == 2
    assert f"fleet.override.yaml belongs to {trust.named(STRANGER)}" in done.stderr
    assert "words of a stranger" not in done.stderr
    (home.path / "fleet.override.yaml").unlink()
