"""The decisions when the machine stands still, a start hangs, or a helper dies, by histories."""

from __future__ import annotations

from celeryfleet.plan.values import PoolPlan
from celeryfleet.protocol import Stop
from celeryfleet.supervise.decide.events import ForkServerBroken, Heard, Overslept, RetryAsked
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
    why = "it has been starting silently for 300 s; it was killed by SIGKILL"
    assert world.told() == [f"start web-1: {why}"]


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


def reloaded(*pools: PoolPlan) -> World:
    """Return a fleet whose workers have the code before, while the newer is imported."""
    world = World(plan(*pools))
    world.server_up()
    world.ready()
    world.want(plan(*pools, generation=1))
    world.told()
    return world


def test_a_worker_that_dies_after_a_reload_of_code_that_does_not_import_comes_back_on_the_code_before() -> None:
    world = reloaded(pool(fork=True))
    world.happen(ForkServerBroken("SyntaxError"))
    world.die()
    assert world.told() == ["start web-1: it was killed by SIGKILL; on the code before"]
    world.ready()
    world.want(plan(pool(fork=True), generation=2))
    world.server_up()
    assert world.told() == [
        "start the fork server: the app is to be read anew",
        "stop the fork server of the code before: there is a newer one",
        "stop web-1: its definition changed",
    ]
    world.die(code=0)
    assert world.told() == ["start web-1: its definition changed"]
    assert world.worker().digest == world.target.specs["web-1"].digest


def test_a_worker_that_dies_while_newer_code_is_imported_does_not_wait_for_it() -> None:
    world = reloaded(pool(fork=True))
    world.die()
    assert world.told() == ["start web-1: it was killed by SIGKILL; on the code before"]


def test_a_pool_is_scaled_on_the_code_before_while_the_newer_does_not_import() -> None:
    world = reloaded(pool(fork=True))
    world.happen(ForkServerBroken("SyntaxError"))
    world.want(plan(pool(replicas=2, fork=True), generation=1))
    assert world.told() == ["start web-2: it is wanted; on the code before"]


def test_a_pool_that_is_new_with_code_that_does_not_import_has_failed() -> None:
    world = reloaded(pool(fork=True))
    world.want(plan(pool(fork=True), pool("mail", fork=True), generation=1))
    world.happen(ForkServerBroken("SyntaxError"))
    assert world.told() == ["give up on mail-1: SyntaxError"]


def test_a_worker_that_dies_too_often_on_the_code_before_has_failed_like_any_other() -> None:
    world = reloaded(pool(fork=True))
    world.happen(ForkServerBroken("SyntaxError"))
    for _ in range(6):
        world.die()
        world.after(20)
    assert world.told()[-1] == "give up on web-1: it was killed by SIGKILL, 6 times in 300 s"
    world.happen(RetryAsked())
    world.happen(ForkServerBroken("SyntaxError"))
    assert world.told()[-1] == "start web-1: another try was asked for; on the code before"


def test_a_newer_fork_server_that_dies_as_it_imports_does_not_take_the_one_before_with_it() -> None:
    world = reloaded(pool(fork=True))
    world.server_dies()
    world.server_dies()
    world.die()
    assert world.told()[-1] == "start web-1: it was killed by SIGKILL; on the code before"
    world.ready()
    world.server_dies(former=True)
    world.die()
    assert world.status() is Status.BACKOFF, "nobody has any code for it"


def test_both_fork_servers_are_stopped_with_the_fleet() -> None:
    world = reloaded(pool(fork=True))
    world.happen(Stop())
    assert "stop the fork server of the code before: the fleet stops" in world.told()
