"""The decisions, by histories: what happens, when, and what is done about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeryfleet.plan.values import AppPlan, AutoscalePolicy, RestartPolicy
from celeryfleet.protocol import Mark, Marks, Pause, Restart, Stop
from celeryfleet.supervise.decide.events import ForkServerBroken, Leftover, RetryAsked
from celeryfleet.supervise.decide.readiness import readiness
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.decide.timing import TOLD_SECONDS, delay
from tests.unit.supervise.histories import World, plan, pool


def ready_world(*pools: object, **options: object) -> World:
    world = World(plan(*(pools or (pool(),)), **options))  # type: ignore[arg-type]
    world.ready()
    world.told()
    return world


# --- Starting ---------------------------------------------------------------------------------------------


def test_every_wanted_worker_is_started_at_once() -> None:
    world = World(plan(pool("web", 2), pool("mail")))
    assert world.told() == ["start web-1: it is wanted", "start web-2: it is wanted", "start mail-1: it is wanted"]


def test_workers_wait_for_the_embedded_broker() -> None:
    world = World(plan(pool(), embedded=True))
    assert world.told() == ["start the broker: the fleet starts"]
    world.broker_up()
    assert world.told() == ["start web-1: it is wanted"]


def test_forked_workers_wait_for_the_import_and_execd_ones_do_not() -> None:
    world = World(plan(pool("web", fork=True), pool("green")))
    assert world.told() == ["start the fork server: the fleet starts", "start green-1: it is wanted"]
    world.server_up()
    assert world.told() == ["start web-1: it is wanted"]


def test_an_app_that_must_not_be_forked_is_execd_and_the_server_closed() -> None:
    world = World(plan(pool(fork=True)))
    world.server_up(unfit="importing the app starts a thread")
    assert world.told()[-2:] == [
        "stop the fork server: importing the app starts a thread",
        "start web-1: it is wanted",
    ]


def test_preload_true_forks_even_an_app_that_leaves_things_behind() -> None:
    world = World(plan(pool(fork=True), preload="true"))
    world.server_up(unfit="importing the app starts a thread")
    assert world.told()[-1] == "start web-1: it is wanted"


def test_an_app_that_does_not_import_fails_its_workers_with_the_reason() -> None:
    world = World(plan(pool(fork=True)))
    world.happen(ForkServerBroken("ModuleNotFoundError: No module named 'shop'"))
    assert world.status() is Status.FAILED
    assert "No module named 'shop'" in world.worker().cause
    assert readiness(world.target, world.state).settled is False


def test_another_try_imports_a_mended_app() -> None:
    world = World(plan(pool(fork=True)))
    world.happen(ForkServerBroken("SyntaxError"))
    world.told()
    world.happen(RetryAsked())
    world.server_up()
    assert world.told() == ["start the fork server: the fleet starts", "start web-1: another try was asked for"]


def test_a_restart_imports_a_mended_app() -> None:
    world = World(plan(pool(fork=True)))
    world.happen(ForkServerBroken("SyntaxError"))
    world.told()
    world.happen(Restart(("web",)))
    world.server_up()
    assert world.told() == ["start the fork server: the fleet starts", "start web-1: a restart was asked for"]


def test_another_try_for_some_pools_leaves_the_failed_ones_of_others() -> None:
    never = RestartPolicy(max_restarts=0)
    world = ready_world(pool("web", restart=never), pool("mail", restart=never))
    world.die("web-1")
    world.die("mail-1")
    world.happen(RetryAsked(("web",)))
    assert (world.status("web-1"), world.status("mail-1")) == (Status.STARTING, Status.FAILED)
    assert readiness(world.target, world.state, ("mail",)).settled is False
    assert readiness(world.target, world.state, ("web",)).settled is None


def test_pools_that_are_left_alone_go_on_though_their_definition_changed_until_they_are_restarted() -> None:
    world = ready_world(pool("web"), pool("mail"))
    changed = replace(plan(pool("web"), pool("mail")), apps=(AppPlan("", "other"),), left_alone=("mail",))
    world.want(changed)
    assert world.told() == ["stop web-1: its definition changed"]
    world.die("web-1", code=0)
    world.ready()
    assert readiness(world.target, world.state).settled is True
    world.told()
    world.happen(Restart(("mail",)))
    world.die("mail-1", code=0)
    assert world.told() == ["stop mail-1: a restart was asked for", "start mail-1: a restart was asked for"]
    assert world.worker("mail-1").digest == world.target.specs["mail-1"].digest


def test_the_fleet_is_settled_only_when_all_wanted_are_ready() -> None:
    world = World(plan(pool("web", 2)))
    world.ready("web-1")
    assert readiness(world.target, world.state).settled is None
    world.ready("web-2")
    assert readiness(world.target, world.state).settled is True


def test_the_app_stays_imported_for_a_pool_that_the_autoscaler_has_brought_to_no_worker() -> None:
    scaled = pool("web", fork=True, autoscale=AutoscalePolicy(0, 2))
    world = World(plan(scaled))
    world.server_up()
    world.ready()
    world.want(plan(replace(scaled, replicas=0)))
    world.die(code=0)
    world.told()
    world.want(plan(scaled))
    assert world.told() == ["start web-1: it is wanted"]


# --- Crashes ----------------------------------------------------------------------------------------------


def test_a_crashed_worker_comes_back_at_once_the_first_time() -> None:
    world = ready_world()
    world.die()
    assert world.told() == ["start web-1: it was killed by SIGKILL"]
    assert world.worker().restarts == 1


def test_a_replacement_that_was_asked_for_is_no_restart() -> None:
    world = ready_world(pool(replicas=2))
    world.happen(Restart())
    world.die("web-1", code=0)
    world.die("web-2", code=-9)  # it was killed since it took too long
    world.ready()
    world.want(plan(pool(replicas=2, env={"X": "1"})))
    world.die("web-1", code=0)
    assert world.worker("web-1").last_exit is not None
    assert (world.worker("web-1").restarts, world.worker("web-2").restarts) == (0, 0)
    world.ready()
    world.die("web-1", code=0)
    assert world.worker("web-1").restarts == 1, "an end that nobody asked for is one, whatever its exit code"


def test_a_worker_that_keeps_dying_waits_longer_each_time() -> None:
    world = ready_world()
    waits = []
    for _ in range(4):
        world.die()
        waits.append(0.0 if world.wake_at is None or world.worker().live else world.wake_at - world.now)
        if waits[-1]:
            assert world.status() is Status.BACKOFF
            world.after(waits[-1])
        assert world.worker().live
    assert waits[0] == 0.0
    assert all(0.8 * expected <= wait <= 1.2 * expected for wait, expected in zip(waits[1:], (1, 2, 4), strict=True))


def test_a_crash_loop_ends_in_failed_and_stays_there() -> None:
    world = ready_world()
    for _ in range(6):
        world.die()
        world.after(25)
    assert world.status() is Status.FAILED
    assert "6 times in 300 s" in world.worker().cause
    world.told()
    world.after(10_000)
    assert world.told() == []


def test_deaths_long_ago_do_not_count() -> None:
    world = ready_world(pool(health=replace(pool().health, heartbeat_within=1e9)))
    for _ in range(20):
        world.die()
        world.after(301)
        assert world.worker().live
        world.ready()


def test_a_failed_worker_starts_again_when_its_definition_changes() -> None:
    world = ready_world(pool(restart=RestartPolicy(max_restarts=0)))
    world.die()
    assert world.status() is Status.FAILED
    world.want(plan(pool(env={"X": "1"})))
    assert world.status() is Status.STARTING
    assert world.worker().deaths == ()


def test_a_restart_request_wakes_failed_workers() -> None:
    world = ready_world(pool(restart=RestartPolicy(max_restarts=0)))
    world.die()
    world.happen(Restart(("web",)))
    assert world.status() is Status.STARTING


@pytest.mark.parametrize("deaths", range(2, 40))
def test_the_wait_never_exceeds_its_maximum_by_more_than_the_spread(deaths: int) -> None:
    policy = RestartPolicy(backoff=1.0, max_backoff=60.0)
    assert 0.8 <= delay("web-1", deaths, policy) <= 72.0


def test_what_a_worker_has_done_before_a_crash_still_counts() -> None:
    world = ready_world()
    world.beat(processed=5, failed=1)
    world.die()
    assert (world.worker().processed_before, world.worker().failed_before) == (5, 1)


# --- Stopping ---------------------------------------------------------------------------------------------


def test_a_worker_no_longer_wanted_is_stopped_warmly_and_then_forgotten() -> None:
    world = ready_world(pool("web", 2))
    world.want(plan(pool("web", 1)))
    assert world.told() == ["stop web-2: it is no longer wanted"]
    world.die("web-2", 0)
    assert world.told() == ["forget web-2: no longer wanted"]


def test_a_pool_is_stopped_within_the_time_that_is_given_also_if_it_is_stopping_already() -> None:
    world = ready_world(pool("web"), pool("mail"))
    world.happen(Stop(grace=2.0, pools=("web",)))
    world.want(plan(pool("mail")))
    assert world.told() == ["stop web-1: it is no longer wanted"]
    world.after(1)
    world.happen(Stop(cold=True, pools=("web",)))
    assert world.told() == ["stop web-1 cold: its grace period is over"]
    assert (world.status("mail-1"), world.worker("mail-1").grace) == (Status.READY, 30.0)


def test_a_warm_stop_turns_cold_after_the_grace_period_and_then_kills() -> None:
    world = ready_world()
    world.happen(Stop())
    world.after(29)
    assert world.told() == ["stop web-1: the fleet stops"]
    world.after(1)
    assert world.told() == ["stop web-1 cold: its grace period is over"]
    world.after(5)
    assert world.told() == ["kill web-1: it did not stop cold within 5 s"]


def test_all_pools_are_stopped_in_parallel_and_the_broker_last() -> None:
    world = World(plan(pool("web"), pool("mail"), embedded=True))
    world.broker_up()
    world.ready()
    world.told()
    world.happen(Stop())
    assert world.told() == ["stop web-1: the fleet stops", "stop mail-1: the fleet stops"]
    world.die("web-1", 0)
    assert world.told() == []
    world.die("mail-1", 0)
    assert world.told() == ["stop the broker: the fleet stops"]
    world.broker_dies()
    assert world.told() == ["all stopped"]


def test_a_second_stop_is_cold_at_once() -> None:
    world = ready_world()
    world.happen(Stop())
    world.told()
    world.happen(Stop(cold=True))
    assert world.told() == ["stop web-1 cold: a cold stop was asked for"]


def test_a_shorter_grace_applies_to_stops_under_way() -> None:
    world = ready_world()
    world.happen(Stop())
    world.happen(Stop(grace=2.0))
    world.told()
    world.after(2)
    assert world.told() == ["stop web-1 cold: its grace period is over"]


def test_a_worker_that_dies_while_the_fleet_stops_is_not_restarted() -> None:
    world = ready_world(pool("web"), pool("mail"))
    world.die("web-1")
    world.happen(Stop())
    world.told()
    world.die("web-1")
    world.die("mail-1", 0)
    assert world.told() == ["all stopped"]


# --- Changes ----------------------------------------------------------------------------------------------


def test_a_changed_definition_replaces_the_worker_but_leaves_the_others() -> None:
    world = ready_world(pool("web"), pool("mail"))
    world.want(plan(pool("web", env={"X": "1"}), pool("mail")))
    assert world.told() == ["stop web-1: its definition changed"]
    world.die("web-1", 0)
    assert world.told() == ["start web-1: its definition changed"]


def test_the_same_plan_again_changes_nothing() -> None:
    world = ready_world(pool("web", 2), pool("mail"))
    world.want(plan(pool("web", 2), pool("mail")))
    assert world.told() == []


def test_a_rolling_restart_replaces_one_worker_of_a_pool_at_a_time() -> None:
    world = ready_world(pool("web", 3))
    world.happen(Restart(("web",), rolling=True))
    replaced = []
    for _ in range(3):
        (told,) = world.told()
        name = told.split()[1].rstrip(":")
        replaced.append(name)
        world.die(name, 0)
        assert world.told() == [f"start {name}: a restart was asked for"]
        world.ready(name)
    assert replaced == ["web-1", "web-2", "web-3"]
    assert world.told() == []


def test_a_reload_keeps_the_old_workers_when_the_new_code_does_not_import() -> None:
    world = World(plan(pool(fork=True)))
    world.server_up()
    world.ready()
    world.told()
    world.want(replace(plan(pool(fork=True)), generation=1))
    assert world.told() == ["start the fork server: the app is to be read anew"]
    world.happen(ForkServerBroken("SyntaxError"))
    assert world.told() == []
    assert world.status() is Status.READY


def test_a_reload_replaces_the_workers_once_the_new_code_is_imported() -> None:
    world = World(plan(pool(fork=True)))
    world.server_up()
    world.ready()
    world.want(replace(plan(pool(fork=True)), generation=1))
    world.told()
    world.server_up()
    assert world.told() == [
        "stop the fork server of the code before: there is a newer one",
        "stop web-1: its definition changed",
    ]


# --- Health -----------------------------------------------------------------------------------------------


def test_a_silent_worker_is_replaced_and_has_failed_when_that_goes_on() -> None:
    world = ready_world(pool(restart=RestartPolicy(max_restarts=1)))
    world.after(30)
    assert world.told() == ["stop web-1: it has been silent for 30 s"]
    assert world.status() is Status.STUCK
    world.die()
    assert world.told() == ["start web-1: it has been silent for 30 s; it was killed by SIGKILL"]
    world.ready()
    world.after(30)
    world.told()
    world.die(code=0)
    assert world.told() == ["start web-1: it has been silent for 30 s"], "it was not killed"
    world.ready()
    world.after(38)
    world.told()
    world.die()
    why = "it has been silent for 30 s; it was killed by SIGKILL"
    assert world.told() == [f"give up on web-1: {why}, 2 times in 300 s"]


def test_a_worker_that_answers_but_does_not_consume_is_replaced() -> None:
    world = ready_world()
    for _ in range(6):
        world.beat(consuming=False)
        world.after(10)
    assert world.told() == ["stop web-1: it has not consumed for 60 s"]


def test_a_worker_that_looks_for_the_broker_is_left_alone() -> None:
    world = ready_world()
    for _ in range(100):
        world.beat(consuming=False, connecting=True)
        world.after(10)
    assert world.told() == []


def test_a_task_that_blocks_a_solo_worker_is_not_taken_for_a_hang() -> None:
    world = ready_world()
    world.beat(active=1, loop_busy=True)
    world.after(100_000)
    assert world.told() == []


def test_a_stuck_worker_with_a_running_task_gets_its_whole_grace_period() -> None:
    world = ready_world()
    world.beat(active=1)
    world.after(30)
    world.told()
    world.after(29)
    assert world.told() == []
    world.after(1)
    assert world.told() == ["stop web-1 cold: its grace period is over"]


# --- The broker and the fork server -----------------------------------------------------------------------


def test_a_killed_broker_comes_back_at_once_and_the_workers_are_left_alone() -> None:
    world = World(plan(pool(), embedded=True))
    world.broker_up()
    world.ready()
    world.told()
    world.broker_dies()
    assert world.told() == ["start the broker: it was killed by SIGKILL"]


def test_a_broker_that_cannot_start_is_given_up_on_in_the_end() -> None:
    world = World(plan(pool(), embedded=True))
    for _ in range(7):
        world.broker_dies()
        world.after(8)
    assert world.told()[-1].startswith("give up on the broker: it died 7 times")
    assert readiness(world.target, world.state).settled is False


def test_a_broker_that_had_been_up_is_never_given_up_on() -> None:
    world = World(plan(pool(), embedded=True))
    for _ in range(20):
        world.broker_up()
        world.broker_dies()
        world.after(10)
        assert world.told()[-1].startswith("start the broker: ")


def test_a_killed_fork_server_harms_no_worker_and_is_replaced() -> None:
    world = World(plan(pool(fork=True)))
    world.server_up()
    world.ready()
    world.told()
    world.server_dies()
    assert world.told() == ["start the fork server: it was killed by SIGKILL"]
    assert world.status() is Status.READY
    world.die()
    assert world.told() == []  # until the server is back
    world.server_up()
    assert world.told() == ["start web-1: it was killed by SIGKILL"]


def test_a_worker_that_the_autoscaler_has_no_use_for_is_never_cut_off_but_by_the_end_of_the_fleet() -> None:
    policy = AutoscalePolicy(1, 2)
    world = ready_world(pool("web", 2, autoscale=policy))
    world.want(plan(pool("web", 1, autoscale=policy)))
    assert world.told() == ["stop web-2: it is no longer wanted"]
    assert readiness(world.target, world.state).settled is True
    world.after(10.0)
    world.beat("web-1")
    assert world.wake_at == world.now + 30.0, "it would be woken for what never comes"
    world.after(25.0)
    world.told()
    world.happen(Stop())
    world.after(30.0)
    assert "stop web-2 cold: its grace period is over" in world.told()


# --- Messages and queues ----------------------------------------------------------------------------------


def test_messages_of_a_dead_worker_without_successor_are_brought_back_by_another() -> None:
    world = ready_world(pool("web", 2))
    world.want(plan(pool("web", 1)))
    world.told()
    world.die("web-2")
    assert world.told() == [
        "forget web-2: no longer wanted",
        "web-1 brings back the messages of web-2@fleet.host",
    ]
    assert world.state.dead_nodes == frozenset()


def test_paused_queues_are_left_alone_by_the_workers_that_read_them() -> None:
    world = ready_world(pool("web"), pool("mail"))
    world.happen(Pause(("mail",)))
    assert world.told() == ["mail-1: pause mail"]
    world.happen(Pause(()))
    assert world.told() == ["mail-1: resume mail"]


def test_what_another_host_says_of_a_queue_holds_until_something_newer_is_said() -> None:
    world = ready_world(pool("web"), pool("mail"))
    world.happen(Marks((Mark("mail", 2, True, "ada on a", 100.0),), 107.0))
    assert world.told() == ["mail-1: pause mail"]
    assert world.state.paused_since == {"mail": world.now - 7}
    world.happen(Marks((Mark("mail", 1, False, "bob on b", 200.0),), 200.0))
    assert world.told() == []
    world.happen(Pause((), here=True))
    assert world.told() == ["mail-1: resume mail"]
    world.happen(Marks(tuple(world.state.marks.values()), 300.0))
    assert world.told() == []
    world.happen(Marks((Mark("mail", 3, False, "bob on b", 300.0), Mark("web", 1, True, "bob on b", 300.0)), 300.0))
    assert world.told() == ["web-1: pause web"]


def test_of_two_hosts_that_say_something_at_once_one_holds_on_both() -> None:
    said = [Marks((Mark("mail", 1, paused, by, 1.0),), 1.0) for paused, by in ((True, "ada on a"), (False, "bob on b"))]
    for order in (said, said[::-1]):
        world = ready_world(pool("mail"))
        for marks in order:
            world.happen(marks)
        assert world.state.paused == frozenset()


def test_a_replaced_worker_of_a_paused_queue_is_paused_too() -> None:
    world = ready_world()
    world.happen(Pause(("web",)))
    world.die()
    world.told()
    world.ready()
    assert world.worker().told == ()
    assert world.told() == []
    world.after(TOLD_SECONDS)
    world.beat(queues=("web",))
    assert world.told() == ["web-1: pause web, which somebody else has added"]


def test_a_worker_that_celery_control_tells_otherwise_is_told_again_what_to_read() -> None:
    world = ready_world(pool(queues=("mail", "web")))
    world.after(TOLD_SECONDS)
    world.beat(queues=("low", "web"))
    assert world.told() == [
        "web-1: pause low, which somebody else has added; resume mail, which somebody else has cancelled"
    ]
    world.beat(queues=("web",))
    assert world.told() == [], "it has no time to do it"
    world.after(TOLD_SECONDS)
    assert world.told() == ["web-1: resume mail, which somebody else has cancelled"]
    world.beat(queues=("mail", "web"))
    world.after(2 * TOLD_SECONDS)
    assert world.told() == []


def test_a_pause_that_is_taken_back_before_the_worker_has_heard_of_it_is_taken_back_there_too() -> None:
    world = ready_world()
    world.happen(Pause(("web",)))
    world.happen(Pause(()))
    assert world.told() == ["web-1: pause web", "web-1: resume web"]


# --- After a killed supervisor ----------------------------------------------------------------------------


def test_a_leftover_worker_finishes_before_its_successor_starts() -> None:
    world = World(plan(pool(), embedded=True))
    world.happen(Leftover("web-1", "web", "web-1@fleet.host", 42, 30.0))
    world.broker_up()
    assert world.told() == ["start the broker: the fleet starts"]
    world.die(code=0)
    assert world.told() == ["start web-1: the supervisor it had is gone"]


def test_a_leftover_worker_that_does_not_end_is_stopped_cold() -> None:
    world = World(plan())
    world.happen(Leftover("web-1", "web", "web-1@fleet.host", 42, 30.0))
    world.after(30)
    assert world.told() == ["stop web-1 cold: its grace period is over"]
