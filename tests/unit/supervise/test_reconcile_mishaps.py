"""The decisions when the machine stands still, a start hangs, or a helper dies, by histories."""

from __future__ import annotations

from celeryfleet.protocol import Stop
from celeryfleet.supervise.decide.events import Heard, Overslept
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.decide.timing import START_SECONDS
from celeryfleet.supervise.status import backlog
from celeryfleet.worker_protocol import Restored
from tests.unit.supervise.histories import World, plan, pool


def ready_world(*replicas: int) -> World:
    world = World(plan(*(pool(name, count) for name, count in zip(("web", "mail"), replicas, strict=False))))
    world.ready()
    world.told()
    return world


def test_after_a_machine_stood_still_no_worker_counts_as_silent() -> None:
    world = ready_world(2)
    world.now += 3600
    world.happen(Overslept(3600))
    assert world.told() == []
    world.after(31)
    assert world.told()[0] == "stop web-1: it has been silent for 30 s"


def test_after_a_machine_stood_still_a_warm_stop_has_its_time_left() -> None:
    world = ready_world(1)
    world.happen(Stop())
    world.after(10)
    world.told()
    world.now += 3600
    world.happen(Overslept(3600))
    assert world.told() == []
    world.after(19)
    assert world.told() == []
    world.after(2)
    assert world.told() == ["stop web-1 cold: its grace period is over"]


def test_a_start_that_hangs_is_ended_and_tried_again() -> None:
    world = World(plan(pool()))
    world.told()
    world.after(START_SECONDS - 1)
    assert world.told() == []
    world.after(2)
    assert world.told() == ["stop web-1: it has been starting silently for 300 s"]
    world.after(60)
    assert world.told()[-1].startswith("kill web-1")
    world.die()
    assert world.told() == ["start web-1: it did not stop cold within 5 s"]


def test_a_start_that_beats_while_it_looks_for_the_broker_may_take_for_ever() -> None:
    world = World(plan(pool()))
    world.told()
    for _ in range(100):
        world.after(10)
        world.beat(consuming=False, connecting=True)
    assert world.told() == []


def test_messages_whose_helper_dies_before_it_brought_them_back_are_given_to_another() -> None:
    world = ready_world(2, 2)
    world.die("mail-2")
    world.ready()
    world.told()
    world.die("mail-2")
    world.want(plan(pool("web", 2), pool("mail", 1)))
    assert "web-1 brings back the messages of mail-2@fleet.host" in world.told()
    assert "unacked:mail-2@fleet.host" in backlog(world.target, world.state).unacked
    world.die("web-1")
    assert "web-2 brings back the messages of mail-2@fleet.host" in world.told()
    world.happen(Heard("web-2", Restored(("mail-2@fleet.host",))))
    world.die("web-2")
    assert not [line for line in world.told() if "mail-2" in line]
    assert world.status("mail-1") is Status.READY
