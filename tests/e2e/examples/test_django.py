"""examples/django as a stranger runs it: views send, the right pool works, and the rows tell, on both databases."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.examples.projects import (
    APPS,
    EXAMPLE,
    OVERRIDE,
    PROBES,
    Project,
    postgres_database,
    project,
    web_server,
)
from tests.fakes import eventually


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest) -> Iterator[Project]:
    """Give a copy of the example that runs: migrated, with its fleet and its web server."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres_database()) if request.param == "postgresql" else ""
        found = stack.enter_context(project(database))
        with (found.path / "orders" / "tasks.py").open("a") as tasks:
            tasks.write(PROBES)
        (found.path / "fleet.override.yaml").write_text(OVERRIDE)
        found.manage("migrate", "--verbosity", "0")
        (found.path / "orders" / "apps.py").write_text(APPS)
        found.up()
        stack.enter_context(web_server(found))
        yield found


on_sqlite = pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("shop", ["postgresql"], indirect=True)


def test_a_view_has_a_task_sent_when_its_order_is_committed_and_the_row_names_worker_queue_and_task(
    shop: Project,
) -> None:
    status, answer = shop.ask("/orders/", email="ada@example.com", total="42")
    assert status == 201
    order = answer["order"]
    eventually(lambda: shop.ask(f"/orders/{order}/")[1]["receipt_sent_at"])
    row = next(
        row for row in shop.rows() if row["task_name"].endswith("send_receipt") and f"({order}," in row["task_args"]
    )
    row = shop.row(row["task_id"], "SUCCESS")
    assert (row["task_name"], row["worker"].partition(".")[0], row["queue"]) == (
        "orders.tasks.send_receipt",
        "mail-1@shop",
        "mail",
    )


def test_a_view_tells_how_far_the_task_is_that_another_view_sent(shop: Project) -> None:
    order = shop.ask("/orders/", email="bob@example.com", total="120")[1]["order"]
    status, answer = shop.ask(f"/orders/{order}/invoice/", go="1")
    assert status == 202
    task = answer["task"]
    eventually(lambda: (shop.ask(f"/tasks/{task}/")[1] or {}).get("state") == "SUCCESS")
    shown = shop.ask(f"/tasks/{task}/")[1]
    assert shown == {
        "task": task,
        "name": "orders.tasks.render_invoice",
        "state": "SUCCESS",
        "worker": shown["worker"],
        "queue": "documents",
        "result": f"Invoice {order:06d}",
    }
    assert shown["worker"].startswith("documents-1@shop.")
    assert "Total     120.00" in shop.ask(f"/orders/{order}/")[1]["invoice"]


@on_sqlite
def test_what_is_rolled_back_sends_nothing(shop: Project) -> None:
    code = """
from django.db import transaction
from orders import tasks
from orders.models import Order
try:
    with transaction.atomic():
        tasks.until.delay_on_commit("never sent")
        raise KeyError
except KeyError:
    print(tasks.until.apply_async_on_commit(("sent",)))
"""
    assert shop.script(code) == "None"
    (shop.path / "sent").touch()
    eventually(lambda: [row for row in shop.rows() if "sent" in (row["task_args"] or "")])
    assert not [row for row in shop.rows() if "never sent" in (row["task_args"] or "")]


def test_workers_are_forked_from_a_process_that_has_no_database_open_though_the_import_opens_one(shop: Project) -> None:
    assert "opens a connection" not in shop.log()
    server = next(pid for pid, command in shop.processes().items() if "fork server" in command)
    opened = [str(fd.readlink()) for fd in Path(f"/proc/{server}/fd").iterdir()]
    assert not [name for name in opened if "db.sqlite3" in name]


@on_postgresql
def test_forked_and_exec_d_processes_have_connections_of_their_own(shop: Project) -> None:
    probes = ", ".join(
        f"probe_connection.s(0.3).set(queue={queue!r})" for queue in ("mail", "documents") for _ in range(4)
    )
    found = json.loads(shop.run("canvas", f"group({probes})", "--json").stdout)["result"]
    processes = {pid for pid, _, _ in found}
    assert len(processes) == 4
    assert {worker for _, _, worker in found} == {"mail-1", "documents-1"}
    owners: dict[int, set[int]] = {}
    for pid, server, _ in found:
        owners.setdefault(server, set()).add(pid)
    assert all(len(pids) == 1 for pids in owners.values()), found


def test_the_row_of_a_killed_worker_s_task_says_started_until_its_successor_has_done_it(shop: Project) -> None:
    task = shop.post("until", "go")
    row = shop.row(task, "STARTED")
    assert (row["worker"].partition(".")[0], row["queue"]) == ("default-1@shop", "default")
    killed = shop.pid("default-1")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: shop.pid("default-1") != killed)
    assert shop.row(task, "STARTED", "SUCCESS")["status"] == "STARTED"
    (shop.path / "go").touch()
    row = shop.row(task, "SUCCESS")
    assert (row["worker"].partition(".")[0], row["queue"]) == ("default-1@shop", "default")


def test_the_row_names_the_queue_also_where_the_worker_has_to_end_the_task(shop: Project) -> None:
    row = shop.row(shop.post("hang"), "FAILURE")
    assert (row["task_name"], row["worker"].partition(".")[0], row["queue"]) == (
        "orders.tasks.hang",
        "default-1@shop",
        "default",
    )
    assert "TimeLimitExceeded" in row["result"]


@on_sqlite
def test_the_row_names_the_queue_and_not_the_routing_key(shop: Project) -> None:
    row = shop.row(shop.post("placed"), "SUCCESS")
    assert row["queue"] == "events"
    code = f"from celery.result import AsyncResult; print(AsyncResult({row['task_id']!r}).queue)"
    assert shop.script(code) == "events"


@on_sqlite
def test_the_commands_know_the_project(shop: Project) -> None:
    assert "render_invoice(order_id)  " in shop.run("tasks").stdout
    assert json.loads(shop.run("route", "send_receipt", "--json").stdout)["pools"] == ["mail"]
    done = shop.run("check", "--strict", check=False)
    assert done.returncode == 0, done.stdout


def test_send_canvas_and_result_read_the_rows(shop: Project) -> None:
    done = shop.run("send", "revenue", "400")
    assert done.stdout == "0\n"
    assert "on default-1 (queue default, waited" in done.stderr
    assert float(shop.run("canvas", "week").stdout) >= 0
    assert shop.run("result", shop.post("revenue", "401")).stdout == "0\n"


@on_sqlite
def test_a_database_that_is_down_is_told_and_not_waited_for(shop: Project) -> None:
    down = {"DATABASE_URL": "postgresql://postgres@127.0.0.1:1/none"}
    done = shop.run("result", "1234", check=False, env=down)
    assert done.returncode == 69, done.stderr
    assert done.stderr.startswith("error: Django's database gives no results: ")
    assert "manage.py migrate" in done.stderr


@on_sqlite
def test_settings_that_are_not_there_are_told_in_one_line(shop: Project) -> None:
    other = shop.path / "other.yaml"
    other.write_text((shop.path / "fleet.yaml").read_text().replace("core.settings ", "core.setings "))
    for words in (["tasks"], ["route", "orders.tasks.x"], ["check"]):
        done = shop.run("-f", str(other), *words, check=False)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "the Django settings \"core.setings\" are not found: No module named 'core.setings'." in done.stderr


@on_sqlite
def test_settings_written_by_config_give_a_producer_the_routes_without_celeryfleet(shop: Project) -> None:
    (shop.path / "fleetconfig.py").write_text(shop.run("config", "--format", "python").stdout)
    overlay = """
from core.settings import *
import fleetconfig
globals().update({f"CELERY_{name.upper()}": value for name, value in vars(fleetconfig).items() if name.islower()})
"""
    (shop.path / "core" / "with_fleet.py").write_text(overlay)
    code = """
import sys, types
fake = sys.modules["celeryfleet"] = types.ModuleType("celeryfleet")
fake.install = lambda *_: None
import django; django.setup()
from orders import tasks
print(tasks.probe_connection.delay(0).id)
"""
    env = {**shop.env, "DJANGO_SETTINGS_MODULE": "core.with_fleet"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shop.path, env=env, check=True, capture_output=True, text=True, timeout=60
    )
    assert shop.row(done.stdout.strip(), "SUCCESS")["queue"] == "mail"


def test_the_commands_of_the_readme_run() -> None:
    block = (EXAMPLE / "README.md").read_text().partition("```\n")[2].partition("```")[0]
    commands = [line.removeprefix("$ ") for line in block.splitlines()]
    assert commands[0] == "pip install -r requirements.txt"
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    bin_ = Path(sys.executable).parent
    with project() as found, ExitStack() as stack:
        env = {**found.env, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
        said = {}
        for command in commands[1:]:
            if "runserver" in command:
                stack.enter_context(web_server(found))
                continue
            command = command.replace("http://127.0.0.1:8000", found.url)
            done = subprocess.run(
                ["sh", "-c", command], cwd=found.path, env=env, check=False, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            said[command.split()[0] + " " + command.split()[1]] = done.stdout
        assert said["celeryfleet send"] == "Invoice 000001\n"
        assert said["celeryfleet canvas"] == "42\n"
