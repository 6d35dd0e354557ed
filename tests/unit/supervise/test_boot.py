"""How a supervisor begins, up to where it would supervise: real folders, locks and sockets."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from celeryfleet.fleetfile.load import parse
from celeryfleet.plan.build import build
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Apply, Locked, Refused
from celeryfleet.records import Lines, encode
from celeryfleet.supervise.boot import boot, point, pointer
from celeryfleet.supervise.namesake import Claim
from tests.unit.plan.fleets import FACTS, fleet_text


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder of a short name, in which a socket finds room."""
    with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as path:
        yield Path(path).resolve()


def plan_in(folder: Path, broker: str = "redis://h", name: str = "shop") -> Plan:
    fleet = parse(fleet_text(name=name, broker=broker), str(folder / "fleet.yaml"), {})
    return build(fleet, replace(FACTS, folder=str(folder), uid=os.geteuid()))


def answer(plan: Plan) -> object:
    """Boot with this plan and return what the parent hears."""
    ours, parent = socket.socketpair()
    with ours, parent:
        ours.sendall(encode(Apply(plan.to_json())))
        boot(parent, None)
        return next(Lines(Locked | Refused).feed(ours.recv(1 << 16)))


@contextmanager
def locked(plan: Plan) -> Iterator[None]:
    """Hold the fleet's lock, and answer at its control socket, as its supervisor does."""
    Path(plan.state_dir).mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as control, (Path(plan.state_dir) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        control.bind(plan.control)
        control.listen()
        yield


def test_a_parent_that_says_nothing_wants_no_supervisor(folder: Path) -> None:
    ours, parent = socket.socketpair()
    with parent:
        ours.close()
        boot(parent, None)
    assert list(folder.iterdir()) == []


def test_a_fleet_that_is_supervised_is_left_to_its_supervisor(folder: Path) -> None:
    plan = plan_in(folder)
    with locked(plan):
        assert answer(plan) == Locked()


def test_the_folders_are_ours_alone_and_stay_out_of_commits(folder: Path) -> None:
    plan = plan_in(folder)
    with locked(plan):
        answer(plan)
        (folder / ".celeryfleet" / ".gitignore").write_text("# mine\n")
        answer(plan)
    assert Path(plan.state_dir).stat().st_mode & 0o777 == 0o700
    assert (Path(plan.state_dir) / "logs").is_dir()
    assert (folder / ".celeryfleet" / ".gitignore").read_text() == "# mine\n"


def test_files_that_cannot_be_written_are_named(folder: Path) -> None:
    (folder / ".celeryfleet").write_text("in the way")
    plan = plan_in(folder)
    assert answer(plan) == Refused(
        f"the fleet's files cannot be written: {folder}/.celeryfleet: Not a directory.", code=3
    )


def test_a_namesake_is_refused_with_what_to_do(folder: Path) -> None:
    name = f"shop-{uuid.uuid4().hex[:8]}"
    claim = Claim()
    claim.take(replace(plan_in(folder, name=name), file="/srv/other/fleet.yaml"))
    refused = answer(plan_in(folder, name=name))
    claim.release()
    assert isinstance(refused, Refused)
    assert refused.code == 3
    assert refused.what.startswith(f'a fleet named "{name}" runs on this broker already, from /srv/other/fleet.yaml.')


def test_the_link_beside_fleet_yaml_leads_to_the_control_socket_of_now(folder: Path) -> None:
    plan = plan_in(folder)
    Path(plan.state_dir).mkdir(parents=True)
    link = pointer(folder / "fleet.yaml")
    assert link == folder / ".celeryfleet" / "fleet.yaml.sock"
    point(plan)
    point(replace(plan, control="/tmp/elsewhere/control.sock"))
    assert str(link.readlink()) == "/tmp/elsewhere/control.sock"
    assert [path.name for path in link.parent.iterdir() if path.is_symlink()] == ["fleet.yaml.sock"]
