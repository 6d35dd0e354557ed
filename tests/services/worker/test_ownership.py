"""Workers of several machines on one Redis: what one of them had taken is done, and never taken from one that lives."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.worker.ownership import lasting
from celeryfleet.worker_protocol import Ready
from tests.fakes import eventually, forget_pools
from tests.servers import redis_server
from tests.services.worker.children import Line, settings_of, worker

APP = """
import pathlib, time
from celery import Celery

app = Celery("shop")
pod = pathlib.Path(__file__).parent


@app.task(acks_late=True)
def until(name):
    note = (pod.parent / "trace").open("a", buffering=1)
    note.write(f"start {name} {pod.name}\\n")
    while not (pod.parent / name).exists():
        time.sleep(0.01)
    note.write(f"end {name} {pod.name}\\n")
"""
#: seconds
LIFE = 0.9


class Pods:
    """Folders for machines of one fleet, its broker, and what the tasks wrote down."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.settings = settings_of(server, "web", worker_prefetch_multiplier=3)
        self.app = Celery("shop", set_as_current=False)
        apply(self.app, self.settings)

    def run(self, name: str, host: str = "", **more: Any) -> AbstractContextManager[tuple[Line, Popen[bytes]]]:
        """Run the worker of a machine, whose host name is its own unless another is given."""
        pod = self.folder / name
        pod.mkdir(exist_ok=True)
        (pod / "shop.py").write_text(APP)
        node = f"web-1@shop.{host or name}"
        keys = {f"{key}_key": f"{key}:{node}" for key in ("unacked", "unacked_index", "unacked_mutex")}
        options = {"hostname": node, "queues": ["web"], "loglevel": "INFO", "quiet": True}
        lean = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        conf = {
            "worker_pool": more.pop("pool", "prefork"),
            "worker_concurrency": more.pop("processes", 1),
            "broker_transport_options": {**self.settings["broker_transport_options"], **keys},
        }
        own = {"fleet": "shop", "owner": name, "patience": LIFE, "keepalive": LIFE / 3, "restore": (node,)}
        return worker(pod, self.settings, options={**options, **lean}, conf=conf, **{**own, **more})

    def send(self, *names: str) -> None:
        """Send tasks that work until a file of their name appears."""
        for name in names:
            self.app.send_task("shop.until", (name,), queue="web")

    def release(self, *names: str) -> None:
        """Let tasks end."""
        for name in names:
            (self.folder / name).touch()

    def trace(self) -> list[str]:
        """Return what the tasks wrote down."""
        file = self.folder / "trace"
        return file.read_text().splitlines() if file.exists() else []

    def ended(self) -> Counter[str]:
        """Count how often each task has ended."""
        return Counter(line.split()[1] for line in self.trace() if line.startswith("end"))

    def log(self, name: str) -> str:
        """Return the log of a machine's worker."""
        file = self.folder / name / "web-1.log"
        return file.read_text() if file.exists() else ""

    def ask(self, *command: str) -> Any:
        """Ask the Redis something."""
        with self.app.connection_for_write() as connection:
            return connection.default_channel.client.execute_command(*command)

    def owners(self) -> dict[bytes, bytes]:
        """Return who owns which node."""
        found: dict[bytes, bytes] = self.ask("HGETALL", "unacked_owners:shop")
        return found

    def alive_until(self, name: str) -> float:
        """Return until when a machine's node is believed alive."""
        return float(self.ask("ZSCORE", "unacked_nodes:shop", f"web-1@shop.{name}"))


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    with redis_server() as server:
        made = Pods(tmp_path, server)
        yield made
        forget_pools(made.app)


def test_what_a_killed_machine_had_taken_is_done_by_another(pods: Pods) -> None:
    pods.send("a", "b", "c")
    with pods.run("one") as (line, process):
        line.asked(active=1, reserved=3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    pods.release("a", "b", "c")
    with pods.run("two"):
        eventually(lambda: pods.ended() == {"a": 1, "b": 1, "c": 1})
        assert "3 messages that web-1@shop.one had taken are back in their queues" in pods.log("two")
        eventually(lambda: pods.owners() == {b"web-1@shop.two": b"two"})
        assert pods.ask("ZRANGE", "unacked_nodes:shop", "0", "-1") == [b"web-1@shop.two"]


def test_a_machine_that_stood_still_and_was_taken_for_dead_does_not_do_what_others_have_done(pods: Pods) -> None:
    pods.send("a", "b", "c")
    with pods.run("one") as (line, process):
        line.asked(active=1, reserved=3)
        with pods.run("two", processes=2) as (other, _):
            other.first(Ready)
            os.killpg(process.pid, signal.SIGSTOP)
            pods.release("b", "c")
            eventually(lambda: pods.ended() == {"b": 1, "c": 1} and "start a two" in pods.trace())
            os.killpg(process.pid, signal.SIGCONT)
            eventually(lambda: "was silent for too long" in pods.log("one"))
            pods.release("a")
            eventually(lambda: pods.ended()["a"] == 2)  # it was at work on it, and so is the other one
            owners = {b"web-1@shop.one": b"one", b"web-1@shop.two": b"two"}
            eventually(lambda: pods.owners() == owners)
            pods.send("d")
            pods.release("d")
            eventually(lambda: pods.ended() == {"a": 2, "b": 1, "c": 1, "d": 1})


def test_a_busy_solo_worker_keeps_what_it_has_taken(pods: Pods) -> None:
    pods.send("a", "b")
    with pods.run("one", pool="solo") as (line, _):
        line.beat(loop_busy=True)
        with pods.run("two") as (other, _):
            other.first(Ready)
            signs = pods.alive_until("one")
            eventually(lambda: pods.alive_until("one") > signs + 2 * LIFE)
            pods.release("a", "b")
            eventually(lambda: pods.ended() == {"a": 1, "b": 1})


def test_of_two_machines_of_one_name_the_second_waits_and_takes_nothing_of_the_first(pods: Pods) -> None:
    pods.send("a", "b")
    with pods.run("one") as (line, process):
        line.asked(active=1, reserved=2)
        with pods.run("two", host="one") as (second, _):
            eventually(lambda: "another worker of the name web-1@shop.one is alive" in pods.log("two"))
            pods.release("a", "b")
            eventually(lambda: pods.ended() == {"a": 1, "b": 1})
            assert not any(isinstance(message, Ready) for message in second.hear())
            os.kill(process.pid, signal.SIGTERM)
            process.wait()
            second.first(Ready)
    assert "are back in their queues" not in pods.log("two")


def test_a_break_is_no_proof_of_death() -> None:
    life = 3.0
    seen = lasting({}, ["a", "b"], 10.0, 9.0, life)
    assert seen == {"a": 10.0, "b": 10.0}
    assert lasting(seen, ["a"], 11.0, 10.0, life) == {"a": 10.0}
    assert lasting(seen, ["a"], 14.0, 10.0, life) == {"a": 14.0}
