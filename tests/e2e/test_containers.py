"""`up` as the first process of a container, made of a namespace of process ids: signals, orphans, and lost pods."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from celeryfleet.importers import dockerfile
from celeryfleet.plan.broker import socket_url
from tests.e2e.conftest import APP, Home
from tests.fakes import eventually
from tests.servers import redis_server

UNSHARE = [
    *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
]
IMAGE = dockerfile.read((Path(__file__).parents[2] / "examples/docker/Dockerfile").read_text(), {})
FLEET = """
name: shop
app: shop
broker: ${BROKER}
queues: {default: , mail: }
celery: {task_acks_late: true}
logs: {format: json}
pools:
  web: {queues: [default], prefetch_multiplier: 4, stop_grace_period: 1s, healthcheck: {heartbeat_within: 2s}}
  mail: {queues: [mail]}
"""
#: its trace and files are those of all pods
SHARED = (
    APP.replace("Path(__file__).parent", "Path(__file__).parent.parent")
    + '''

@app.task
def daemon():
    """Leave a process whose parent is gone; return whether it was reaped."""
    if os.fork() == 0:
        os.setsid()
        orphan = os.fork()
        if orphan == 0:
            os._exit(0)
        (here / "orphan").write_text(str(orphan))
        os._exit(0)
    os.wait()
    orphan = (here / "orphan").read_text()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{orphan}") and time.monotonic() < deadline:
        time.sleep(0.01)
    return not os.path.exists(f"/proc/{orphan}")
'''
)


class Pod(Home):
    """A machine of its own, as far as its processes and its name go."""

    def __init__(self, home: Home, name: str, broker: str, app: str = SHARED) -> None:
        super().__init__(home.path / name)
        self.env |= {"CELERYFLEET_HOST": name, "BROKER": broker}
        self.path.mkdir()
        self.write(FLEET, app)
        self.out = self.path / "out"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run `up` for one pool as process 1; whatever becomes of it, nothing of it is left."""
        command = [*UNSHARE, sys.executable, "-m", *IMAGE.entrypoint, *IMAGE.command, "--pool", "web"]
        with self.out.open("wb") as out, (self.path / "err").open("wb") as err:
            process = subprocess.Popen(command, cwd=self.path, env=self.env, stdout=out, stderr=err)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> list[str]:
        """Return what it wrote to stdout: each line is JSON."""
        return [json.loads(line)["message"] for line in self.out.read_text().splitlines()]

    def child(self, pid: int) -> int:
        """Return the first child of a process."""
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def first(self, process: subprocess.Popen[bytes]) -> int:
        """Return the pid that its process 1 has here."""
        return self.child(process.pid)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a namespace of process ids")


def test_a_pod_stops_with_its_signals_and_one_that_is_lost_has_its_tasks_done_by_another(home: Home) -> None:
    with redis_server() as server:
        one, two = (Pod(home, name, socket_url(str(server))) for name in ("one", "two"))
        with one.running() as process:
            eventually(lambda: "web-1 is ready" in one.said())
            for name in ("a", "b"):
                one.post("until", name)
            eventually(lambda: home.trace() == ["start a"])
            os.kill(one.first(process), signal.SIGKILL)
            process.wait()
        for name in ("a", "b"):
            (home.path / name).touch()
        with two.running() as process:
            ends = Counter({"end a": 1, "end b": 1})
            eventually(lambda: Counter(line for line in home.trace() if line.startswith("end")) == ends)
            assert two.send("daemon")
            two.post("until", "never")
            eventually(lambda: "start never" in home.trace())
            os.kill(two.first(process), signal.SIGTERM)
            assert process.wait(60) == 0
        assert "stop web-1 cold: its grace period is over" in two.said()
        assert "stopping warmly (SIGTERM)" in (two.path / "err").read_text()


def test_a_pod_whose_workers_have_all_failed_ends_with_the_reason(home: Home) -> None:
    with redis_server() as server:
        pod = Pod(home, "one", socket_url(str(server)), "import nowhere_at_all")
        with pod.running() as process:
            assert process.wait(60) == 3
        assert "nowhere_at_all" in (pod.path / "err").read_text()


def test_tasks_of_a_pod_whose_supervisor_was_killed_are_finished_before_it_ends(home: Home) -> None:
    """Process 1 ended with the supervisor, and the kernel killed the workers at their tasks."""
    with redis_server() as server:
        pod = Pod(home, "one", socket_url(str(server)))
        pod.write(FLEET.replace("stop_grace_period: 1s, ", ""), SHARED)
        with pod.running() as process:
            eventually(lambda: "web-1 is ready" in pod.said())
            pod.post("until", "a")
            eventually(lambda: home.trace() == ["start a"])
            os.kill(pod.child(pod.first(process)), signal.SIGKILL)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            (home.path / "a").touch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            assert process.returncode == 3, pod.log("web-1")
        assert home.trace() == ["start a", "end a"]
        assert "the supervisor has gone without stopping the fleet" in (pod.path / "err").read_text()
