"""Whatever happens, in whatever order: no two processes of one name, no hot loop, no worker forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Pause, Restart, Stop
from celeryfleet.supervise.decide.actions import Action, Spawn
from celeryfleet.supervise.decide.events import ForkServerBroken, RetryAsked
from celeryfleet.supervise.decide.state import Phase, Status
from tests.unit.supervise.histories import World, plan, pool

pytestmark = pytest.mark.slow

#: starts of one worker within one second that nobody asked for: the first restart is immediate, the next waits
_HOT = 3


class Watching(World):
    """A world that counts how often each worker is started, and when."""

    def __init__(self, wanted: Plan) -> None:
        self.starts: dict[str, list[float]] = {}
        self.calm_since: dict[str, float] = {}
        super().__init__(wanted)

    def carried_out(self, action: Action) -> None:
        if isinstance(action, Spawn):
            self.starts.setdefault(action.name, []).append(self.now)
        super().carried_out(action)


class FleetMachine(RuleBasedStateMachine):
    """Random histories of one fleet."""

    def __init__(self) -> None:
        super().__init__()
        self.web, self.mail, self.generation, self.env = 2, 1, 0, "a"
        self.world = Watching(self.wanted())

    def wanted(self) -> Plan:
        pools = (
            pool("web", self.web, fork=True, env={"E": self.env}),
            pool("mail", self.mail, fork=False),
            pool("gpu", 1, fork=True, app="ml"),
        )
        return replace(plan(*pools, embedded=True), generation=self.generation)

    def live(self) -> list[str]:
        return sorted(worker.name for worker in self.world.state.workers.values() if worker.live)

    def asked_for(self) -> None:
        """Forget the starts so far: what comes next somebody wanted."""
        self.world.starts.clear()

    @rule(seconds=st.sampled_from([0.01, 0.4, 1.0, 5.0, 31.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.after(seconds)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), code=st.sampled_from([-9, 0, 1]))
    def a_worker_ends(self, data: st.DataObject, code: int) -> None:
        self.world.die(data.draw(st.sampled_from(self.live())), code)

    @rule()
    def workers_become_ready(self) -> None:
        self.world.ready()

    @precondition(lambda self: self.live())
    @rule(data=st.data(), consuming=st.booleans(), active=st.integers(0, 2))
    def a_worker_beats(self, data: st.DataObject, consuming: bool, active: int) -> None:
        self.world.beat(data.draw(st.sampled_from(self.live())), consuming=consuming, active=active)

    @precondition(lambda self: self.world.state.broker.phase is Phase.STARTING)
    @rule()
    def the_broker_answers(self) -> None:
        self.world.broker_up()

    @precondition(lambda self: self.world.state.broker.phase in (Phase.STARTING, Phase.UP))
    @rule()
    def the_broker_ends(self) -> None:
        self.world.broker_dies()

    def servers(self, *phases: Phase) -> list[str]:
        """Name the apps whose fork servers are so."""
        return [name for name, app in self.world.state.apps.items() if app.fork_server.phase in phases]

    @precondition(lambda self: self.servers(Phase.STARTING))
    @rule(data=st.data(), outcome=st.sampled_from(["fit", "unfit", "broken"]))
    def a_server_reports(self, data: st.DataObject, outcome: str) -> None:
        app = data.draw(st.sampled_from(self.servers(Phase.STARTING)))
        if outcome == "broken":
            self.world.happen(ForkServerBroken("SyntaxError", app))
        else:
            self.world.server_up("it starts a thread" if outcome == "unfit" else "", app)

    @precondition(lambda self: self.servers(Phase.STARTING, Phase.UP))
    @rule(data=st.data())
    def a_server_ends(self, data: st.DataObject) -> None:
        self.world.server_dies(app=data.draw(st.sampled_from(self.servers(Phase.STARTING, Phase.UP))))

    @precondition(lambda self: not self.world.state.stopping)
    @rule(web=st.integers(0, 3), mail=st.integers(0, 2), env=st.sampled_from("ab"), again=st.booleans())
    def another_plan_is_wanted(self, web: int, mail: int, env: str, again: bool) -> None:
        self.asked_for()
        self.web, self.mail, self.env = web, mail, env
        self.generation += again
        self.world.want(self.wanted())

    @rule(rolling=st.booleans())
    def a_restart_is_asked_for(self, rolling: bool) -> None:
        self.asked_for()
        self.world.happen(Restart(("web", "mail"), rolling))

    @rule()
    def another_try_is_asked_for(self) -> None:
        self.asked_for()
        self.world.happen(RetryAsked())

    @rule(queues=st.sets(st.sampled_from(["web", "mail"])))
    def queues_are_paused(self, queues: set[str]) -> None:
        self.world.happen(Pause(tuple(queues)))

    @rule(cold=st.booleans())
    def a_stop_is_asked_for(self, cold: bool) -> None:
        self.world.happen(Stop(cold=cold))

    @invariant()
    def no_worker_restarts_hotly(self) -> None:
        for name, starts in self.world.starts.items():
            recent = [at for at in starts if at > self.world.now - 0.5]
            assert len(recent) <= _HOT, f"{name} was started {len(recent)} times within half a second"

    @invariant()
    def no_wanted_worker_is_forgotten(self) -> None:
        """Each is alive, or failed, or something is on its way that will bring it here again."""
        world, state = self.world, self.world.state
        if state.stopping:
            return
        for name, spec in world.target.specs.items():
            worker = state.workers.get(name)
            if worker is not None and (worker.live or worker.status is Status.FAILED):
                continue
            on_its_way = (
                world.wake_at is not None
                or state.broker.phase in (Phase.STARTING, Phase.FAILED)
                or (spec.fork and state.app(spec.app).fork_server.phase is Phase.STARTING)
            )
            assert on_its_way, f"{name} is wanted, not alive, and nothing is under way"

    @invariant()
    def a_stop_comes_to_an_end(self) -> None:
        world = self.world
        if world.state.stopping and not world.finished:
            assert self.live() or world.state.broker.phase in (Phase.STARTING, Phase.UP)
            assert world.wake_at is not None, "it waits for ever for something to end"


FleetMachine.TestCase.settings = settings(stateful_step_count=40)
TestFleetMachine = FleetMachine.TestCase
