"""Whose fleet.yaml, folders and sockets are believed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeryfleet import trust
from celeryfleet.errors import Exit, FleetError
from celeryfleet.supervise.control_client import Client
from tests.strangers import STRANGER, give, needs_root, open_folder, supervisor_of_a_stranger


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    with open_folder() as found:
        (found / "fleet.yaml").write_text("name: shop\n")
        yield found


def refusal(file: Path) -> str:
    with pytest.raises(FleetError) as caught:
        trust.vet(str(file))
    assert caught.value.code is Exit.USAGE
    return str(caught.value)


def test_a_fleet_of_ours_in_a_sticky_tmp_is_believed(folder: Path) -> None:
    trust.vet(str(folder / "fleet.yaml"))


def test_a_file_that_is_not_there_is_left_to_whoever_reads_it(folder: Path) -> None:
    trust.vet(str(folder / "none" / "fleet.yaml"))
    trust.vet(str(folder / "none.yaml"))


@needs_root
def test_the_folder_of_another_user_is_refused_with_the_owner_and_the_way_out(folder: Path) -> None:
    give(folder)
    assert refusal(folder / "fleet.yaml") == (
        f"{folder} belongs to {trust.named(STRANGER)}, and you are root (uid 0): nothing of {folder} is read or run. "
        f"If you trust what it would run as you, say so: CELERYFLEET_TRUST={folder} celeryfleet …"
    )


@needs_root
def test_a_file_of_another_user_in_a_folder_of_ours_is_refused(folder: Path) -> None:
    give(folder / "fleet.yaml")
    assert refusal(folder / "fleet.yaml").startswith(f"{folder}/fleet.yaml belongs to {trust.named(STRANGER)}, ")


@needs_root
def test_a_user_believes_root_but_no_third_one(folder: Path) -> None:
    os.seteuid(STRANGER)
    try:
        trust.vet(str(folder / "fleet.yaml"))
        os.seteuid(0)
        os.chown(folder, 1000, 1000)
        os.seteuid(STRANGER)
        assert refusal(folder / "fleet.yaml").startswith(f"{folder} belongs to {trust.named(1000)}, and you are ")
    finally:
        os.seteuid(0)


@needs_root
def test_a_folder_of_ours_in_one_of_another_user_is_refused(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    os.chown(folder, STRANGER, STRANGER)
    assert refusal(inner / "fleet.yaml").startswith(f"{folder} belongs to {trust.named(STRANGER)}, ")


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_folder_where_anyone_can_put_a_module_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert refusal(folder / "fleet.yaml").startswith(f"{folder} can be written by every user of this machine: ")


def test_a_folder_above_may_be_open_only_where_it_is_sticky(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    folder.chmod(0o1777)
    trust.vet(str(inner / "fleet.yaml"))
    folder.chmod(0o777)
    assert refusal(inner / "fleet.yaml").startswith(f"{folder} can be written by every user")


def test_a_file_that_anyone_can_write_is_refused(folder: Path) -> None:
    (folder / "fleet.yaml").chmod(0o666)
    assert refusal(folder / "fleet.yaml").startswith(f"{folder}/fleet.yaml can be written by every user")


def test_a_link_is_judged_by_the_file_it_leads_to(folder: Path) -> None:
    with open_folder() as other:
        (other / "real.yaml").write_text("name: shop\n")
        other.chmod(0o777)
        (folder / "linked.yaml").symlink_to(other / "real.yaml")
        assert refusal(folder / "linked.yaml").startswith(f"{other} can be written by every user")


@pytest.mark.parametrize("value", ["{folder}", "/nowhere:{folder}/", "*"])
def test_what_the_user_trusts_is_believed(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    folder.chmod(0o777)
    monkeypatch.setenv(trust.VARIABLE, value.format(folder=folder))
    trust.vet(str(folder / "fleet.yaml"))


@pytest.mark.parametrize("value", ["", ":", "/", "/tmp", "{folder}/fleet.yaml"])
def test_trust_is_in_the_very_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    folder.chmod(0o777)
    monkeypatch.setenv(trust.VARIABLE, value.format(folder=folder))
    refusal(folder / "fleet.yaml")


def test_a_socket_says_who_is_at_its_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert trust.peer(ours) == os.geteuid()


@needs_root
def test_a_stranger_who_answers_on_the_control_socket_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(folder)
    with supervisor_of_a_stranger(folder / "control.sock"):
        with pytest.raises(FleetError, match=r"is a process of .*uid 65534.*, and is not believed") as caught:
            Client(str(folder / "control.sock"))
        assert caught.value.code is Exit.NOT_READY
        monkeypatch.setenv(trust.VARIABLE, str(folder))
        Client(str(folder / "control.sock")).close()
