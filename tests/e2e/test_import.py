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
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q mail -X a\n")
    done = run(tmp_path, "import", "procfile", "Procfile")
    assert done.returncode == 0
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["mail"]
    assert "not taken: Procfile:1 w: `-X a`" in done.stderr
    assert "Procfile: 1 pool (w); not taken: 3" in done.stderr


def test_what_is_not_understood_is_quoted_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("a: celery -A shop worker -Q mail\nb: ./start-celery.sh\n")
    refused = run(tmp_path, "import", "procfile", "Procfile")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Procfile:2: b: `./start-celery.sh`: the script ./start-celery.sh is not found here." in refused.stderr
    skipped = run(tmp_path, "import", "procfile", "Procfile", "--skip", "b")
    assert skipped.returncode == 0
    assert "not taken: Procfile:2 b: left out, by --skip" in skipped.stderr
    (tmp_path / "start-celery.sh").write_text("#!/bin/sh\nexec celery -A shop worker -Q sms\n")
    whole = run(tmp_path, "import", "procfile", "Procfile")
    assert sorted(parse(whole.stdout, "/fleet.yaml", {}).queues) == ["mail", "sms"]


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
        (("docker", "binary"), 'there is no format "docker".'),
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


# --- With the app -----------------------------------------------------------------------------------------

APP = """
import os
from celery import Celery

print("an app may print what it likes")
app = Celery("shop", broker=os.environ["SHOP_BUS"])
app.conf.update(
    task_default_queue="base",
    task_routes={"shop.mail.*": {"queue": "mail"}},
    worker_concurrency=24,
    beat_schedule={"nightly": {"task": "shop.add", "schedule": 30}},
)
"""
COMPOSE = """
services:
  worker: {command: celery -A shop worker, environment: {SHOP_BUS: "redis://:hunter2@bus:6379/0"}}
  mail: {command: celery -A shop worker -Q mail -c 2, environment: {SHOP_BUS: "redis://:hunter2@bus:6379/0"}}
"""


def test_the_app_tells_its_broker_queues_routes_and_concurrency(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "compose.yml").write_text(COMPOSE)
    done = run(tmp_path, "import", "compose", "compose.yml")
    fleet = parse(done.stdout, "/fleet.yaml", {"SHOP_BUS": "redis://x"})
    assert "hunter2" not in done.stdout + done.stderr
    assert "broker: ${SHOP_BUS}" in done.stdout
    assert [(route.task, route.queue) for route in fleet.routes] == [("shop.mail.*", "mail")]
    assert (list(fleet.queues), fleet.default_queue) == (["base", "mail"], "base")
    assert {name: (pool.queues, pool.concurrency) for name, pool in fleet.pools.items()} == {
        "worker": (("base",), 24),
        "mail": (("mail",), 2),
    }
    assert "the app's beat_schedule (nightly): nothing in the file starts a beat." in done.stderr


def test_an_app_in_a_folder_below_that_needs_the_env_file_is_asked_there(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "shop.py").write_text(APP)
    (tmp_path / "bus.env").write_text("SHOP_BUS=redis://:hunter2@bus:6379/0\n")
    (tmp_path / "compose.yml").write_text(
        "services: {w: {command: celery -A shop worker, build: ./backend, env_file: bus.env}}\n"
    )
    done = run(tmp_path, "import", "compose", "compose.yml")
    assert "the app is imported from backend: fleet.yaml belongs there" in done.stderr
    assert "broker: ${SHOP_BUS}" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_an_app_that_does_not_import_is_said_and_is_an_error_only_if_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import no_such_module")
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q mail\n")
    reason = "the app \"shop\" fails to import at shop.py:1: ModuleNotFoundError: No module named 'no_such_module'."
    done = run(tmp_path, "import", "procfile", "Procfile")
    assert (done.returncode, f"the app was not asked: {reason}" in done.stderr) == (0, True)
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["mail"]
    wanted = run(tmp_path, "import", "procfile", "Procfile", "--with-app")
    assert (wanted.returncode, wanted.stdout) == (1, "")
    assert reason in wanted.stderr
    left = run(tmp_path, "import", "procfile", "Procfile", "--without-app")
    assert (left.returncode, "no_such_module" in left.stderr) == (0, False)
