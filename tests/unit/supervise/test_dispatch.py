"""What the supervisor does about each request, with a fleet that has no processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from celeryfleet import protocol
from celeryfleet.errors import Exit, FleetError
from celeryfleet.hosts.messages import HostTrouble
from celeryfleet.plan.values import BeatPlan, BrokerPlan, Plan, PoolPlan
from celeryfleet.protocol import Apply, GetPlan, GetStatus, GetTasks, Pause, Restart, Scale, Stop, Wait
from celeryfleet.records import Record, encode, parse
from celeryfleet.supervise.decide.events import Exited, ForkServerBroken, ForkServerReady, Heard
from celeryfleet.supervise.dispatch import Dispatcher
from celeryfleet.supervise.forkserver import ForkServers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.workers import Workers
from celeryfleet.worker_protocol import Beat, Ready
from tests.unit.supervise.histories import plan, pool

#: its own for each process that runs tests: names are claimed on it
URL = f"redis://test-{os.getpid()}"
BROKER = BrokerPlan(URL, URL, URL)


class Fleet:
    """A fleet with its dispatcher; actions change its state and nothing else."""

    def __init__(self, wanted: Plan) -> None:
        self.loop = Reconciler(wanted, lambda action: None, lambda: self.dispatcher.settle())
        fork_servers = ForkServers(self.loop, -1, None)
        self.claim = Claim()
        self.dispatcher = Dispatcher(self.loop, Workers(self.loop, fork_servers, -1), self.claim, self.loop.aim)
        self.at_end: list[Callable[[], None]] = []

    async def ask(self, request: Record) -> Any:
        """Ask as over a socket."""
        return await self.dispatcher(parse(protocol.Request, encode(request)), self.at_end)

    async def ready(self, *names: str) -> None:
        """Have all workers that start become ready."""
        self.loop.schedule()
        await asyncio.sleep(0.01)
        for name in names or self.loop.target.specs:
            self.loop.happen(Heard(name, Ready(("shop.add",))))
            self.loop.happen(Heard(name, Beat(consuming=True, queues=self.loop.state.workers[name].told)))


def live(scene: Callable[[Fleet], Awaitable[None]], *pools: PoolPlan, **more: Any) -> None:
    """Live through a scene."""

    async def whole() -> None:
        fleet = Fleet(replace(plan(*(pools or (pool("web"), pool("mail")))), broker=BROKER, **more))
        try:
            await scene(fleet)
        finally:
            fleet.claim.release()

    asyncio.run(whole())


def test_what_is_wrong_between_hosts_is_said_in_status_until_it_is_over() -> None:
    async def scene(fleet: Fleet) -> None:
        for trouble, notes in (
            (HostTrouble("far:/srv is host a, too", note=True), ("far:/srv is host a, too",)),
            (HostTrouble("the broker is gone"), ("far:/srv is host a, too",)),
            (HostTrouble("", note=True), ()),
        ):
            await fleet.dispatcher(trouble, [])
            assert (await fleet.ask(GetStatus(exact=False))).notes == notes

    live(scene)


def test_the_replies_are_of_the_types_that_a_client_expects() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ready()
        for request, reply in (
            (GetStatus(exact=False), protocol.Status),
            (GetTasks(), protocol.Tasks),
            (GetPlan(), protocol.Running),
            (Wait(), protocol.Settled),
            (Scale({}), protocol.Done),
        ):
            found = await fleet.ask(request)
            assert isinstance(found, reply)
            assert parse(reply, encode(found)) == parse(reply, encode(found))
        assert (await fleet.ask(GetTasks())).names == ("shop.add",)
        assert (await fleet.ask(GetStatus(exact=False))).state == "ready"

    live(scene)


BEAT = BeatPlan(("celery", "beat"), {}, "beat")


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Restart(("wbe",)), 'there is no pool "wbe". Did you mean "web"?'),
        (Scale({"wbe": 1}), 'there is no pool "wbe". Did you mean "web"?'),
        (Scale({"web": -1}), "web can have 0 to 1000 replicas, not -1."),
        (Scale({"beat": 2}), "beat can't be scaled: two would send every task twice."),
    ],
)
def test_what_cannot_be_is_refused(request_: Record, what: str) -> None:
    async def scene(fleet: Fleet) -> None:
        before = fleet.loop.target
        with pytest.raises(FleetError) as caught:
            await fleet.ask(request_)
        assert str(caught.value) == what
        assert fleet.loop.target is before

    live(scene, beat=BEAT)


def test_a_plan_that_cannot_be_followed_is_refused_also_when_it_is_only_asked_about() -> None:
    async def scene(fleet: Fleet) -> None:
        old = fleet.loop.plan
        moved = replace(old, broker=BrokerPlan("redis://y", "redis://y", "redis://y", ("valkey-server",)))
        for wanted in (moved, replace(old, state_dir="/elsewhere")):
            for dry_run in (False, True):
                with pytest.raises(FleetError, match="which a running fleet can't follow") as caught:
                    await fleet.ask(Apply(wanted.to_json(), dry_run=dry_run))
                assert caught.value.code is Exit.NOT_READY
        await fleet.ask(Stop())
        with pytest.raises(FleetError, match="the fleet is stopping"):
            await fleet.ask(Apply(old.to_json()))

    live(scene)


def test_a_dry_run_changes_nothing_and_says_what_the_same_request_would_do() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ready()
        before = fleet.loop.target, fleet.loop.state
        wanted = replace(fleet.loop.plan, pools=(pool("web", 2),)).to_json()
        found = await fleet.ask(Apply(wanted, dry_run=True))
        assert list(map(str, found.actions)) == [
            "scale web: from 1 to 2 workers",
            "keep web-1: nothing of it changes",
            "start web-2: it is wanted",
            "stop mail-1: it is no longer wanted",
        ]
        assert (fleet.loop.target, fleet.loop.state) == before
        await fleet.ask(Apply(wanted))
        assert list(fleet.loop.target.specs) == ["web-1", "web-2"]

    live(scene)


def test_some_pools_alone_are_brought_to_a_plan() -> None:
    async def scene(fleet: Fleet) -> None:
        wanted = replace(fleet.loop.plan, pools=(pool("web", 2), pool("mail", 5)))
        await fleet.ask(Apply(wanted.to_json(), only=("web",)))
        assert list(fleet.loop.target.specs) == ["web-1", "web-2", "mail-1"]

    live(scene)


def test_other_pools_go_on_as_they_are_though_settings_of_the_whole_fleet_have_changed() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ready()
        wanted = replace(fleet.loop.plan, settings={"task_queues": ["new"]}, pools=(pool("web"), pool("mail")))
        found = await fleet.ask(Apply(wanted.to_json(), only=("web",), dry_run=True))
        assert [(one.do, one.what) for one in found.actions] == [("replace", "web-1"), ("keep", "mail-1")]
        await fleet.ask(Apply(wanted.to_json(), only=("web",)))
        assert fleet.loop.plan.left_alone == ("mail", "beat")
        found = await fleet.ask(Apply(wanted.to_json(), dry_run=True))
        assert [one.do for one in found.actions] == ["replace", "replace"], "all are brought to it by a plain `up`"

    live(scene)


def test_some_pools_are_stopped_and_with_the_last_one_the_whole_fleet() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ready()
        with pytest.raises(FleetError, match='there is no pool "wbe"'):
            await fleet.ask(Stop(pools=("wbe",)))
        await fleet.ask(Stop(pools=("web",)))
        await asyncio.sleep(0.01)
        await fleet.ask(Stop(cold=True, pools=("web",)))
        assert fleet.loop.state.workers["web-1"].grace == 0.0
        assert list(fleet.loop.target.specs) == ["mail-1"]
        assert not fleet.loop.state.stopping
        await fleet.ask(Stop(pools=("mail",)))
        assert fleet.loop.state.stopping

    live(scene)


def test_pools_that_belong_to_a_terminal_stop_when_that_is_gone_and_the_others_go_on() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ask(protocol.Attach(("mail",)))
        waiting = asyncio.ensure_future(fleet.ask(Wait(until="gone", pools=("mail",))))
        await fleet.ready()
        assert not waiting.done()
        fleet.at_end[0]()
        fleet.loop.happen(Exited("mail-1", protocol.LastExit(0, None, 0.0, "")))
        assert (await waiting).done
        assert list(fleet.loop.target.specs) == ["web-1"]
        fleet.at_end[0]()
        assert not fleet.loop.state.stopping

    live(scene)


def test_a_reload_keeps_the_numbers_of_workers_and_replaces_each() -> None:
    async def scene(fleet: Fleet) -> None:
        before = fleet.loop.plan
        await fleet.ask(Scale({"web": 3}))
        await fleet.ask(Apply(before.to_json(), reload=True))
        assert list(fleet.loop.target.specs) == ["web-1", "web-2", "web-3", "mail-1"]
        assert fleet.loop.plan.generation == before.generation + 1

    live(scene)


def test_who_waits_is_answered_when_all_is_ready_or_nothing_more_is_to_be_expected_or_it_takes_too_long() -> None:
    async def scene(fleet: Fleet) -> None:
        assert (await fleet.ask(Wait(timeout=0.01))).done is None
        waiting = asyncio.ensure_future(fleet.ask(Wait()))
        await fleet.ready()
        found = await waiting
        assert (found.done, found.status.state) == (True, "ready")

    live(scene)


def test_who_waits_for_the_import_alone_does_not_wait_for_the_workers() -> None:
    async def scene(fleet: Fleet) -> None:
        for event, done in ((ForkServerReady(0, ""), True), (ForkServerBroken("no such module"), False)):
            waiting = asyncio.ensure_future(fleet.ask(Wait(until="imported")))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            fleet.loop.happen(event)
            found = await waiting
            assert found.done is done
            assert found.status.state != "ready"
            await fleet.ask(Apply(fleet.loop.plan.to_json(), reload=True))

    live(scene, pool("web", fork=True))


def test_a_fleet_that_belongs_to_a_terminal_stops_when_that_is_gone() -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.ask(Pause(("web",)))
        assert fleet.loop.state.paused == {"web"}
        assert fleet.at_end == []
        await fleet.ask(protocol.Attach())
        (detached,) = fleet.at_end
        assert not fleet.loop.state.stopping
        detached()
        assert fleet.loop.state.stopping

    live(scene)


def test_a_name_that_another_fleet_holds_cannot_be_taken_over(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        other = Claim()
        url = f"redis://test-{tmp_path.name}"
        broker = BrokerPlan(url, url, url)
        wanted = replace(fleet.loop.plan, broker=broker, file=str(tmp_path / "fleet.yaml"))
        other.take(wanted)
        try:
            with pytest.raises(FleetError, match=f"runs on this broker already, from {tmp_path}/fleet.yaml"):
                await fleet.ask(Apply(wanted.to_json()))
            assert fleet.loop.plan.broker == BROKER
        finally:
            other.release()
        await fleet.ask(Apply(wanted.to_json()))
        with pytest.raises(FleetError):
            other.take(wanted)
        fleet.claim.release()
        other.take(wanted)
        other.release()

    live(scene)
