"""Holds the simulation to fleets that really run: `python -m benchmarks.capacity [SCALE]`.

Each layout of examples/priorities runs a morning, and the pool of one queue a steady load. What the ledger says of
their tasks is compared with a simulation of the same plan, in which each message comes when it came and takes what it
took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from kombu import Connection

from benchmarks.running import folder
from celeryfleet.cli.session import Session
from celeryfleet.ledger.read import Ledger
from celeryfleet.plan.values import Plan
from celeryfleet.simulate.engine import Simulation, Stream

_EXAMPLES = Path(__file__).parents[1] / "examples" / "priorities"
_RABBIT = "amqp://guest:guest@127.0.0.1:5672//"
#: orders of the daily messages that are simulated
_ORDERS = 20
#: seconds that a morning may take to be done
_PATIENCE = 300


@dataclass(frozen=True)
class Morning:
    """What is sent: see examples/priorities/morning.py."""

    layout: str
    daily: int
    exports: float
    seconds: float
    runtime: float
    #: lines that take the place of others in fleet.yaml
    changes: tuple[tuple[str, str], ...] = ()


def mornings(scale: float) -> Iterator[Morning]:
    """Give what is measured."""
    for layout in ("one-queue", "per-message", "dedicated"):
        yield Morning(layout, round(6000 * scale), 6, 30 * scale, 0.02)
    for load in (0.7, 0.9):
        yield Morning("one-queue", 0, load * 4 / 0.1, 120 * scale, 0.1)
    wide = (("replicas: 4", "replicas: 1, concurrency: 4"),)
    yield Morning("one-queue", 0, 0.8 * 4 / 0.1, 120 * scale, 0.1, wide)
    rabbit = (
        ("app: notifications", f"app: notifications\nbroker: {_RABBIT}"),
        ("name: one-queue", "name: on-rabbitmq"),
    )
    yield Morning("one-queue", 0, 0.8 * 4 / 0.1, 120 * scale, 0.1, rabbit)


#: task, when it was sent and started, and seconds that it had its process
Row = tuple[str, float, float, float]


def run(one: Morning) -> tuple[Plan, list[Row]]:
    """Run a morning, and return what the ledger says of its tasks, in the order in which they were sent."""
    with folder() as home:
        for file in _EXAMPLES.glob("*.py"):
            shutil.copy(file, home)
        text = (_EXAMPLES / f"{one.layout}.yaml").read_text()
        for old, new in one.changes:
            assert old in text
            text = text.replace(old, new)
        (home / "fleet.yaml").write_text(text)
        fleet = partial(
            subprocess.run, cwd=home, check=True, capture_output=True, env={**os.environ, "CELERYFLEET_FILE": ""}
        )
        command = [sys.executable, "-m", "celeryfleet"]
        plan = Session(home / "fleet.yaml").plan
        fleet([*command, "up", "-d", "--wait"])
        try:
            words = map(str, (one.daily, one.exports, one.seconds, one.runtime))
            fleet([sys.executable, "morning.py", *words])
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until:
                found = json.loads(fleet([*command, "status", "--json"]).stdout)
                if not any(queue["ready"] or queue["unacked"] for queue in found["queues"]):
                    break
                time.sleep(1)
            assert plan.ledger is not None
            with Ledger(plan.ledger.file) as ledger:
                rows = ledger.ended(0.0)
        finally:
            fleet([*command, "down"])
            if plan.broker.transport == "amqp":
                with Connection(_RABBIT) as connection:
                    for queue in plan.queues:
                        connection.default_channel.queue_delete(queue.name)
                        connection.default_channel.exchange_delete(queue.exchange)
                    connection.default_channel.queue_delete(plan.parked)
    return plan, sorted(
        (
            (row.task, row.sent / 1000, row.started / 1000, (row.ended - row.started) / 1000)
            for row in rows
            if row.sent and row.started and row.ended
        ),
        key=lambda row: row[1],
    )


def simulated(plan: Plan, rows: list[Row]) -> dict[str, list[float]]:
    """Simulate it: each message comes when it came, and takes what it took; return the seconds waited, by task.

    Which daily message is before an export is chance: p95 of 59 exports is off by a fifth by that alone. So it is
    simulated with those that came at once in many orders.
    """
    one_queue = len(plan.queues) == 1
    ranked = one_queue and plan.pools[0].defaults.get("worker_prefetch_multiplier") == 1
    daily = [at for at, row in enumerate(rows) if row[0].endswith("daily")]
    waits: dict[str, list[float]] = {}
    for seed in range(_ORDERS if daily else 1):
        random, shuffled = Random(seed), rows.copy()
        for at, other in zip(daily, random.sample(daily, len(daily)), strict=True):
            shuffled[at] = (*rows[at][:3], rows[other][3])
        streams = []
        for task, _, _, seconds in shuffled:
            queue = plan.queues[0].name if one_queue else "low" if task.endswith("daily") else "default"
            streams.append(Stream(queue, partial(float, seconds), 9 if ranked and task.endswith("export") else 0))
        simulation = Simulation(plan.pools, streams, random, plan.broker.transport == "amqp")
        found = simulation.run((row[1] - rows[0][1], at) for at, row in enumerate(rows))
        for (task, *_), waited in zip(rows, found.waits, strict=True):
            waits.setdefault(task, []).extend(waited)
    return dict(sorted(waits.items()))


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> int:
    """Run all, and print a table; exit 1 if a p95 is off by more than a fifth, and by more than 30 ms."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity", description="Compare simulations with fleets.")
    parser.add_argument("scale", type=float, nargs="?", default=1.0, help="so many times the messages; default 1")
    scale, wrong = parser.parse_args().scale, 0
    print("| layout | task | sent | real p50 | p95 | simulated p50 | p95 | off |\n|---|---|---|---|---|---|---|---|")
    for one in mornings(scale):
        plan, rows = run(one)
        for task, ours in simulated(plan, rows).items():
            real = [max(0.0, started - sent) for name, sent, started, _ in rows if name == task]
            p50, p95 = (percentile(ours, percent) for percent in (50, 95))
            theirs = percentile(real, 95)
            off = p95 / theirs - 1 if theirs else 0.0
            wrong += abs(off) > 0.2 and abs(p95 - theirs) > 0.03
            name = one.changes[0][1].replace("\n", ", ") if one.changes else one.layout
            print(
                f"| {name} | {task.rpartition('.')[2]} | {len(real)} | {percentile(real, 50):.3f} s | {theirs:.3f} s "
                f"| {p50:.3f} s | {p95:.3f} s | {off:+.0%} |",
                flush=True,
            )
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
