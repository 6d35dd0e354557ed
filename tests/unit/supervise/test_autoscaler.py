"""The autoscaler between a broker and a plan."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.plan.values import AutoscalePolicy, BrokerPlan, Plan
from celeryfleet.protocol import Pause, Stop
from celeryfleet.routing.queue import Queue
from celeryfleet.supervise.autoscaler import Autoscaler
from celeryfleet.supervise.decide.events import Heard
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.worker_protocol import Beat, Ready
from tests.unit.supervise.histories import plan, pool

POLICY = AutoscalePolicy(min=1, max=4, target_length=10, cooldown=60.0)


def fleet(wanted: Plan) -> Reconciler:
    return Reconciler(wanted, lambda action: None, lambda: None)


def depth(ready: int | None, unacked: int | None = 0, age: float | None = None) -> dict[str, Any]:
    return {"ready": ready, "unacked": unacked, "oldest_age_s": age}


def beats(loop: Reconciler, **reserved: int) -> None:
    """Let the workers of a fleet be ready and have so many tasks."""
    for name, tasks in reserved.items():
        name = name.replace("_", "-")
        loop.happen(Heard(name, Beat(tasks, tasks, consuming=True)))
        loop.happen(Heard(name, Ready(())))


async def no_poke(pools: Collection[str]) -> None:
    """Leave the latest beats as they are."""


async def turn() -> None:
    """Let what was decided be done."""
    await asyncio.sleep(0.01)


def test_pools_follow_their_own_queues_and_the_others_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    async def live() -> None:
        loop = fleet(plan(pool("web", autoscale=POLICY, queues=("a", "b", "c"), concurrency=8), pool("mail")))
        loop.happen(Pause(("c",)))
        scaler = Autoscaler(loop, no_poke)
        scaler.follow({"a": depth(20), "b": depth(None), "c": depth(1000), "mail": depth(1000)}, now=1000.0)
        assert {name: p.replicas for name, p in loop.target.pools.items()} == {"web": 2, "mail": 1}
        await turn()
        beats(loop, web_1=5, web_2=0)
        scaler.follow({"a": depth(21), "b": depth(0)}, now=1002.0)
        assert loop.target.pools["web"].replicas == 3, "what workers have taken counts"
        scaler.follow({"a": depth(0), "b": depth(0)}, now=1030.0)
        assert loop.target.pools["web"].replicas == 3, "the cooldown is not over"

    asyncio.run(live())
    assert "scale web to 3: 26 messages wait or run, and each worker should have 10" in capsys.readouterr().out


def test_the_idlest_worker_is_stopped_with_all_the_time_it_wants_and_its_name_is_not_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def live() -> None:
        loop = fleet(plan(pool("web", 3, autoscale=replace(POLICY, cooldown=0.0), grace=2.0)))
        scaler = Autoscaler(loop, no_poke)
        loop.schedule()
        await turn()
        beats(loop, web_1=1, web_2=0, web_3=1)
        scaler.follow({"web": depth(0)}, now=1000.0)
        assert list(loop.target.specs) == ["web-1", "web-3"]
        await turn()
        assert loop.state.workers["web-2"].deadline == float("inf")
        scaler.follow({"web": depth(50)}, now=1001.0)
        assert list(loop.target.specs) == ["web-1", "web-3", "web-4", "web-5"]
        assert Plan.from_json(json.loads(json.dumps(loop.plan.to_json()))) == loop.plan

    asyncio.run(live())
    assert "stop web-2: it is no longer wanted" in capsys.readouterr().out


def test_it_goes_on_from_what_was_scaled_by_hand() -> None:
    async def live() -> None:
        loop = fleet(plan(pool("web", autoscale=POLICY)))
        scaler = Autoscaler(loop, no_poke)
        loop.aim(loop.plan.scaled({"web": 9}))
        scaler.follow({"web": depth(35)}, now=1000.0)
        assert loop.target.pools["web"].replicas == 4
        loop.aim(loop.plan.scaled({"web": 2}))
        scaler.follow({"web": depth(0)}, now=1100.0)
        assert loop.target.pools["web"].replicas == 2, "it lasts for a cooldown"
        scaler.follow({"web": depth(0)}, now=1160.0)
        assert loop.target.pools["web"].replicas == 1

    asyncio.run(live())


def test_hosts_that_read_one_queue_share_what_waits_in_it() -> None:
    async def live() -> None:
        hosts = {"a": ["web", "web"], "b": ["web", "mail"]}
        loop = fleet(replace(plan(pool("web", autoscale=POLICY, queues=("web", "mail"))), hosts=hosts))
        Autoscaler(loop, no_poke).follow({"web": depth(23), "mail": depth(8)}, now=1000.0)
        assert loop.target.pools["web"].replicas == 2, "12 of web, and 8 of mail: each worker should have 10"

    asyncio.run(live())


def answer(listener: socket.socket) -> None:
    """Be a Redis in which three lists hold 12 messages each."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(1 << 16):
                replies = {b"LLEN": b":12\r\n", b"LINDEX": b"$-1\r\n", b"HVALS": b"*0\r\n"}
                words = [line for line in data.split(b"\r\n") if line in replies]
                connection.sendall(b"".join(replies[word] for word in words) or b"+OK\r\n")


def test_it_measures_tells_once_of_a_broker_that_is_away_and_ends_with_the_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broker.sock"
    broker = BrokerPlan(f"redis+socket://{path}", "x", "x", steps=(0,))
    wanted = replace(plan(pool("web", autoscale=POLICY)), broker=broker, queues=(Queue("web", "web"),))

    async def live() -> str:
        loop = fleet(wanted)
        scaler = Autoscaler(loop, no_poke, interval=0.01)
        scaler.start()
        scaler.start()
        async with asyncio.timeout(20):
            while "measured" not in (said := capsys.readouterr().out):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                threading.Thread(target=answer, args=[listener], daemon=True).start()
                while loop.target.pools["web"].replicas != 2:
                    await asyncio.sleep(0.01)
                loop.happen(Stop())
                while scaler._running:
                    await asyncio.sleep(0.01)
                listener.shutdown(socket.SHUT_RDWR)
        return said

    out = asyncio.run(live()) + capsys.readouterr().out
    assert out.count("the queues could not be measured") == 1
    assert "scale web to 2: 12 messages wait" in out
