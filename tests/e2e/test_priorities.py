"""The order in which tasks are really executed: priorities, strict order of queues, and spill-over."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Home
from tests.fakes import eventually
from tests.machine_services import rabbit

APP = """
import os, pathlib, time
from celery import Celery
import celeryfleet

app = Celery("shop")
celeryfleet.install(app)
here = pathlib.Path(__file__).parent


def note(text):
    with (here / "trace").open("a") as trace:
        trace.write(f"{text} {os.environ['CELERYFLEET_WORKER']}\\n")


@app.task
def until(name):
    note(f"start-{name}")
    while not (here / name).exists():
        time.sleep(0.01)


@app.task
def low(name):
    note(name)


@app.task
def high(name):
    note(name)


for number in range(10):
    app.task(note, name=f"shop.p{number}", typing=False)
"""

PRODUCER = """
import json, sys, shop
for name, args, options in json.load(sys.stdin):
    shop.app.tasks["shop." + name].apply_async(args, **options)
"""

RANKED = """
name: {name}
app: shop
broker: "{broker}"
results: none
celery: {{task_acks_late: true}}
queues:
  "{queue}": {{max_priority: 9}}
routes:
{routes}
pools:
  jobs: {{queues: ["{queue}"]}}
"""

SPILL = """
name: shop
app: shop
celery: {task_acks_late: true}
queues: {high: , low: }
default_queue: low
routes:
  - {task: shop.high, queue: high}
  - {task: shop.p*, queue: low, priority: 9}
pools:
  first: {queues: [high, low]}
  second: {queues: [low, high]}
"""


def by_priority(queue: str) -> str:
    """Write ten routes: shop.p9 goes first."""
    return "\n".join(f'  - {{task: shop.p{number}, queue: "{queue}", priority: {number}}}' for number in range(10))


def publish(home: Home, *messages: tuple[str, list[Any], dict[str, Any]]) -> None:
    """Publish from a process outside the fleet, in this order."""
    done = subprocess.run(
        [sys.executable, "-c", PRODUCER],
        cwd=home.path,
        env=home.env,
        input=json.dumps(messages),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def hold(home: Home, gate: str, queue: str) -> str:
    """Keep one worker of a queue busy until `release`; return its name."""
    publish(home, ("until", [gate], {"queue": queue}))
    eventually(lambda: [line for line in home.trace() if line.startswith(f"start-{gate} ")])
    return next(line.split()[1] for line in home.trace() if line.startswith(f"start-{gate} "))


def release(home: Home, gate: str) -> None:
    (home.path / gate).touch()


def executed(home: Home, number: int) -> list[tuple[str, str]]:
    """Return what was executed and by whom, in that order, once it is so many tasks."""

    def found() -> list[tuple[str, str]]:
        pairs = [(line.split()[0], line.split()[1]) for line in home.trace()]
        return [pair for pair in pairs if not pair[0].startswith("start-")]

    eventually(lambda: len(found()) >= number)
    return found()


@pytest.fixture(params=["embedded", "rabbitmq"])
def ranked(request: pytest.FixtureRequest, home: Home) -> Iterator[Home]:
    """Give a running fleet with a queue in which ten tasks have priorities from 0 to 9 by their routes."""
    if request.param == "embedded":
        home.write(RANKED.format(name="shop", broker="embedded", queue="jobs", routes=by_priority("jobs")), APP)
        yield home.up()
    else:
        with rabbit() as broker:
            queue = broker.name("jobs")
            text = RANKED.format(name=broker.fleet, broker=broker.url, queue=queue, routes=by_priority(queue))
            yield home.write(text, APP).up()
            home.run("down", "--cold")


def test_9_runs_first_and_0_last_on_either_broker_and_equals_in_the_order_they_came(ranked: Home) -> None:
    queue = ranked.status()["pools"][0]["queues"][0]
    hold(ranked, "gate", queue)
    numbers = [number for number in range(10) for _ in range(2)]
    random.Random(7).shuffle(numbers)
    publish(ranked, *((f"p{number}", [f"{number}-{at}"], {}) for at, number in enumerate(numbers)))
    release(ranked, "gate")
    expected = [f"{number}-{at}" for at, number in enumerate(numbers)]
    expected.sort(key=lambda name: -int(name.split("-")[0]))
    assert [name for name, _ in executed(ranked, 20)] == expected


def test_a_task_without_a_priority_runs_after_those_that_have_one(ranked: Home) -> None:
    queue = ranked.status()["pools"][0]["queues"][0]
    hold(ranked, "gate", queue)
    publish(ranked, ("low", ["plain"], {"queue": queue}), ("p1", ["urgent"], {}))
    release(ranked, "gate")
    assert [name for name, _ in executed(ranked, 2)] == ["urgent", "plain"]


def test_send_takes_9_as_the_first_too(ranked: Home) -> None:
    queue = ranked.status()["pools"][0]["queues"][0]
    hold(ranked, "gate", queue)
    for priority in ("2", "9", "5"):
        ranked.run("send", "high", priority, "--queue", queue, "--priority", priority, "--no-wait")
    release(ranked, "gate")
    assert [name for name, _ in executed(ranked, 3)] == ["9", "5", "2"]


@pytest.fixture
def spill(home: Home) -> Home:
    """Give a running fleet of two pools that help each other out, each with one worker, both busy."""
    home.write(SPILL, APP).up()
    return home


def busy(home: Home) -> tuple[str, str]:
    """Keep both workers busy; return the gates of the first pool's and of the second's."""
    gates = {hold(home, gate, "high"): gate for gate in ("one", "two")}
    return gates["first-1"], gates["second-1"]


def test_each_pool_takes_all_of_its_own_queue_first_and_then_helps_with_the_other(spill: Home) -> None:
    first, second = busy(spill)
    publish(spill, *((kind, [f"{kind}{n}"], {}) for n in range(4) for kind in ("low", "high")))
    release(spill, first)
    ran = executed(spill, 8)
    assert [name for name, _ in ran] == ["high0", "high1", "high2", "high3", "low0", "low1", "low2", "low3"]
    assert {worker for _, worker in ran} == {"first-1"}  # while the other pool was busy
    publish(spill, *((kind, [f"{kind}{n}"], {}) for n in range(4, 8) for kind in ("high", "low")))
    hold(spill, "three", "high")
    release(spill, second)
    release(spill, "three")
    assert len(executed(spill, 16)) == 16


def test_the_first_queue_goes_before_an_urgent_message_of_the_second(spill: Home) -> None:
    first, second = busy(spill)
    publish(spill, ("p9", ["urgent-low"], {}), ("low", ["plain-low"], {}), ("high", ["plain-high"], {}))
    release(spill, first)
    assert [name for name, _ in executed(spill, 3)] == ["plain-high", "urgent-low", "plain-low"]
    release(spill, second)


def test_a_queue_that_was_paused_has_its_old_place_when_it_is_resumed(spill: Home) -> None:
    spill.run("pause", "high")
    spill.run("resume", "high")
    first, second = busy(spill)
    publish(spill, ("low", ["low"], {}), ("high", ["high"], {}))
    release(spill, first)
    assert [name for name, _ in executed(spill, 2)] == ["high", "low"]
    release(spill, second)


def test_in_turn_no_queue_waits_for_all_of_another(home: Home) -> None:
    text = SPILL.replace("first: {queues: [high, low]}", "first: {queues: [high, low], order: round_robin}")
    home.write(text.replace("  second: {queues: [low, high]}\n", ""), APP).up()
    hold(home, "gate", "high")
    publish(home, *((kind, [f"{kind}{n}"], {}) for kind in ("high", "low") for n in range(4)))
    release(home, "gate")
    ran = [name for name, _ in executed(home, 8)]
    assert ran.index("low0") < ran.index("high2"), ran


def test_send_warns_of_a_priority_in_a_fleet_on_redis_that_declares_none(home: Home) -> None:
    home.write().up()
    done = home.run("send", "add", "1", "2", "--priority", "9")
    assert done.stdout == "3\n"
    assert done.stderr.splitlines()[0] == (
        "warning: no queue or route of this fleet has a priority, so on Redis messages without one go first. "
        "Give the queue max_priority: 9, and they go last."
    )
    declared = (home.path / "fleet.yaml").read_text().replace("mail: }", "mail: {max_priority: 9}}")
    (home.path / "fleet.yaml").write_text(declared)
    assert "warning" not in home.up().run("send", "add", "1", "2", "--priority", "9").stderr
