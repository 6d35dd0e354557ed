"""What a plan would do to a fleet, as text; and that it is what the decisions then do."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Restart
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.difference import difference
from celeryfleet.supervise.decide.events import RetryAsked
from celeryfleet.supervise.decide.state import FleetState, Status
from celeryfleet.supervise.decide.target import Target
from tests.unit.supervise.histories import World, plan, pool


def told(world: World, wanted: Plan) -> list[str]:
    state = apply(world.state, RetryAsked(), world.now)
    return list(map(str, difference(world.target, Target.of(wanted), state, world.now)))


def running(*pools: object, **options: object) -> World:
    world = World(plan(*(pools or (pool(),)), **options))  # type: ignore[arg-type]
    if world.target.embeds:
        world.broker_up()
    if world.target.forks(""):
        world.server_up()
    world.ready()
    return world


def test_of_a_fleet_that_is_down_everything_is_a_start() -> None:
    wanted = Target.of(plan(pool("web", 2, fork=True), pool("mail"), embedded=True))
    assert list(map(str, difference(None, wanted, FleetState(), 0.0))) == [
        "start web-1: it is wanted",
        "start web-2: it is wanted",
        "start mail-1: it is wanted",
    ]


def test_of_a_fleet_that_is_as_wanted_all_is_kept() -> None:
    world = running(pool("web", fork=True), pool("mail"), embedded=True)
    assert told(world, world.target.plan) == [
        "keep web-1: nothing of it changes",
        "keep mail-1: nothing of it changes",
    ]


def test_scaling_says_by_how_much_and_which_workers() -> None:
    world = running(pool("web", 2), pool("mail", 1))
    assert told(world, plan(pool("web", 1), pool("mail", 2))) == [
        "scale web: from 2 to 1 workers",
        "scale mail: from 1 to 2 workers",
        "keep web-1: nothing of it changes",
        "keep mail-1: nothing of it changes",
        "start mail-2: it is wanted",
        "stop web-2: it is no longer wanted",
    ]


def test_a_replacement_names_what_changed() -> None:
    world = running(pool("web"), pool("mail"))
    options = {"hostname": "{name}@fleet.host", "loglevel": "DEBUG"}
    conf = {"worker_pool": "prefork", "worker_concurrency": 4}
    assert told(world, plan(pool("web", options=options, conf=conf), pool("mail"))) == [
        "replace web-1: its definition changed: loglevel, worker_concurrency",
        "keep mail-1: nothing of it changes",
    ]
    every = replace(world.target.plan, settings={f"task_{n}": n for n in range(7)})
    assert told(world, every)[0] == (
        "replace web-1: its definition changed: task_0, task_1, task_2, task_3, task_4 and 2 more"
    )


def test_a_reload_replaces_everything_also_one_after_another() -> None:
    world = running(pool("web", 2, fork=True), pool("mail", fork=True))
    assert told(world, replace(world.target.plan, generation=1)) == [
        "replace web-1: the app is read anew",
        "replace web-2: the app is read anew",
        "replace mail-1: the app is read anew",
    ]
    world.happen(Restart(("web",), rolling=True))
    assert told(world, replace(world.target.plan, generation=1)) == [
        "start web-1: a restart was asked for",  # it is stopping already
        "replace web-2: the app is read anew",
        "replace mail-1: the app is read anew",
    ]


def test_what_has_failed_or_waits_is_tried_again() -> None:
    for tries, pause, status in ((2, 0.0, Status.BACKOFF), (6, 30.0, Status.FAILED)):
        world = running(pool("web"))
        for _ in range(tries):
            world.die("web-1")
            world.after(pause)
        assert world.status() is status
        assert told(world, world.target.plan) == ["start web-1: another try was asked for"]


POOLS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=3, unique_by=lambda p: p[0]
)


@given(POOLS, POOLS)
def test_it_is_what_the_decisions_then_do(
    before: list[tuple[str, int, bool]], after: list[tuple[str, int, bool]]
) -> None:
    def wanted(pools: list[tuple[str, int, bool]]) -> Plan:
        return plan(*(pool(name, count, conf={"x": 1} if other else {}) for name, count, other in pools))

    world = running(*wanted(before).pools) if before else World(plan())
    foreseen = {(c.do, c.what) for c in difference(world.target, Target.of(wanted(after)), world.state, world.now)}
    was = {name: worker.pid for name, worker in world.state.workers.items()}
    world.want(wanted(after))
    for worker in [worker for worker in world.state.workers.values() if worker.status == "stopping"]:
        world.die(worker.name, 0)
    world.ready()
    now = {name: worker.pid for name, worker in world.state.workers.items()}
    assert {what for do, what in foreseen if do == "stop"} == was.keys() - now.keys()
    assert {what for do, what in foreseen if do == "start"} == now.keys() - was.keys()
    assert {what for do, what in foreseen if do == "keep"} == {n for n in now.keys() & was.keys() if now[n] == was[n]}
    assert {what for do, what in foreseen if do == "replace"} == {
        n for n in now.keys() & was.keys() if now[n] != was[n]
    }
