"""`celeryfleet import`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from celeryfleet.fleetfile.load import parse


def run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celeryfleet", *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )


def test_the_fleet_goes_to_stdout_and_what_is_lost_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q mail -B\n")
    done = run(tmp_path, "import", "procfile", "Procfile")
    assert done.returncode == 0
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["mail"]
    assert "not taken: Procfile:1 w: `-B`" in done.stderr
    assert "Procfile: 1 pool (w); not taken: 3" in done.stderr


def test_a_file_is_written_but_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("w: celery -A shop worker\n")
    first = run(tmp_path, "import", "procfile", "Procfile", "-o", "fleet.yaml")
    assert (first.returncode, first.stdout) == (0, "")
    written = (tmp_path / "fleet.yaml").read_text()
    assert parse(written, "/fleet.yaml", {}).app == "shop"
    second = run(tmp_path, "import", "procfile", "Procfile", "-o", "fleet.yaml")
    assert second.returncode == 2
    assert "fleet.yaml exists, and import never overwrites." in second.stderr
    assert (tmp_path / "fleet.yaml").read_text() == written


def test_json_holds_the_file_and_every_note(tmp_path: Path) -> None:
    done = run(
        tmp_path, "import", "compose", "-", "--json", stdin="services: {w: {command: celery -A shop worker -B}}\n"
    )
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    (file,) = document["files"]
    assert (file["name"], file["path"]) == ("fleet.yaml", None)
    assert parse(file["text"], "/fleet.yaml", {}).app == "shop"
    assert document["pools"] == [{"name": "w", "from": ["<stdin>:1 w"]}]
    assert {"not taken", "changed"} >= {note["kind"] for note in document["notes"]} >= {"not taken"}


def test_variables_may_come_from_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUEUES=a,b\n")
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q $QUEUES\n")
    done = run(tmp_path, "--env-file", ".env", "import", "procfile", "Procfile")
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("procfile", "nowhere"), "there is no file nowhere."),
        (("procfile", "."), ". cannot be read: Is a directory."),
        (("procfile", "binary"), "binary: the file is no text."),
        (("procfile", "latin"), "latin:2:1: the file is not UTF-8."),
        (("docker", "binary"), "'docker' is not one of"),
        (
            ("procfile", "Procfile", "-o", "no/fleet.yaml"),
            "no/fleet.yaml cannot be written: No such file or directory.",
        ),
    ],
)
def test_a_wrong_call_ends_with_2_and_a_reason(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    (tmp_path / "latin").write_bytes(b"# ok\nw: caf\xe9\n")
    (tmp_path / "Procfile").write_text("w: celery -A shop worker\n")
    done = run(tmp_path, "import", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
