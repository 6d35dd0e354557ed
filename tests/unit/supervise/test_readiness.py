"""Whether a fleet is ready, by what has happened to it."""

from __future__ import annotations

import pytest

from celeryfleet.plan.values import RestartPolicy
from celeryfleet.protocol import Pause, Restart, Stop
from celeryfleet.supervise.decide.events import ForkServerBroken
from celeryfleet.supervise.decide.readiness import Readiness, failed, imported, readiness
from celeryfleet.supervise.decide.timing import PART_RESTART
from tests.unit.supervise.histories import World, plan, pool

READY = Readiness("ready", "", True)
LOG = "(see `celeryfleet logs preload`)"


def of(world: World, pool: str = "") -> Readiness:
    return readiness(world.target, world.state, pool)


def test_a_fleet_starts_and_is_ready_when_its_last_worker_is() -> None:
    world = World(plan(pool("web", 2), pool("mail")))
    reason = "web: 0 of 2 ready (web-1 starting, web-2 starting); mail: 0 of 1 ready (mail-1 starting)"
    assert of(world) == Readiness("starting", reason, None)
    world.ready("web-1", "web-2")
    assert of(world) == Readiness("starting", "mail: 0 of 1 ready (mail-1 starting)", None)
    assert of(world, "web").state == "ready"
    world.ready()
    assert of(world) == READY


def test_many_workers_are_not_all_named() -> None:
    world = World(plan(pool("web", 5)))
    assert of(world).reason == "web: 0 of 5 ready (web-1 starting, web-2 starting, web-3 starting, and 2 more)"


def test_a_fleet_is_degraded_while_a_worker_is_replaced_and_for_good_when_it_has_failed() -> None:
    world = World(plan(pool("web", restart=RestartPolicy(max_restarts=1)), pool("mail")))
    world.ready()
    world.die("web-1")
    assert of(world) == Readiness("degraded", "web: 0 of 1 ready (web-1 starting)", None)
    assert of(world, "mail").reason == ""
    world.die("web-1")
    assert of(world) == Readiness("degraded", "web: 0 of 1 ready (web-1 failed)", False)


def test_a_fleet_does_nothing_any_more_when_its_last_worker_has_failed() -> None:
    world = World(plan(pool("web", 2, restart=RestartPolicy(max_restarts=0))))
    world.ready()
    world.die("web-1")
    assert failed(world.target, world.state, ()) is None
    world.die("web-2")
    assert failed(world.target, world.state, ("web",)) is True


def test_a_fleet_is_ready_while_surplus_workers_stop_but_not_settled() -> None:
    world = World(plan(pool("web", 2)))
    world.ready()
    world.want(plan(pool("web", 1)))
    assert of(world) == Readiness("ready", "", None)
    world.die("web-2", 0)
    assert of(world) == READY


def test_a_fleet_is_not_ready_while_a_queue_is_not_read_that_should_be() -> None:
    world = World(plan(pool("web", 2, queues=("web", "mail")), pool("low")))
    world.ready()
    world.beat("web-1", queues=("web",))
    world.beat("web-2", queues=("mail",))
    reason = "web: 0 of 2 ready (web-1 does not read mail, web-2 does not read web)"
    assert of(world) == Readiness("degraded", reason, None)
    assert of(world, "low") == READY
    world.happen(Pause(("web", "mail")))
    for name in ("web-1", "web-2"):
        world.beat(name)
    assert of(world) == READY


def test_a_fleet_is_not_ready_while_workers_take_no_messages() -> None:
    world = World(plan(pool("web", 2)))
    world.ready()
    world.beat("web-1", connecting=True, consuming=False, queues=())
    world.beat("web-2", consuming=False, queues=())
    reason = "web: 0 of 2 ready (web-1 cannot reach the broker, web-2 takes no messages)"
    assert of(world) == Readiness("degraded", reason, None)


def test_workers_that_are_still_to_be_replaced_are_ready_and_not_settled() -> None:
    world = World(plan(pool("web", 2)))
    world.ready()
    world.happen(Restart(("web",), rolling=True))
    assert of(world) == Readiness("degraded", "web: 1 of 2 ready (web-1 stopping)", None)


def test_an_embedded_broker_that_is_down_degrades_every_pool() -> None:
    world = World(plan(pool("web"), embedded=True))
    assert of(world).reason == "the broker is not up yet; web: 0 of 1 ready (web-1 starting)"
    world.broker_up()
    world.ready()
    assert of(world) == READY
    world.broker_dies()
    assert of(world) == Readiness("degraded", "the broker is not up yet", None)
    assert of(world, "web") == of(world)


def test_a_broker_that_does_not_start_is_for_good() -> None:
    world = World(plan(pool("web"), embedded=True))
    for _ in range(PART_RESTART.max_restarts + 1):
        world.broker_dies()
        world.after(5.0)
    reason = "the broker does not start: it died 7 times: it was killed by SIGKILL"
    assert of(world) == Readiness("degraded", f"{reason}; web: 0 of 1 ready (web-1 starting)", False)


def test_workers_that_go_on_with_older_code_are_told_of() -> None:
    world = World(plan(pool(fork=True)))
    world.server_up()
    world.ready()
    assert of(world) == READY
    world.want(plan(pool(fork=True), generation=1))
    world.happen(ForkServerBroken("SyntaxError: x\n  in shop.py"))
    assert of(world) == Readiness("degraded", f"workers go on with older code: SyntaxError: x {LOG}", False)


def test_an_app_whose_import_ends_the_fork_server_again_and_again_is_told_of_while_it_is_still_tried() -> None:
    world = World(plan(pool(fork=True)))
    world.server_dies()
    assert of(world).state == "starting"
    world.server_dies()
    reason = f"it was killed by SIGKILL {LOG}; web: 0 of 1 ready (web-1 starting)"
    assert of(world) == Readiness("degraded", reason, False)
    assert imported(world.target, world.state) is False
    world.after(1.0)
    world.server_up()
    world.ready()
    assert of(world) == READY


def test_a_fleet_that_stops_is_never_ready_and_nothing_wanted_always() -> None:
    world = World(plan(pool("web", 0)))
    assert of(world) == READY
    world.happen(Stop())
    assert of(world) == Readiness("stopping", "fleet is stopping", None)


@pytest.mark.parametrize(
    ("fork", "happens", "expected"),
    [
        (False, None, None),
        (False, lambda world: world.ready(), True),
        (False, lambda world: world.die(code=1), False),
        (True, None, None),
        (True, World.server_up, True),
        (True, lambda world: world.server_up("it starts a thread"), True),
        (True, lambda world: world.happen(ForkServerBroken("no such module")), False),
    ],
)
def test_whether_the_app_is_imported(fork: bool, happens: object, expected: bool | None) -> None:
    world = World(plan(pool(fork=fork)))
    if callable(happens):
        happens(world)
    assert imported(world.target, world.state) is expected
