"""Real fleets in folders of their own, used through the command line as anyone would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import eventually, processes_of
from tests.machine_services import rabbit

#: an app whose tasks leave traces in files
APP = '''
import os, pathlib, time
from celery import Celery

app = Celery("shop")
here = pathlib.Path(__file__).parent


@app.task
def add(a, b):
    return a + b


@app.task
def where():
    return os.environ.get("CELERYFLEET_WORKER"), os.getpid()


@app.task
def boom():
    raise ValueError("boom of the test")


@app.task
def until(name):
    """Work until a file appears; every start and end is written down."""
    with (here / "trace").open("a") as trace:
        trace.write(f"start {name}\\n")
    while not (here / name).exists():
        time.sleep(0.01)
    with (here / "trace").open("a") as trace:
        trace.write(f"end {name}\\n")
    return name
'''

FLEET = """
name: shop
app: shop
queues: {default: , mail: }
routes:
  - {task: shop.until, queue: mail}
celery: {task_acks_late: true, task_reject_on_worker_lost: true}
pools:
  web: {queues: [default], prefetch_multiplier: 1, stop_grace_period: 30s}
  mail: {queues: [mail], prefetch_multiplier: 1, stop_grace_period: 30s}
"""


class Home:
    """A folder with a fleet.yaml, and the commands run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY", "COLUMNS"))}
        self.env["PYTHONWARNINGS"] = "ignore"
        # Bytecode is told from old one by the source's size and second: a test writes the same app twice within one.
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"

    def write(self, fleet: str = FLEET, app: str = APP) -> Home:
        """Write fleet.yaml and shop.py."""
        (self.path / "fleet.yaml").write_text(fleet)
        (self.path / "shop.py").write_text(app)
        return self

    def run(self, *words: str, check: bool = True, timeout: float = 120, env: Mapping[str, str] | None = None) -> Any:
        """Run a command to its end; the exit code is asserted to be 0 unless `check` is false."""
        done = subprocess.run(
            [sys.executable, "-m", "celeryfleet", *words],
            cwd=self.path,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "celeryfleet", *words],
            cwd=self.path,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def up(self, *words: str) -> Home:
        """Start the fleet and wait for it."""
        self.run("up", "-d", "--wait", "--wait-timeout", "40", *words)
        return self

    def status(self) -> dict[str, Any]:
        """Return `status --json`."""
        found = json.loads(self.run("status", "--json").stdout)
        assert isinstance(found, dict)
        return found

    def worker(self, name: str) -> dict[str, Any]:
        """Return one worker of `status --json`."""
        for pool in self.status()["pools"]:
            for worker in pool["workers"]:
                if worker["name"] == name:
                    assert isinstance(worker, dict)
                    return worker
        raise AssertionError(f"no worker {name}")

    def pid(self, name: str) -> int:
        """Return the pid of a worker that has one."""
        return int(eventually(lambda: self.worker(name)["pid"]))

    def send(self, *words: str) -> Any:
        """Send a task, wait for it, and return its result."""
        return json.loads(self.run("send", *words, "--json", "--timeout", "30").stdout)["result"]

    def post(self, *words: str) -> str:
        """Send a task and return its id at once."""
        return str(json.loads(self.run("send", *words, "--json", "--no-wait").stdout)["id"])

    def trace(self) -> list[str]:
        """Return what `until` tasks wrote down."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "trace").read_text().splitlines()
        return []

    def log(self, name: str = "supervisor") -> str:
        """Return a log."""
        logs = (self.path / ".celeryfleet").glob(f"*/logs/{name}.log")
        return max(logs, key=lambda path: path.parts[-3] == "shop").read_text()

    def ready(self) -> bool:
        """Tell whether `health` is content."""
        return bool(self.run("health", check=False).returncode == 0)

    def processes(self) -> dict[int, str]:
        """Return what runs in or for this folder."""
        return {pid: command for pid, command in processes_of(self.path).items() if pid != os.getpid()}


#: what the text of a fleet.yaml is given where the fleet has a broker of its own
EMBEDDED = {"name": "shop", "broker": "", "queue": "default"}


@pytest.fixture(params=["embedded", "rabbit"])
def broker(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give what the text of a fleet.yaml is given.

    A test asks for it before its home: workers that still ran would make the queues anew that are deleted.
    """
    if request.param == "embedded":
        yield EMBEDDED
        return
    with rabbit() as server:
        address = f"broker: {server.url}\nresults: none"
        yield {"name": server.fleet, "broker": address, "queue": server.name("default"), "url": server.url}


@pytest.fixture
def home() -> Iterator[Home]:
    """Give an empty home, and see to it that nothing of it is left."""
    with home_of() as found:
        yield found


@contextlib.contextmanager
def home_of(host: str = "") -> Iterator[Home]:
    """Give a home, on a host of this name."""
    path = Path(tempfile.mkdtemp(prefix="cf-", dir="/tmp")).resolve()
    found = Home(path)
    if host:
        found.env["CELERYFLEET_HOST"] = host
    try:
        yield found
        if found.processes():
            found.run("down", "--cold", check=False)
        left = eventually_none(found)
        assert not left, f"left behind: {left}"
    finally:
        for pid in found.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(path, ignore_errors=True)


def eventually_none(home: Home) -> dict[int, str]:
    """Wait for all processes of a home to end; return those that do not."""
    try:
        eventually(lambda: not home.processes())
    except AssertionError:
        return home.processes()
    return {}
