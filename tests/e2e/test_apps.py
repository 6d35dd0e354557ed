"""Two apps in one fleet: each has a fork server, and neither stands or falls with the other."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.e2e.conftest import APP, Home
from tests.fakes import eventually

FLEET = """
name: shop
apps: {shop: shop, ml: "ml.worker:brain"}
queues: {default: , gpu: }
routes:
  - {task: "ml.*", queue: gpu}
pools:
  web: {app: shop, queues: [default]}
  gpu: {app: ml, queues: [gpu]}
"""

ML = """
import os
import celeryfleet
from celery import Celery, chain

brain = Celery("ml")
celeryfleet.install(brain)
VERSION = 1


@brain.task(name="ml.learn")
def learn(x):
    return [x, VERSION, os.environ["CELERYFLEET_WORKER"]]


@brain.task(name="ml.where")
def where():
    return os.environ["CELERYFLEET_WORKER"]


@brain.task(name="ml.hand_over")
def hand_over(x):
    return brain.send_task("shop.add", (x, 1)).id
"""
BROKEN = "raise RuntimeError('no GPU here')"


@pytest.fixture
def both(home: Home) -> Home:
    home.write(FLEET, APP)
    (home.path / "ml").mkdir()
    write_ml(home, ML)
    return home


def write_ml(home: Home, text: str) -> None:
    (home.path / "ml" / "worker.py").write_text(text)


def fork_server(home: Home, app: str) -> int:
    found = json.loads((home.path / ".celeryfleet" / "shop" / "pids.json").read_text())
    return int(found["processes"][f"server:{app}"]["pid"])


def test_each_pool_runs_its_app_and_tasks_of_both_are_sent_by_their_short_names(both: Home) -> None:
    both.up()
    assert both.send("add", "2", "3") == 5
    assert both.send("learn", "7") == [7, 1, "gpu-1"]
    assert both.send("ml.where") == "gpu-1"
    assert both.run("result", both.send("hand_over", "1")).stdout == "2\n"
    assert "-A ml.worker:brain worker" in both.processes()[both.pid("gpu-1")]
    listed = {task["name"]: task["queues"] for task in json.loads(both.run("tasks", "--json").stdout)["tasks"]}
    assert (listed["shop.add"], listed["ml.learn"]) == (["default"], ["gpu"])
    assert json.loads(both.run("route", "learn", "--json").stdout)["pools"] == ["gpu"]
    several = both.run("send", "where", check=False)
    assert (several.returncode, "Say which: ml.where, shop.where." in several.stderr) == (2, True)
    assert both.run("canvas", "add.s(1, 2) | learn.s()").stdout == '[3, 1, "gpu-1"]\n'
    assert both.run("check").returncode == 0


def test_an_app_that_does_not_import_is_named_and_the_other_runs(both: Home) -> None:
    write_ml(both, BROKEN)
    done = both.run("up", "-d", check=False)
    assert done.returncode == 3
    assert 'The app ml does not import: the app "ml.worker:brain" fails to import at ml/worker.py:1: ' in done.stderr
    eventually(lambda: both.run("health", "web", check=False).returncode == 0)
    assert both.run("health", "gpu", check=False).returncode == 3
    assert "no GPU here" in both.run("logs", "preload-ml").stdout
    checked = both.run("check", check=False)
    assert (checked.returncode, "fleet.yaml:3:20: the app" in checked.stderr) == (2, True)
    sent = both.run("send", "add", "1", "2")
    assert (sent.stdout, "note: the app ml is left out here: the app" in sent.stderr) == ("3\n", True)
    write_ml(both, ML)
    both.run("reload")
    assert both.ready()


def test_a_killed_fork_server_is_replaced_and_touches_its_own_app_alone(both: Home) -> None:
    both.up()
    web, server = both.pid("web-1"), fork_server(both, "shop")
    os.kill(fork_server(both, "ml"), signal.SIGKILL)
    os.kill(both.pid("gpu-1"), signal.SIGKILL)
    assert both.send("learn", "1") == [1, 1, "gpu-1"]
    assert (both.pid("web-1"), fork_server(both, "shop")) == (web, server)


def test_a_reload_that_one_app_does_not_survive_renews_the_others_and_leaves_its_workers_on_the_code_before(
    both: Home,
) -> None:
    both.up()
    web = both.pid("web-1")
    write_ml(both, BROKEN)
    assert both.run("send", "learn", "2").stdout == '[2, 1, "gpu-1"]\n', "by its name, which its worker has told"
    assert both.run("reload", check=False).returncode == 3
    eventually(lambda: both.pid("web-1") != web)
    old = both.pid("gpu-1")
    os.kill(old, signal.SIGKILL)
    eventually(lambda: both.worker("gpu-1")["state"] == "ready" and both.pid("gpu-1") != old)

    write_ml(both, ML.replace("VERSION = 1", "VERSION = 2"))
    both.run("reload")
    assert both.run("send", "ml.learn", "3").stdout == '[3, 2, "gpu-1"]\n'


def test_of_apps_of_several_django_projects_the_first_is_known_to_commands(both: Home) -> None:
    for name in ("web", "lab"):
        (both.path / f"{name}_settings.py").write_text("SECRET_KEY = 'x'\n")
    apps = "{shop: {app: shop, django: web_settings}, ml: {app: ml.worker, django: lab_settings}}"
    (both.path / "fleet.yaml").write_text(FLEET.replace('{shop: shop, ml: "ml.worker:brain"}', apps))
    done = both.run("tasks")
    assert "shop.add" in done.stdout
    assert "the app ml is left out here: it is of the Django project lab_settings" in done.stderr
