"""A warm stop of a prefork worker: it ends with its last task, of which nothing is lost and nothing done twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.worker_protocol import Ready
from tests.fakes import eventually, forget_pools
from tests.machine_services import rabbit
from tests.servers import redis_server
from tests.services.worker.children import NODE, Line, settings_of, worker

APP = """
import os, pathlib, time
from celery import Celery
import celeryfleet

app = Celery("shop")
celeryfleet.install(app)
here = pathlib.Path(__file__).parent


def note(*words):
    with (here / "trace").open("a") as trace:
        trace.write(" ".join(map(str, words)) + "\\n")


@app.task
def count(number):
    note("did", number)
    return number


@app.task
def until(name):
    note("start", name)
    while not (here / name).exists():
        time.sleep(0.01)
    note("did", name)
    return name


@app.task(time_limit=2)
def too_long():
    note("start", "too_long")
    time.sleep(600)


@app.task
def big(text):
    note("did", len(text))
    return text
"""
#: a worker that waits for results nobody reads takes 31 s
SOON = 20


class Shop:
    """The app, its broker, and what its tasks wrote down."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.queue: str = settings["task_default_queue"]
        (folder / "shop.py").write_text(APP)
        self.app = Celery("shop", set_as_current=False)
        apply(self.app, settings)

    def send(self, task: str, *args: Any) -> Any:
        """Send a task."""
        return self.app.send_task(f"shop.{task}", args, queue=self.queue)

    def trace(self) -> list[str]:
        """Return what the tasks wrote down."""
        path = self.folder / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> str:
        """Return the log of the worker."""
        path = self.folder / "web-1.log"
        return path.read_text() if path.exists() else ""

    def waiting(self) -> int:
        """Count the messages that no worker has."""
        with self.app.connection_for_write() as connection:
            return int(self.app.amqp.queues[self.queue].bind(connection.default_channel).queue_declare()[1])

    @contextmanager
    def worker(self, **more: Any) -> Iterator[tuple[Line, subprocess.Popen[bytes]]]:
        """Run a worker of the app until it is ready, and then the test's block."""
        with worker(self.folder, self.settings, **more) as (line, process):
            line.first(Ready)
            yield line, process


@pytest.fixture(params=["redis", "rabbitmq"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    late = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_prefetch_multiplier": 4}
    with redis_server() as server:
        if request.param == "redis":
            made = Shop(tmp_path, settings_of(server, "web", **late))
            yield made
            forget_pools(made.app)
            return
        with rabbit() as broker:
            # A node of this name in another process of the suite would share its mailbox, and then none would start.
            own = {"broker_url": broker.url, "control_exchange": broker.prefix + "pidbox"}
            made = Shop(tmp_path, settings_of(server, broker.name("web"), **late, **own))
            yield made
            forget_pools(made.app)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def done(shop: Shop) -> Counter[str]:
    return Counter(line.removeprefix("did ") for line in shop.trace() if line.startswith("did"))


def stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(SOON)


def test_a_task_that_a_child_has_been_given_and_not_begun_is_done_once(shop: Shop) -> None:
    with shop.worker(concurrency=1) as (line, process):
        (child,) = children(process.pid)
        os.kill(child, signal.SIGSTOP)  # a child that gets no processor for a while
        result = shop.send("count", 1)
        line.asked(reserved=1)
        process.terminate()
        eventually(lambda: "Warm shutdown" in shop.log())
        os.kill(child, signal.SIGCONT)
        assert process.wait(SOON) == 0
    assert result.get(timeout=60) == 1
    assert shop.waiting() == 0
    assert shop.trace() == ["did 1"]


def test_stops_under_load_lose_nothing_and_do_nothing_twice(shop: Shop) -> None:
    results = [shop.send("count", number) for number in range(240)]
    for stops in range(3):
        with shop.worker(concurrency=4) as (_, process):
            eventually(lambda stops=stops: len(done(shop)) > 60 * (stops + 1))  # type: ignore[misc]
            assert stop(process) == 0
    with shop.worker(concurrency=4) as (_, process):
        assert [result.get(timeout=60) for result in results] == list(range(240))
        assert stop(process) == 0
    assert done(shop) == Counter(str(number) for number in range(240))
    assert shop.waiting() == 0


def test_what_ends_during_the_stop_is_kept_and_what_waits_behind_it_goes_back(shop: Shop) -> None:
    with shop.worker(concurrency=2) as (line, process):
        results = {name: shop.send("until", name) for name in ("one", "two", "three", "four")}
        line.asked(active=2)
        line.asked(reserved=4)
        process.terminate()
        eventually(lambda: "Warm shutdown" in shop.log())
        begun = {line.removeprefix("start ") for line in shop.trace()}
        for name in begun:
            (shop.folder / name).touch()
        assert process.wait(SOON) == 0
    assert {results[name].get(timeout=60) for name in begun} == begun
    assert set(done(shop)) == begun
    assert shop.waiting() == 2


@pytest.mark.parametrize("shop", ["redis"], indirect=True)
def test_a_result_that_is_larger_than_a_pipe_arrives_during_the_stop(shop: Shop) -> None:
    with shop.worker(concurrency=1) as (line, process):
        (child,) = children(process.pid)
        os.kill(child, signal.SIGSTOP)
        result = shop.send("big", "x" * 300_000)
        line.asked(reserved=1)
        process.terminate()
        eventually(lambda: "Warm shutdown" in shop.log())
        os.kill(child, signal.SIGCONT)
        assert process.wait(SOON) == 0
    assert result.get(timeout=60) == "x" * 300_000
    assert done(shop) == Counter(["300000"])


@pytest.mark.parametrize("shop", ["redis"], indirect=True)
def test_a_hard_time_limit_holds_during_the_stop(shop: Shop) -> None:
    with shop.worker(concurrency=1) as (_, process):
        result = shop.send("too_long")
        eventually(lambda: shop.trace())
        assert stop(process) == 0
    assert "TimeLimitExceeded" in repr(result.get(timeout=60, propagate=False))
    assert shop.waiting() == 0


@pytest.mark.parametrize("again", [signal.SIGQUIT, signal.SIGINT])
def test_a_second_signal_ends_a_warm_stop(shop: Shop, again: signal.Signals) -> None:
    with shop.worker(concurrency=1) as (line, process):
        for name in ("one", "two"):
            shop.send("until", name)
        line.asked(active=1, reserved=2)
        process.terminate()
        line.beat(reserved=1)  # while the stop still speaks to a RabbitMQ, Celery would hang at a second signal
        process.send_signal(again)
        if again is signal.SIGINT:
            eventually(lambda: shop.log().count("Warm shutdown") == 2)
            process.send_signal(again)
        process.wait(SOON)
    assert shop.waiting() == 2
    assert shop.trace() == ["start one"]


def test_children_that_are_replaced_after_each_task_do_each_task_once(shop: Shop) -> None:
    shop.app.conf.worker_max_tasks_per_child = shop.settings["worker_max_tasks_per_child"] = 1
    results = [shop.send("count", number) for number in range(12)]
    while any(not result.ready() for result in results):
        before = len(done(shop))
        with shop.worker(concurrency=2) as (_, process):
            eventually(lambda before=before: len(done(shop)) > min(before + 4, 11))  # type: ignore[misc]
            assert stop(process) == 0
    assert done(shop) == Counter(str(number) for number in range(12))


def test_a_pool_that_has_grown_and_shrunk_stops(shop: Shop) -> None:
    with shop.worker(concurrency=1) as (line, process):
        shop.app.control.pool_grow(2, [NODE], reply=True, limit=1)
        results = [shop.send("until", name) for name in ("one", "two", "three")]
        line.asked(active=3)
        (shop.folder / "one").touch()
        line.asked(active=2)
        shop.app.control.pool_shrink(1, [NODE], reply=True, limit=1)
        eventually(lambda: len(children(process.pid)) == 2)
        process.terminate()
        eventually(lambda: "Warm shutdown" in shop.log())
        for name in ("two", "three"):
            (shop.folder / name).touch()
        assert process.wait(SOON) == 0
    assert [result.get(timeout=60) for result in results] == ["one", "two", "three"]
    assert done(shop) == Counter(["one", "two", "three"])


def test_a_worker_that_never_reached_its_broker_stops(tmp_path: Path) -> None:
    with redis_server() as server:
        shop = Shop(tmp_path, settings_of(server, "web", broker_url=f"redis+socket://{tmp_path}/none"))
        with worker(shop.folder, shop.settings, concurrency=2) as (_, process):
            eventually(lambda: "Cannot connect" in shop.log())
            assert stop(process) == 0
        forget_pools(shop.app)
