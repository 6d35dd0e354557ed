"""The task runs in the pool, and by a worker, that `route` names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Home
from tests.fakes import eventually
from tests.machine_services import Rabbit, rabbit

APP = '''
import os, pathlib
from celery import Celery

app = Celery("shop")
here = pathlib.Path(__file__).parent


class Router:
    def route_for_task(self, task, args=None, kwargs=None):
        return {"queue": "PREFIXvideo"} if task == "by.router" else None


def tell(name, **options):
    """Register a task that writes down who runs it."""
    def run():
        with (here / "ran").open("a") as file:
            file.write(f"{name} {os.environ['CELERYFLEET_WORKER']}\\n")
    app.task(name=name, **options)(run)


for each in ("PREFIXmail:welcome", "PREFIXmail:a:b", "globs.a1", "globs.c1", "by.router", "order.new", "other", ":x"):
    tell(each)
tell("own.queue", queue="PREFIXvideo")
'''

FLEET = """
name: PREFIXshop
app: shop
{broker}
results: none
queues:
  PREFIXdefault:
  PREFIXmail:
  PREFIXvideo: {{max_priority: 9}}
  PREFIXorders: {{exchange: {{name: PREFIXevents, type: topic}}, routing_key: "order.#"}}
  PREFIXaudit: {{exchange: {{name: PREFIXevents, type: topic}}, routing_key: "*.new"}}
routes:
  - {{router: celeryfleet.routers.namespace}}
  - {{task: "globs.[ab]?", queue: PREFIXvideo, priority: 7}}
  - {{router: shop.Router}}
  - {{task: "order.*", exchange: PREFIXevents, routing_key: order.new}}
pools:
  web: {{queues: [PREFIXdefault]}}
  mail: {{queues: [PREFIXmail]}}
  io: {{queues: [PREFIXvideo, PREFIXorders]}}
  audit: {{queues: [PREFIXaudit]}}
"""

TASKS = {
    "PREFIXmail:welcome": ["mail"],
    "PREFIXmail:a:b": ["mail"],
    "globs.a1": ["io"],
    "globs.c1": ["web"],
    "by.router": ["io"],
    "order.new": ["io", "audit"],
    "other": ["web"],
    ":x": ["web"],
    "own.queue": ["io"],
}


@pytest.fixture
def broker() -> Iterator[Rabbit]:
    """Ask for it before `home`: a worker that still runs would declare again what is deleted."""
    with rabbit() as found:
        yield found


def prove(home: Home, prefix: str, broker: str) -> None:
    """Send each task, and hold who ran it against `route`."""
    home.write(FLEET.format(broker=broker).replace("PREFIX", prefix), APP.replace("PREFIX", prefix)).up()
    expected = set()
    for task, pools in TASKS.items():
        name = task.replace("PREFIX", prefix)
        found: dict[str, Any] = json.loads(home.run("route", name, "--json").stdout)
        assert (found["pools"], found["workers"]) == (pools, [f"{pool}-1" for pool in pools])
        expected |= {f"{name} {worker}" for worker in found["workers"]}
        home.post(name)

    def ran() -> list[str]:
        return (home.path / "ran").read_text().splitlines() if (home.path / "ran").exists() else []

    eventually(lambda: len(ran()) >= len(expected))
    assert sorted(ran()) == sorted(expected)


def test_on_redis_each_task_runs_where_route_says(home: Home) -> None:
    prove(home, "", "")


def test_on_rabbitmq_each_task_runs_where_route_says(broker: Rabbit, home: Home) -> None:
    for name in ("default", "mail", "video", "orders", "audit", "events"):
        broker.name(name)
    prove(home, broker.prefix, f"broker: {broker.url}")


def test_a_router_that_cannot_be_imported_fails_the_start_not_the_first_send(home: Home) -> None:
    fleet = FLEET.format(broker="").replace("PREFIX", "").replace("shop.Router", "shop.Roter")
    home.write(fleet, APP.replace("PREFIX", ""))
    done = home.run("up", "-d", "--wait", "--wait-timeout", "40", check=False)
    assert done.returncode != 0
    assert 'the router "shop.Roter" cannot be imported' in done.stdout + done.stderr + home.log("preload")
