"""Copies of examples/django in folders of their own, each with a database, a fleet and a web server that runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import ROOT
from tests.e2e.conftest import Home, eventually_none
from tests.fakes import eventually
from tests.machine_services import POSTGRES, need

EXAMPLE = ROOT / "examples" / "django"
ROW = "task_id, task_name, status, worker, meta, result, task_args"

#: tasks that tell where they run, beside those of the shop
PROBES = '''

import os, pathlib, time
from celery import signals
from django.db import connection

here = pathlib.Path(__file__).parents[1]


@shared_task
def probe_connection(seconds):
    """Tell this process and, on PostgreSQL, the server process that answers it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT 0")
        found = cursor.fetchone()[0]
    time.sleep(seconds)
    return [os.getpid(), found, os.environ.get("CELERYFLEET_WORKER")]


@shared_task
def until(name):
    while not (here / name).exists():
        time.sleep(0.01)
    return os.getpid()


@shared_task(time_limit=1)
def hang():
    time.sleep(60)


@shared_task
def placed():
    return "seen"
'''

#: an app that asks the database for a connection while Django is set up, as some do
APPS = """
from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"

    def ready(self):
        import contextlib
        from django.db import Error, connection
        with contextlib.suppress(Error):
            connection.ensure_connection()
"""

#: laid over the example's fleet: a pool that is exec'd, one that is forked, and a queue that is not called by its key
OVERRIDE = """
celery: {task_send_sent_event: false}
queues:
  events: {exchange: {name: events, type: topic}, routing_key: "order.#"}
routes:
  - {task: orders.tasks.placed, exchange: events, routing_key: order.placed}
  - {task: orders.tasks.probe_*, queue: mail}
pools:
  documents: {env: {EXEC: "1"}, concurrency: 2, queues: [documents, events]}
"""


class Project(Home):
    """A copy of the example."""

    def __init__(self, path: Path, database: str = "") -> None:
        super().__init__(path)
        self.database = database
        self.url = ""
        shutil.copytree(EXAMPLE, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3*"))
        for name in ("DATABASE_URL", "BROKER_URL", "DJANGO_SETTINGS_MODULE"):
            self.env.pop(name, None)
        if database:
            self.env["DATABASE_URL"] = database

    def manage(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command of manage.py; return what it prints."""
        command = [sys.executable, str(self.path / "manage.py"), *words]
        return subprocess.run(
            command, cwd="/", env={**self.env, **(env or {})}, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def script(self, code: str) -> str:
        """Run code in a process that is no worker; return what it prints."""
        head = "import django; django.setup()\n"
        env = {**self.env, "DJANGO_SETTINGS_MODULE": "core.settings", "PYTHONPATH": self._path()}
        done = subprocess.run(
            [sys.executable, "-c", head + code],
            cwd="/",
            env=env,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _path(self) -> str:
        return os.pathsep.join(filter(None, [str(self.path), os.environ.get("PYTHONPATH", "")]))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the results, read without Django."""
        query = f"SELECT {ROW} FROM django_celery_results_taskresult"
        if self.database:
            import psycopg

            with psycopg.connect(self.database) as connection:
                found = connection.execute(query).fetchall()
        else:
            with contextlib.closing(sqlite3.connect(self.path / "db.sqlite3")) as connection:
                found = connection.execute(query).fetchall()
        return [dict(zip(ROW.split(", "), row, strict=True)) for row in found]

    def row(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait for a task's row to be in one of these states; return it, with the queue."""

        def found() -> list[dict[str, Any]]:
            return [row for row in self.rows() if row["task_id"] == task_id and row["status"] in states]

        row = eventually(found)[0]
        return {**row, "queue": json.loads(row["meta"]).get("queue")}

    def ask(self, path: str, **data: str) -> tuple[int, Any]:
        """GET a path of the web server, or POST to it if there is data; return status and JSON."""
        body = "&".join(f"{key}={value}" for key, value in data.items()).encode()
        try:
            with urllib.request.urlopen(f"{self.url}{path}", body or None, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()) if error.code == 400 else None


@contextlib.contextmanager
def postgres_database() -> Iterator[str]:
    """Give the URL of a new database on the test machine's PostgreSQL; it is dropped in the end."""
    import psycopg

    name = f"cf_{uuid.uuid4().hex[:12]}"
    server = need(POSTGRES)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def project(database: str = "") -> Iterator[Project]:
    """Give a copy of the example, and see to it that nothing of it is left."""
    path = Path(tempfile.mkdtemp(prefix="cf-", dir="/tmp")).resolve()
    found = Project(path, database)
    try:
        yield found
        found.run("down", "--cold", check=False)
        left = eventually_none(found)
        assert not left, f"left behind: {left}"
    finally:
        for pid in found.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def web_server(found: Project) -> Iterator[None]:
    """Run the project's web server, from another folder and on a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(found.path / "manage.py"), "runserver", "--noreload", "--nothreading", str(port)]
    log = found.path / "web.log"
    with log.open("w") as out, subprocess.Popen(command, cwd="/", env=found.env, stdout=out, stderr=out) as process:
        try:
            found.url = f"http://127.0.0.1:{port}"
            eventually(lambda: answers(port) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1.0).close()
        return True
    return False
