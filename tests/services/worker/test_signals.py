"""An app hears of its worker what it would hear without a fleet: the same signals, as often, in the same order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from celeryfleet.worker_protocol import Ready
from tests.fakes import eventually
from tests.servers import redis_server
from tests.services.worker.children import forked_worker, settings_of, worker

APP = """
import os, pathlib, json
from celery import Celery, signals
import celeryfleet

app = Celery("shop", loader="shop:Loader")
here = pathlib.Path(__file__).parent


def note(name):
    with (here / "trace").open("a") as trace:
        trace.write(f"{os.getpid()} {name}\\n")


def noting(name):
    return lambda **_: note(name)


for name, signal in vars(signals).items():
    if hasattr(signal, "connect") and name not in ("user_preload_options",):
        signal.connect(noting(name), weak=False)

from celery.loaders.app import AppLoader


class Loader(AppLoader):
    def on_worker_init(self):
        note("Loader.on_worker_init")

    def on_worker_process_init(self):
        note("Loader.on_worker_process_init")

    def on_worker_shutdown(self):
        note("Loader.on_worker_shutdown")


app.conf.update(imports=["jobs"])
celeryfleet.install(app)
"""
JOBS = "from shop import app, note\nnote('jobs imported')\n"


def test_an_app_hears_the_same_signals_in_a_fleet(tmp_path: Path) -> None:
    heard: dict[str, list[str]] = {}
    with redis_server() as server:
        for way, run in {"plain": _plain, "exec": _exec, "fork": _fork}.items():
            folder = tmp_path / way
            folder.mkdir()
            (folder / "shop.py").write_text(APP)
            (folder / "jobs.py").write_text(JOBS)
            run(folder, settings_of(server, "web", worker_concurrency=1))
            heard[way] = _heard(folder)
    assert {"import_modules", "worker_ready", "worker_shutdown"} <= set(heard["plain"])
    assert "in the child: worker_process_init" in heard["plain"]
    assert heard["exec"] == heard["plain"]
    assert heard["fork"] == heard["plain"]


def _heard(folder: Path) -> list[str]:
    """Return what the main process heard, and the fork server before it, then what the pool's child heard."""
    notes = [line.split(" ", 1) for line in (folder / "trace").read_text().splitlines()]
    (child,) = {pid for pid, name in notes if name == "worker_process_init"}
    main = [name for pid, name in notes if pid != child]
    return [*main, *(f"in the child: {name}" for pid, name in notes if pid == child)]


def _has_heard(folder: Path, name: str) -> bool:
    trace = folder / "trace"
    return trace.exists() and name in trace.read_text()


def _plain(folder: Path, settings: dict[str, object]) -> None:
    (folder / "settings.json").write_text(json.dumps(settings))
    lean = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    options = ["-q", "-A", "shop", "worker", "-c", "1", "-Q", "web", "-l", "INFO", "-n", "web-1@shop.host", *lean]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *options],
            cwd=folder,
            env={**os.environ, "CELERYFLEET_SETTINGS": str(folder / "settings.json")},
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: _has_heard(folder, "worker_ready"))
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def _exec(folder: Path, settings: dict[str, object]) -> None:
    with worker(folder, settings, concurrency=1) as (line, process):
        line.first(Ready)
        process.terminate()
        assert process.wait(60) == 0


def _fork(folder: Path, settings: dict[str, object]) -> None:
    with forked_worker(folder, settings, concurrency=1) as (line, pid):
        line.first(Ready)
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0
