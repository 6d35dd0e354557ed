"""A broker that is away for long: workers look for it often, say so seldom, and go on as soon as it is back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.worker_protocol import Ready
from tests.fakes import eventually, forget_pools
from tests.gate import Gate, gate
from tests.machine_services import rabbit
from tests.servers import redis_server
from tests.services.worker.children import NODE, settings_of, worker

APP = """
import pathlib, time
from celery import Celery
import celeryfleet

app = Celery("shop")
celeryfleet.install(app)


@app.task
def add(a, b):
    return a + b


@app.task
def until(name):
    while not (pathlib.Path(__file__).parent / name).exists():
        time.sleep(0.01)
    return name
"""
#: Celery, which waits longer and longer, would come to so many after two minutes
TRIES = 20


@contextmanager
def to_redis() -> Iterator[tuple[Gate, dict[str, Any], dict[str, Any]]]:
    with redis_server() as server:

        def behind() -> socket.socket:
            found = socket.socket(socket.AF_UNIX)
            found.connect(str(server))
            return found

        with gate(behind) as made:
            settings = settings_of(server, "web")
            yield made, settings, {**settings, "broker_url": f"redis://127.0.0.1:{made.port}/0"}


@contextmanager
def to_rabbitmq() -> Iterator[tuple[Gate, dict[str, Any], dict[str, Any]]]:
    with redis_server() as results, rabbit() as broker:
        at = urlsplit(broker.url)
        with gate(lambda: socket.create_connection((at.hostname or "", at.port or 5672))) as made:
            settings = settings_of(results, broker.name("web"), broker_url=broker.url)
            settings["control_exchange"] = broker.prefix + "pidbox"  # a node of this name is in other tests, too
            url = at._replace(netloc=f"{at.username}:{at.password}@127.0.0.1:{made.port}").geturl()
            yield made, settings, {**settings, "broker_url": url}


@pytest.mark.parametrize("broker", [to_redis, to_rabbitmq])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_work_goes_on_as_soon_as_the_broker_is_back(broker: Any, pool: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with broker() as (door, direct, through):
        app = Celery("shop", set_as_current=False)
        apply(app, direct)
        restore = (NODE,) if broker is to_redis else ()
        with worker(tmp_path, through, pool, restore=restore) as (line, _):
            line.first(Ready)
            door.shut()
            result = app.send_task("shop.add", (1, 2), queue=direct["task_default_queue"])
            eventually(lambda: door.refused >= TRIES)
            line.beat(connecting=True)
            door.open()
            assert result.get(timeout=60) == 3
        forget_pools(app)
        said = (tmp_path / "web-1.log").read_text().count("Cannot connect to")
        assert 1 <= said < TRIES / 2


def test_a_broker_that_believes_in_the_lost_connection_does_not_end_the_worker(tmp_path: Path) -> None:
    """Celery's mailbox is exclusive: of a connection that is there no more, the next one could not have it (405)."""
    (tmp_path / "shop.py").write_text(APP)
    with to_rabbitmq() as (door, direct, through):
        app = Celery("shop", set_as_current=False)
        apply(app, direct)
        queue = direct["task_default_queue"]
        with worker(tmp_path, through, restore=()) as (line, process):
            line.first(Ready)
            slow = app.send_task("shop.until", ("let go",), queue=queue)
            line.asked(active=1)
            door.cut()
            line.beat(connecting=True)
            door.open()
            line.asked(connecting=False, consuming=True)
            assert app.control.ping([NODE], timeout=10) == [{NODE: {"ok": "pong"}}]
            assert process.poll() is None
            (tmp_path / "let go").touch()
            door.tell()  # only now are messages sent to nobody but the one that is there
            assert app.send_task("shop.add", (1, 2), queue=queue).get(timeout=60) == 3
            assert slow.get(timeout=60) == "let go"
        forget_pools(app)
