"""`init app`: with an app in the folder and without one, up to a script that sends in bulk."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celeryfleet.fleetfile.load import read
from tests.e2e.conftest import Home

APP = """
import os
from celery import Celery

celery = Celery("proj", broker=os.environ.get("PROJ_BUS", "redis://redis/3"))
celery.conf.update(task_routes={"proj.mail.*": "mail"}, task_default_queue="base", worker_concurrency=7)
"""
BULK = "import celeryfleet; from jobs import app, add; print(celeryfleet.bulk(app, add, [(1, 2)] * 5).queues)"


def script(home: Home, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=home.path, env=home.env, capture_output=True, text=True, timeout=60, check=False)


def test_an_app_that_is_there_gets_a_fleet_of_its_own_queues_and_is_left_as_it_is(home: Home) -> None:
    (home.path / "proj").mkdir()
    (home.path / "proj" / "celery.py").write_text(APP)
    (home.path / ".env").write_text("PROJ_BUS=redis://:hunter2@bus/4\n")
    done = home.run("init", "app")
    assert (home.path / "proj" / "celery.py").read_text() == APP
    assert not (home.path / "jobs.py").exists()
    assert "proj/celery.py, after the app's configuration" in done.stderr
    assert "    import celeryfleet\n    celeryfleet.install(celery)\n" in done.stderr
    fleet = read(home.path / "fleet.yaml", {})
    assert (fleet.app, fleet.default_queue) == ("proj.celery:celery", "base")
    assert "broker: ${PROJ_BUS}" in (home.path / "fleet.yaml").read_text()
    assert fleet.broker.url == "redis://:hunter2@bus/4"
    assert [(route.task, route.queue) for route in fleet.routes] == [("proj.mail.*", "mail")]
    assert fleet.pools["web"].queues == ("base", "mail")


def test_an_app_that_does_not_import_gets_a_fleet_to_start_from(home: Home) -> None:
    (home.path / "shop.py").write_text("import no_such_module\nfrom celery import Celery\napp = Celery()\n")
    done = home.run("init", "app")
    assert "The app was not asked for its queues and routes: the app" in done.stderr
    assert read(home.path / "fleet.yaml", {}).app == "shop:app"


def test_a_script_that_sends_in_bulk_sends_to_the_fleet_of_a_new_app(home: Home) -> None:
    home.run("init", "app")
    home.up()
    done = script(home, BULK)
    assert done.stdout == "{'default': 5}\n", done.stderr


@pytest.mark.parametrize("broker", ["", '"redis://127.0.0.1:1/0"'])
def test_a_script_whose_app_does_not_know_the_fleet_is_told_the_line(home: Home, broker: str) -> None:
    home.run("init", "app")
    lines = (home.path / "jobs.py").read_text().replace('"jobs")', f'"jobs", broker={broker or None})').splitlines()
    (home.path / "jobs.py").write_text("\n".join(line for line in lines if "celeryfleet" not in line))
    done = script(home, BULK)
    assert done.returncode == 1
    assert "add: import celeryfleet; celeryfleet.install(app)" in done.stderr.splitlines()[-1]
