"""An app that a team already has: its own settings, package and producers, given the fleet by one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Home

FLEET = """
name: shop
app: {app}
preload: {preload}
queues: {{default: , mail: }}
routes:
  - {{task: proj.tasks.where, queue: mail}}
pools:
  web: {{queues: [default], pool: {pool}}}
  mail: {{queues: [mail]}}
"""

CELERY = """
import celeryfleet
from celery import Celery

application = Celery("proj")
application.config_from_object("proj.celeryconfig")
celeryfleet.install(application)
"""

#: what the team had: a broker that is not there and routes that the fleet replaces
CONFIG = """
broker_url = "redis://127.0.0.1:1/0"
result_backend = "redis://127.0.0.1:1/0"
imports = ("proj.tasks",)
task_routes = {"proj.*": {"queue": "elsewhere"}}
"""

TASKS = """
import multiprocessing, os, subprocess, sys, threading
from concurrent.futures import ProcessPoolExecutor

from proj.celery import application


@application.task
def where():
    return os.environ.get("CELERYFLEET_WORKER")


def publish():
    return where.delay().id


@application.task
def relay(how):
    if how == "spawn":
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(publish).result()
    if how == "fork":
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.write(theirs, publish().encode())
            os._exit(0)
        os.wait()
        return os.read(ours, 100).decode()
    if how == "script":
        code = "from proj.tasks import publish; print(publish())"
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return publish()
"""


#: what a worker is, seen from within a task
SELF = """
import sys
from celery import Celery

app = Celery("shop")
app.conf.update(SETTINGS)


@app.task
def conf(*keys):
    return [app.conf[key] for key in keys]


@app.task
def patched():
    return "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("socket")
"""

OWN = {
    "worker_pool": "threads",
    "worker_concurrency": 24,
    "worker_prefetch_multiplier": 7,
    "worker_max_tasks_per_child": 50,
    "task_time_limit": 77,
    "worker_send_task_events": True,
}


def write(home: Home, app: str = "proj.celery:application", preload: str = "auto", pool: str = "prefork") -> Home:
    """Write the team's package and a fleet for it."""
    package = home.path / "proj"
    package.mkdir()
    for name, text in {"__init__": "", "celery": CELERY, "celeryconfig": CONFIG, "tasks": TASKS}.items():
        (package / f"{name}.py").write_text(text)
    (home.path / "fleet.yaml").write_text(FLEET.format(app=app, preload=preload, pool=pool))
    return home


def run(code: str, folder: Path, **env: str) -> str:
    """Run a script as a producer would; return what it prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


@pytest.mark.parametrize("preload", ["true", "false"])
def test_whatever_a_task_sends_follows_the_fleet_from_forked_spawned_and_exec_d_processes(
    home: Home, preload: str
) -> None:
    # In a pool of threads, for Python lets no prefork child have children by multiprocessing.
    write(home, preload=preload, pool="threads").up()
    for how in ("here", "fork", "spawn", "script"):
        sent = home.send("relay", how)
        assert home.run("result", sent).stdout == "mail-1\n", how


def test_producers_outside_the_fleet_follow_it(home: Home, tmp_path: Path) -> None:
    write(home, app="proj").up()  # found as `celery -A proj` finds it: in the submodule celery, under any name
    code = "from proj.tasks import where; print(where.delay().get(timeout=60))"
    assert run(code, home.path, **home.env) == "mail-1"
    elsewhere = {**home.env, "PYTHONPATH": str(home.path), "CELERYFLEET_FILE": str(home.path / "fleet.yaml")}
    assert run(code, tmp_path, **elsewhere) == "mail-1"


def test_a_producer_without_celeryfleet_follows_the_written_module(home: Home, tmp_path: Path) -> None:
    write(home).up()
    (tmp_path / "fleetconfig.py").write_text(home.run("config", "--format", "python").stdout)
    code = """
import sys
sys.modules["celeryfleet"] = None  # an import of it would fail
from celery import Celery
app = Celery("web", config_source="fleetconfig")
print(app.send_task("proj.tasks.where").get(timeout=60))
"""
    assert run(code, tmp_path, **home.env) == "mail-1"


def test_without_a_fleet_to_find_the_one_line_says_what_to_do(home: Home, tmp_path: Path) -> None:
    write(home)
    done = subprocess.run(
        [sys.executable, "-c", "import proj.celery"],
        cwd=tmp_path,
        env={**home.env, "PYTHONPATH": str(home.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "there is no fleet.yaml in" in last
    assert "CELERYFLEET_FILE" in last


# --- The app's own settings of workers --------------------------------------------------------------------


def own(home: Home, pools: str, settings: dict[str, object], top: str = "") -> Home:
    """Write an app with settings of its own, and a fleet of pools."""
    fleet = f"name: shop\napp: shop\nqueues: {{default: , mail: }}\n{top}\npools:\n{pools}"
    return home.write(fleet, SELF.replace("SETTINGS", repr(settings))).up()


@pytest.mark.parametrize("preload", ["true", "false"])
def test_the_apps_own_settings_of_workers_hold_where_the_pool_says_nothing(home: Home, preload: str) -> None:
    own(home, "  web: {queues: [mail, default]}\n", OWN, f"preload: {preload}")
    assert home.send("conf", *OWN) == list(OWN.values())
    command = home.processes()[home.pid("web-1")]
    assert "-c 24 -P threads" in command
    assert "--prefetch-multiplier 7" in command
    assert "--without-heartbeat" not in command  # or whoever watches its events would hold it to be offline
    assert "threads x 24" in home.run("status").stdout


def test_what_the_pool_says_goes_before_what_the_app_says(home: Home) -> None:
    said = "concurrency: 2, pool: prefork, prefetch_multiplier: 3, time_limit: 9s, events: false"
    own(home, f"  web: {{queues: [mail, default], {said}}}\n", OWN)
    assert home.send("conf", *OWN) == ["prefork", 2, 3, 50, 9, False]


def test_where_neither_says_anything_a_worker_runs_one_task_at_once_in_the_order_of_its_queues(home: Home) -> None:
    own(home, "  web: {queues: [mail, default]}\n", {})
    assert home.send("conf", "worker_pool", "worker_concurrency", "worker_prefetch_multiplier") == ["prefork", 1, 1]


@pytest.mark.parametrize("preload", ["true", "false"])
def test_gevent_in_the_apps_settings_is_patched_before_the_app_is_imported(home: Home, preload: str) -> None:
    own(
        home, "  web: {queues: [default]}\n", {"worker_pool": "gevent", "worker_concurrency": 20}, f"preload: {preload}"
    )
    assert home.send("patched") is True
    assert "gevent x 20" in home.run("status").stdout
    assert json.loads(home.run("status", "--json").stdout)["pools"][0]["workers"][0]["restarts"] == 0
