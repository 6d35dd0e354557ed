"""The decisions of a fleet of several apps: each has a fork server of its own, and none keeps another from running."""

from __future__ import annotations

from dataclasses import replace

from celeryfleet.protocol import Stop
from celeryfleet.supervise.decide.events import ForkServerBroken, RetryAsked
from celeryfleet.supervise.decide.readiness import imported, readiness
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.status import notes
from tests.unit.supervise.histories import World, plan, pool

PLAN = plan(pool("web", fork=True, app="shop"), pool("gpu", fork=True, app="ml"))


def running() -> World:
    world = World(PLAN)
    world.server_up(app="shop")
    world.server_up(app="ml")
    world.ready()
    world.told()
    return world


def test_each_app_is_imported_by_a_fork_server_of_its_own_and_waits_for_no_other() -> None:
    world = World(PLAN)
    assert world.told() == [
        "start the fork server of shop: the fleet starts",
        "start the fork server of ml: the fleet starts",
    ]
    world.server_up(app="ml")
    assert world.told() == ["start gpu-1: it is wanted"]
    assert imported(world.target, world.state) is None
    world.server_up(app="shop")
    assert world.told() == ["start web-1: it is wanted"]
    assert imported(world.target, world.state) is True


def test_a_broken_app_keeps_no_other_from_running_and_readiness_tells_which_it_is() -> None:
    world = World(PLAN)
    world.happen(ForkServerBroken("no module ml", "ml"))
    world.server_up(app="shop")
    world.ready()
    assert (world.status("web-1"), world.status("gpu-1")) == (Status.READY, Status.FAILED)
    assert readiness(world.target, world.state, ("web",)).state == "ready"
    found = readiness(world.target, world.state)
    assert found.reason == "no module ml (see `celeryfleet logs preload-ml`); gpu: 0 of 1 ready (gpu-1 failed)"
    assert (found.state, found.settled, imported(world.target, world.state)) == ("degraded", False, False)
    assert imported(world.target, world.state, ("web",)) is True
    assert list(notes(world.target, world.state, world.now)) == [
        "The app ml does not import: no module ml\nSee `celeryfleet logs preload-ml`.",
        "Mend it, then: celeryfleet reload",
    ]


def test_a_fork_server_that_is_killed_is_replaced_and_no_other() -> None:
    world = running()
    world.server_dies(app="ml")
    assert world.told() == ["start the fork server of ml: it was killed by SIGKILL"]
    world.die("web-1")
    assert world.told() == ["start web-1: it was killed by SIGKILL"]
    world.die("gpu-1")
    assert world.told() == []
    world.server_up(app="ml")
    assert world.told() == ["start gpu-1: it was killed by SIGKILL"]


def test_a_reload_renews_each_app_and_the_one_that_breaks_goes_on_with_the_code_before() -> None:
    world = running()
    world.want(replace(PLAN, generation=1))
    assert world.told() == [
        "start the fork server of shop: the app is to be read anew",
        "start the fork server of ml: the app is to be read anew",
    ]
    world.server_up(app="shop")
    world.happen(ForkServerBroken("SyntaxError", "ml"))
    assert world.told() == [
        "stop the fork server of the code before of shop: there is a newer one",
        "stop web-1: its definition changed",
    ]
    world.die("web-1", code=0)
    world.die("gpu-1")
    assert world.told() == [
        "start web-1: its definition changed",
        "start gpu-1: it was killed by SIGKILL; on the code before",
    ]
    world.ready()
    world.want(replace(PLAN, generation=2))
    world.happen(RetryAsked())
    world.happen(ForkServerBroken("SyntaxError", "shop"), ForkServerBroken("SyntaxError", "ml"))
    world.told()
    world.die("web-1")
    world.die("gpu-1")
    world.after(2.0)
    assert world.told() == [
        "start web-1: it was killed by SIGKILL; on the code before",
        "start gpu-1: it was killed by SIGKILL; on the code before",
    ]
    former = world.target.former
    assert {app: one.plan.generation for app, one in former.items()} == {"shop": 1, "ml": 0}


def test_the_fork_server_of_an_app_that_is_no_longer_there_is_stopped() -> None:
    world = running()
    world.want(plan(pool("web", fork=True, app="shop")))
    assert "stop the fork server of ml: no worker is forked" in world.told()


def test_all_fork_servers_are_stopped_with_the_fleet() -> None:
    world = running()
    world.happen(Stop())
    assert world.told()[:2] == [
        "stop the fork server of shop: the fleet stops",
        "stop the fork server of ml: the fleet stops",
    ]
