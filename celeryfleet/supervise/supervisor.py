"""The asyncio shell around the decisions: signals and exits become events, decisions are carried out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from celeryfleet.logs import write
from celeryfleet.plan.values import Plan
from celeryfleet.supervise import process
from celeryfleet.supervise.autoscaler import Autoscaler
from celeryfleet.supervise.broker import EmbeddedBroker
from celeryfleet.supervise.control_server import Server
from celeryfleet.supervise.core import Core
from celeryfleet.supervise.decide.actions import (
    Action,
    Cold,
    Fail,
    Finish,
    Forget,
    GiveUpBroker,
    Kill,
    Restore,
    SetPaused,
    Spawn,
    StartBroker,
    StartServer,
    Stop,
    StopBroker,
    StopServer,
)
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.decide import decide
from celeryfleet.supervise.decide.events import Did, Leftover, Overslept, StopAsked
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.dispatch import Answers
from celeryfleet.supervise.forkserver import Forkery, ForkServer
from celeryfleet.supervise.leftovers import Leftovers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.status import notes
from celeryfleet.supervise.workers import Crew

#: rounds of deciding before something must have gone wrong: actions lead to states, not to each other for ever
_ROUNDS = 1000
#: seconds that a turn may be late before the machine, not the workers, must have stood still
_LATE = 5.0


class Supervisor:
    """One fleet: everything that runs for it, and everyone who speaks to it."""

    def __init__(self, plan: Plan, claim: Claim, prepared: ForkServer | None) -> None:
        read_end, write_end = os.pipe()
        self.core = Core(plan, self._turn)
        self._broker = EmbeddedBroker(self.core, read_end)
        self._forkery = Forkery(self.core, write_end, prepared)
        self._crew = Crew(self.core, self._forkery, write_end)
        self._answers = Answers(self.core, self._crew, claim, self._follow)
        self._callers = Server(self._answers, self.core.trouble)
        self._autoscaler = Autoscaler(self.core)
        self._leftovers = Leftovers(self.core.home / "pids.json")
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._notes: list[str] = []
        self._finished = asyncio.Event()

    async def open(self) -> None:
        """Answer signals and requests from now on. Raises OSError."""
        self._write_settings(self.core.plan)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._trouble)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self.core.happen, StopAsked())
        loop.add_signal_handler(signal.SIGINT, self.core.happen, StopAsked())
        loop.add_signal_handler(signal.SIGQUIT, self.core.happen, StopAsked(cold=True))
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._listener = await self._callers.listen(self.core.plan.control)

    async def run(self) -> None:
        """Supervise until everything is stopped."""
        self.core.say(f"celeryfleet supervises {self.core.plan.fleet} (pid {os.getpid()})")
        if os.geteuid() == 0:
            self.core.say("running as root: a task can do anything on this machine")
        if not self.core.target.forks:
            self._forkery.drop()
        self._take_over()
        self._reap()
        self.core.schedule()
        self._autoscaler.start()
        await self._finished.wait()
        self._listener.close()
        # Before the callers hear of the end: by the socket that stays they tell a supervisor that was killed.
        Path(self.core.plan.control).unlink(missing_ok=True)
        await self._callers.hang_up()

    # --- Taking over --------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Meet what an earlier supervisor left: workers that still finish, and its broker."""
        for name, old in self._leftovers.alive():
            self.core.say(f"{name} (pid {old.pid}) of an earlier supervisor still runs")
            if name in ("broker", "keeper") and not self.core.target.embeds:
                continue  # workers may still need it; the keeper stops it after them
            if name == "keeper":
                process.tell(old.pid, signal.SIGKILL)
            elif name == "broker":
                self._broker.adopt(old.pid)
            elif name == "server":
                process.kill_group(old.pid)
            else:
                process.tell(old.pid, signal.SIGTERM)
                process.watch(old.pid, partial(self._crew.gone, name, 0, "it finished without a supervisor"))
                self.core.happen(Leftover(name, old.pool, old.node, old.pid, old.grace))
        self.core.state = self._leftovers.bereave(self.core.state)

    # --- Deciding and doing -------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Decide and carry out until there is nothing more to do now."""
        core = self.core
        self._notice_late()
        for _ in range(_ROUNDS):
            if self._finished.is_set():
                return
            now = time.monotonic()
            actions, wake_at = decide(core.target, core.state, now)
            if not actions:
                break
            for action in actions:
                core.say(str(action))
                core.state = apply(core.state, Did(action), now)
                self._execute(action)
        else:
            raise AssertionError(f"the decisions never settle: {actions}")
        self._wake(wake_at)
        self._say_notes()
        parts = {"broker": self._broker.pid, "keeper": self._broker.keeper, "server": self._forkery.pid}
        try:
            self._leftovers.remember(core.state, parts)
        except OSError as error:  # a full disk: it is tried again with the next turn
            core.say(f"pids.json could not be written: {error.strerror}")
        self._answers.settle()

    def _wake(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = at
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self.core.schedule)

    def _notice_late(self) -> None:
        """Allow for a machine that stood still (a paused container): nobody could give a sign of life meanwhile."""
        now = time.monotonic()
        if self._due is not None and now > self._due + _LATE:
            self.core.say(f"the machine, or the supervisor, stood still for {now - self._due:.0f} s")
            self.core.state = apply(self.core.state, Overslept(now - self._due), now)
        self._due = None

    def _execute(self, action: Action) -> None:
        match action:
            case Spawn(spec, fork):
                self._crew.spawn(spec, fork)
            case Stop(name):
                self._crew.signal(name, signal.SIGTERM)
            case Cold(name):
                self._crew.signal(name, signal.SIGQUIT)
            case Kill(name):
                self._crew.kill(name)
            case Restore(name, nodes):
                self._crew.tell(name, {"do": "restore", "nodes": list(nodes)})
            case SetPaused(name, pause, resume):
                self._crew.set_paused(name, pause, resume)
            case StartBroker():
                self._broker.start()
            case StopBroker(kill):
                self._broker.stop(kill)
            case StartServer(generation):
                self._forkery.start(generation)
            case StopServer():
                self._forkery.drop()
            case Finish():
                self._finished.set()
            case Fail() | Forget() | GiveUpBroker():
                pass  # only the state changes

    def _reap(self) -> None:
        for pid, code in process.reap(self._owns):
            if not self._broker.ended(pid, code) and not self._forkery.ended(pid, code):
                self._crew.ended(pid, code)

    def _owns(self, pid: int) -> bool:
        return pid in (self._broker.pid, self._forkery.pid) or self._crew.owns(pid)

    # --- The plan -----------------------------------------------------------------------------------------

    def _follow(self, plan: Plan) -> None:
        """Aim at another plan. Raises OSError, and goes on with the old one, if its settings can't be written."""
        self._write_settings(plan)
        self.core.target = Target.of(plan)
        write.limit(plan.logs.max_size, plan.logs.max_files)
        self._autoscaler.start()
        self.core.say("fleet.yaml was read anew")

    def _write_settings(self, plan: Plan) -> None:
        """Leave the settings where `celeryfleet.install` finds them in the fleet's own processes."""
        fresh = self.core.home / "settings.new"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(plan.settings))
        fresh.replace(self.core.home / "settings.json")

    def _reload(self) -> None:
        """On SIGHUP let a command read fleet.yaml and send the new plan, as anyone could."""
        self.core.say("SIGHUP: reloading")
        argv = [*process.PYTHON, "-m", "celeryfleet", "--file", self.core.plan.file, "reload"]
        try:
            process.spawn(argv, os.environ)
        except OSError as error:
            self.core.say(f"it could not be started: {error.strerror}")

    def _say_notes(self) -> None:
        found = notes(self.core.target, self.core.state, time.monotonic())
        for note in found:
            if note not in self._notes:
                self.core.say(note)
        self._notes = found

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what a callback raised, and go on: a worker without its supervisor is worse than a lost event."""
        error = context.get("exception")
        if error is None:
            self.core.say(str(context["message"]))
        else:
            self.core.trouble(str(context["message"]), error)
        self.core.schedule()
