"""What is read from this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest

from celeryfleet import machine
from celeryfleet.fleetfile.load import parse

FLEET = "queues: {default: }\ndefault_queue: default\n"


def test_the_folder_is_named_without_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    facts = machine.facts(parse(FLEET, str(tmp_path / "link" / "fleet.yaml"), {}), "/opt/valkey-server")
    assert facts.folder == str((tmp_path / "real").resolve())
    assert (facts.host, facts.uid, facts.server) == (socket.gethostname(), os.getuid(), "/opt/valkey-server")


def test_a_process_may_use_what_its_affinity_allows() -> None:
    assert 1 <= machine.processors() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000\n", 1), ("5000 100000\n", 1)]
)
def test_the_quota_of_a_control_group_counts_in_whole_processors(text: str, quota: int | None) -> None:
    assert machine.quota_of(text) == quota


def test_the_memory_is_no_more_than_the_machine_has() -> None:
    found = machine.memory()
    assert found is not None
    assert 100_000_000 < found <= psutil.virtual_memory().total
