"""The pytest plugin, as a user's own pytest runs it: in processes and folders of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import ROOT
from tests.e2e.conftest import APP
from tests.fakes import eventually, processes_of

pytest_plugins = ["pytester"]

ARGV = ("-p", "celeryfleet.testing", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error")
#: it names a broker and a schedule that no test may ever touch
FLEET = """
app: shop
broker: ${NEVER_SET:?a broker of production}
queues: {default: , mail: , slow: }
routes:
  - {task: shop.where, queue: mail}
  - {task: shop.until, queue: slow}
pools:
  web: {queues: [default, mail]}
  slow: {queues: [slow]}
beat: {schedule: {now: {task: shop.boom, every: 1s}}}
alerts: [{when: worker_failed, webhook: "http://127.0.0.1:9/"}]
hosts: {nowhere: [slow]}
tasks: {plus: {task: shop.add}}
"""
#: before any test the app is configured as in a developer's shell, and to run tasks at once in this process
CONFIGURED = """
app.conf.update(broker_url="redis://production.invalid/0", task_always_eager=True)
assert app.amqp.queues
"""
TESTS = """
import os, pathlib
import pytest, shop
from celeryfleet.errors import FleetError

@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}

def test_without_a_fleet_the_app_is_as_it_was():
    assert shop.where.delay().get()[1] == os.getpid()

def test_routes_queues_and_pools_are_real(fleet):
    assert shop.where.delay().get(timeout=60)[0] == "web-1"
    assert fleet.send("plus", 2, 3).get(timeout=60) == 5
    assert shop.app is fleet.app

def test_a_killed_worker_is_replaced(fleet):
    pid = fleet.kill("web-1")
    fleet.wait_ready()
    assert shop.where.delay().get(timeout=60)[1] != pid

def test_until_nothing_is_left_to_do(fleet):
    shop.until.delay("go")
    with pytest.raises(Exception, match="not empty after 0.1 s"):
        fleet.wait_empty(timeout=0.1)
    pathlib.Path("go").touch()
    fleet.wait_empty()
    assert shop.here.joinpath("trace").read_text().splitlines()[-1] == "end go"

def test_nothing_of_celery_s_own_is_disturbed(celery_session_app, celery_session_worker):
    @celery_session_app.task
    def double(x):
        return 2 * x
    celery_session_worker.reload()
    assert double.delay(2).get(timeout=60) == 4
    assert shop.add.delay(1, 2).get() == 3

def test_another_fleet_has_the_app_while_it_runs(fleet, fleet_factory):
    with fleet_factory(pools={"web": {"replicas": 2}, "slow": {"replicas": 0}}, queues={"extra": None}) as other:
        assert [pool.want for pool in other.status().pools] == [2, 0]
        assert shop.where.delay().get(timeout=60)[0] in ("web-1", "web-2")
        assert other.purge() == 0
        done = fleet.worker("web-1").processed
        assert fleet.send("where").get(timeout=60)[0] == "web-1"
        assert fleet.worker("web-1").processed == done + 1
        assert shop.where.delay().get(timeout=60)[0] in ("web-1", "web-2")
        assert fleet.worker("web-1").processed == done + 1
    assert shop.where.delay().get(timeout=60)[0] == "web-1"

def test_an_app_that_cannot_be_imported_is_told(fleet_factory):
    with pytest.raises(FleetError, match="No module named 'nothing_of_the_kind'"):
        fleet_factory(app="nothing_of_the_kind")

def test_that_fails(fleet):
    shop.boom.delay().get(timeout=60)

def test_again_without_a_fleet():
    assert shop.add.delay(1, 2).get() == 3
    assert shop.app.conf.broker_url == "redis://production.invalid/0"
"""
HANGS = """
import shop
def test_that_hangs(fleet):
    shop.until.delay("never").get()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in [name for name in os.environ if name.startswith(("PYTEST", "CELERY")) and "TRUST" not in name]:
        monkeypatch.delenv(name)
    pytester.makefile(".yaml", fleet=FLEET)
    pytester.makepyfile(shop=APP + CONFIGURED)
    return pytester


def left(project: pytest.Pytester) -> dict[int, str]:
    return {pid: command for pid, command in processes_of(project.path).items() if pid != os.getpid()}


def test_a_project_tests_its_tasks_through_real_fleets_in_each_process_of_xdist(project: pytest.Pytester) -> None:
    project.makepyfile(test_shop=TESTS)
    done = project.runpytest_subprocess(*ARGV, "-p", "celery.contrib.pytest", "-n", "2", "--dist", "load", timeout=120)
    done.assert_outcomes(passed=8, failed=1)
    said = done.stdout.str()
    assert "Logs of the fleet test-" in said
    assert "ValueError: boom of the test" in said.partition("Logs of the fleet test-")[2]
    assert "web-1 | " in said
    assert not left(project)
    assert not (project.path / ".celeryfleet").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_pytest_that_is_killed(project: pytest.Pytester, number: signal.Signals) -> None:
    project.makepyfile(test_shop=HANGS)
    argv = [sys.executable, "-m", "pytest", *ARGV, f"--basetemp={project.path}/tmp"]
    with subprocess.Popen(argv, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            eventually((project.path / "trace").exists)
            assert len(left(project)) > 3
            run.send_signal(number)
        except BaseException:
            run.kill()
            raise
        said = run.stdout.read() if run.stdout else ""
    assert "Retry limit" not in said, "a result that is dropped seeks the broker that is gone"
    eventually(lambda: not left(project))
    assert not [path for path in project.path.rglob("*") if path.is_socket()]


def test_pytest_finds_it_by_an_entry_point_of_the_name_that_p_takes() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["pytest11"]
    assert declared == {"celeryfleet.testing": "celeryfleet.testing"}


def test_its_import_is_light() -> None:
    code = "import pytest, sys; before = {*sys.modules}; import celeryfleet.testing; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path("/"), capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("celeryfleet")} == set()
