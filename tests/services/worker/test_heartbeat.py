"""A real worker on a real broker, and what it tells its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.worker_protocol import Hello, Poke, Read, Ready
from tests.fakes import eventually, forget_pools, processes_of
from tests.servers import redis_server
from tests.services.worker.children import NODE, forked_worker, settings_of, worker

APP = """
import os, pathlib, socket, time
from celery import Celery
from celery.exceptions import Ignore, Reject

app = Celery("shop")
here = pathlib.Path(__file__).parent


@app.task
def add(a, b):
    return a + b


@app.task
def boom():
    raise ValueError("boom of the test")


@app.task(bind=True)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task
def ignored():
    raise Ignore()


@app.task(time_limit=0.5)
def for_ever():
    while True:
        time.sleep(1)


@app.task(acks_late=True, reject_on_worker_lost=True)
def dies_once():
    if not (here / "died").exists():
        (here / "died").touch()
        os._exit(9)


@app.task(acks_late=True)
def until(name):
    with (here / "trace").open("a") as trace:
        trace.write(f"start {name}\\n")
    while not (here / name).exists():
        time.sleep(0.01)


@app.task(acks_late=True, reject_on_worker_lost=True)
def dies_when_told():
    with (here / "trace").open("a") as trace:
        trace.write("start\\n")
    while not (here / "die").exists():
        time.sleep(0.01)
    if not (here / "died").exists():
        (here / "died").touch()
        os._exit(9)


@app.task
def channel():
    with app.connection_for_write() as connection:
        return type(connection.default_channel).__module__


@app.task
def inherited():
    fds = [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return [fd for fd in fds if fd > 2 and os.get_inheritable(fd)]


@app.task
def speak_for_the_worker():
    # A socket without a name, as the worker's line to its supervisor is.
    said = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            sock = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        with sock:
            if sock.family == socket.AF_UNIX and sock.getpeername() == "":
                sock.sendall(b'{"t":"hello","pid":1}\\n')
                said.append(fd)
    return said
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with redis_server() as path:
        yield path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def producer(server: Path, folder: Path) -> Iterator[Celery]:
    app = Celery("producer", set_as_current=False)
    apply(app, settings_of(server, "web", "mail"))
    with app.connection_for_write() as connection:
        connection.default_channel.client.flushall()
    yield app
    hang_up(app)


def hang_up(app: Celery) -> None:
    app.backend.result_consumer.stop()
    app.backend.client.connection_pool.disconnect()
    forget_pools(app)


def send(app: Celery, name: str, *args: Any, **options: Any) -> Any:
    return app.send_task(f"shop.{name}", args, **options)


def trace(folder: Path) -> list[str]:
    path = folder / "trace"
    return path.read_text().splitlines() if path.exists() else []


def test_a_worker_says_hello_and_ready_and_beats(server: Path, folder: Path, producer: Celery) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, process):
        assert line.first(Hello).pid == process.pid
        assert "shop.add" in line.first(Ready).tasks
        assert line.beat(consuming=True).processed == 0
        line.tell(Poke(7))
        assert line.beat(poke=7).active == 0


def test_a_task_in_a_child_of_the_pool_cannot_speak_for_the_worker(
    server: Path, folder: Path, producer: Celery
) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, process):
        line.first(Ready)
        assert send(producer, "speak_for_the_worker").get(timeout=60) == []
        assert [said.pid for said in line.hear() if isinstance(said, Hello)] == [process.pid]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_only_what_failed_for_good_counts_as_failed(server: Path, folder: Path, producer: Celery, pool: str) -> None:
    with worker(folder, settings_of(server, "web", "mail"), pool) as (line, _):
        line.first(Ready)
        for name in ("boom", "again", "ignored"):
            send(producer, name)
        assert line.asked(processed=4, active=0).failed == 1


def test_a_killed_task_counts_once_by_its_time_limit_and_not_if_it_is_given_back(
    server: Path, folder: Path, producer: Celery
) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, _):
        line.first(Ready)
        send(producer, "for_ever")
        line.asked(failed=1, active=0)
        send(producer, "dies_once")
        assert line.asked(processed=3, active=0, reserved=0).failed == 1
        send(producer, "boom")
        line.asked(failed=2)


def test_a_paused_queue_stays_paused_over_a_lost_connection_and_resumed_ones_come_back(
    server: Path, folder: Path, producer: Celery
) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, _):
        line.first(Ready)
        line.tell(Read(("web",)))
        line.beat(queues=("web",))
        cut(producer, line)
        waiting = send(producer, "add", 1, 1, queue="mail")
        assert send(producer, "add", 2, 2, queue="web").get(timeout=60) == 4
        assert depth(producer, "mail") == 1
        line.tell(Read(("web", "mail")))
        assert waiting.get(timeout=60) == 2
        cut(producer, line)
        assert send(producer, "add", 3, 3, queue="mail").get(timeout=60) == 6


def cut(app: Celery, line: Any) -> None:
    """Cut the worker's connections off, and wait until it consumes again."""
    before = len(line.hear())
    with app.connection_for_write() as connection:
        connection.default_channel.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    hang_up(app)
    apply(app, {})
    eventually(lambda: any(getattr(beat, "connecting", False) for beat in line.hear()[before:]))
    line.beat(consuming=True)


def depth(app: Celery, queue: str) -> int:
    with app.connection_for_write() as connection:
        return int(connection.default_channel._size(queue))


def test_a_worker_starts_without_the_queues_that_are_paused(server: Path, folder: Path, producer: Celery) -> None:
    send(producer, "add", 1, 1, queue="mail")
    with worker(folder, settings_of(server, "web", "mail"), paused=("mail",)) as (line, _):
        line.first(Ready)
        assert send(producer, "add", 2, 2, queue="web").get(timeout=60) == 4
        assert depth(producer, "mail") == 1
        assert line.beat(consuming=True).queues == ("web",)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_worker_says_which_queues_it_reads_whoever_told_it_so(
    server: Path, folder: Path, producer: Celery, pool: str
) -> None:
    if pool == "gevent":
        pytest.importorskip("gevent")
    with worker(folder, settings_of(server, "web", "mail"), pool) as (line, _):
        line.first(Ready)
        assert line.beat(consuming=True).queues == ("mail", "web")
        for command, queue, reads in (
            ("cancel_consumer", "mail", ("web",)),
            ("add_consumer", "other", ("other", "web")),
            ("cancel_consumer", "other", ("web",)),
            ("cancel_consumer", "web", ()),
        ):
            asked = partial(producer.control.broadcast, command, {"queue": queue}, reply=True, timeout=2, limit=1)
            eventually(asked)  # a green worker may be ready before it hears
            assert line.beat(queues=reads).consuming
        cut(producer, line)
        line.tell(Read(("mail", "web")))
        line.beat(queues=("mail", "web"))
        assert send(producer, "add", 1, 1, queue="mail").get(timeout=60) == 2


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_that_goes_on_over_a_lost_connection_is_not_done_twice(
    server: Path, folder: Path, producer: Celery, pool: str
) -> None:
    with worker(folder, settings_of(server, "web", "mail", worker_prefetch_multiplier=4), pool) as (line, _):
        line.first(Ready)
        names = ["one", "two", "three", "four"]
        for name in names:
            send(producer, "until", name)
        eventually(lambda: len(trace(folder)) == 2)
        cut(producer, line)
        for name in names:
            (folder / name).touch()
        line.asked(processed=4, active=0, reserved=0)
        assert sorted(trace(folder)) == sorted(f"start {name}" for name in names)
        with producer.connection_for_write() as connection:
            assert connection.default_channel.client.hlen(f"unacked:{NODE}") == 0


def test_a_task_that_is_given_back_after_its_connection_was_lost_is_done_again(
    server: Path, folder: Path, producer: Celery
) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, _):
        line.first(Ready)
        send(producer, "dies_when_told")
        eventually(lambda: trace(folder))
        cut(producer, line)
        (folder / "die").touch()
        eventually(lambda: len(trace(folder)) == 2)
        assert line.asked(active=0, reserved=0).failed == 0


def test_a_worker_waits_for_a_broker_that_is_away_for_long(folder: Path) -> None:
    with redis_server() as path, worker(folder, settings_of(path, "web")) as (line, process):
        line.first(Ready)
        os.kill(pid_of(path), signal.SIGSTOP)
        os.kill(pid_of(path), signal.SIGKILL)
        line.beat(connecting=True)
        before = len(line.hear())
        eventually(lambda: (folder / "web-1.log").read_text().count("Trying again") >= 2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(60) == 0, "it does not stop while it looks for the broker"
        assert len(line.hear()) >= before


def pid_of(server: Path) -> int:
    (found,) = (pid for pid, command in processes_of(server).items() if "valkey" in command or "redis" in command)
    return found


def test_nothing_of_the_worker_reaches_the_programs_that_a_task_starts(
    server: Path, folder: Path, producer: Celery
) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, _):
        line.first(Ready)
        assert send(producer, "inherited").get(timeout=60) == []


@pytest.mark.parametrize("run", [worker, forked_worker])
def test_a_worker_has_our_redis_channel(server: Path, folder: Path, producer: Celery, run: Any) -> None:
    with run(folder, settings_of(server, "web", "mail"), "solo") as (line, _):
        line.first(Ready)
        assert send(producer, "channel").get(timeout=60) == "celeryfleet.worker.redis_channel"


def test_a_worker_stops_warmly_when_its_supervisor_hangs_up(server: Path, folder: Path, producer: Celery) -> None:
    with worker(folder, settings_of(server, "web", "mail")) as (line, process):
        line.first(Ready)
        send(producer, "until", "flag")
        eventually(lambda: trace(folder))
        line.socket.close()
        eventually(lambda: "Warm shutdown" in (folder / "stray").read_text() + (folder / "web-1.log").read_text())
        assert process.poll() is None
        (folder / "flag").touch()
        assert process.wait(60) == 0


def test_a_supervisor_that_does_not_read_costs_no_memory(folder: Path) -> None:
    script = """
import socket
from celery import Celery
from celeryfleet.worker_protocol import Beat
from celeryfleet.worker.heartbeat import Heartbeat
ours, theirs = socket.socketpair()
heart = Heartbeat(Celery(), theirs, 10.0)
for number in range(30000):
    heart.send(Beat(processed=number))
print(len(heart._out))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000


def test_a_worker_tells_that_it_reads_again_as_soon_as_its_loop_runs(folder: Path) -> None:
    """After a lost connection it said so a second later, and `health` was 3 for as long."""
    script = """
import socket
from types import SimpleNamespace
from celery import Celery
from celeryfleet.worker.heartbeat import Heartbeat
ours, theirs = socket.socketpair()
heart = Heartbeat(Celery(), theirs, 10.0)
heart.consumer = SimpleNamespace(call_soon=None)
heart.keep_beating(lambda seconds, look: print(f"looks after {seconds} s"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "looks after 0 s\n"
