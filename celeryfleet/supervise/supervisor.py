"""The asyncio shell around the decisions: signals and exits become events, decisions are carried out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from celeryfleet.plan.values import Plan
from celeryfleet.supervise import process
from celeryfleet.supervise.actions import (
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
from celeryfleet.supervise.answers import Answers
from celeryfleet.supervise.autoscaler import Autoscaler
from celeryfleet.supervise.broker import EmbeddedBroker
from celeryfleet.supervise.core import Core
from celeryfleet.supervise.crew import Crew
from celeryfleet.supervise.events import Did, Leftover, StopAsked
from celeryfleet.supervise.forkserver import Forkery, ForkServer
from celeryfleet.supervise.history import apply
from celeryfleet.supervise.leftovers import Leftovers
from celeryfleet.supervise.reconcile import decide
from celeryfleet.supervise.requests import Server
from celeryfleet.supervise.status import notes

#: rounds of deciding before something must have gone wrong: actions lead to states, not to each other for ever
_ROUNDS = 1000


class Supervisor:
    """One fleet: everything that runs for it, and everyone who speaks to it."""

    def __init__(self, plan: Plan, prepared: ForkServer | None) -> None:
        read_end, write_end = os.pipe()
        self.core = Core(plan, self._turn)
        self._broker = EmbeddedBroker(self.core, read_end)
        self._forkery = Forkery(self.core, write_end, prepared)
        self._crew = Crew(self.core, self._forkery, write_end)
        self._answers = Answers(self.core, self._crew, self._planned)
        self._callers = Server(self._answers)
        self._autoscaler = Autoscaler(self.core)
        self._leftovers = Leftovers(self.core.home / "pids.json")
        self._timer: asyncio.TimerHandle | None = None
        self._notes: list[str] = []
        self._finished = asyncio.Event()

    async def open(self) -> None:
        """Answer signals and requests from now on. Raises OSError."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self.core.happen, StopAsked())
        loop.add_signal_handler(signal.SIGINT, self.core.happen, StopAsked())
        loop.add_signal_handler(signal.SIGQUIT, self.core.happen, StopAsked(cold=True))
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._listener = await self._callers.listen(self.core.plan.control)

    async def run(self) -> None:
        """Supervise until everything is stopped."""
        self._write_settings()
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
        await self._callers.hang_up()
        Path(self.core.plan.control).unlink(missing_ok=True)

    # --- Taking over --------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Meet what an earlier supervisor left: workers that still finish, and its broker."""
        for name, old in self._leftovers.alive():
            self.core.say(f"{name} (pid {old.pid}) of an earlier supervisor still runs")
            if name == "keeper":
                process.tell(old.pid, signal.SIGKILL)
            elif name == "broker":
                self._broker.adopt(old.pid, _watch)
            elif name == "server":
                process.kill_group(old.pid)
            else:
                process.tell(old.pid, signal.SIGTERM)
                _watch(old.pid, partial(self._crew.gone, name, 0, "it finished without a supervisor"))
                self.core.happen(Leftover(name, old.pool, old.node, old.pid, old.grace))
        self.core.state = self._leftovers.bereave(self.core.state)

    # --- Deciding and doing -------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Decide and carry out until there is nothing more to do now."""
        core = self.core
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
        self._leftovers.remember(core.state, self._broker.pid, self._broker.keeper, self._forkery.pid)
        self._answers.settle()

    def _wake(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self._turn)

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
        for pid, code in process.reap():
            if not self._broker.ended(pid, code) and not self._forkery.ended(pid, code):
                self._crew.ended(pid, code)

    # --- The plan -----------------------------------------------------------------------------------------

    def _planned(self) -> None:
        """Take note of another plan."""
        self._write_settings()
        self._autoscaler.start()
        self.core.say("fleet.yaml was read anew")

    def _write_settings(self) -> None:
        """Leave the settings where `celeryfleet.install` finds them in the fleet's own processes."""
        fresh = self.core.home / "settings.new"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self.core.plan.settings))
        fresh.replace(self.core.home / "settings.json")

    def _reload(self) -> None:
        """On SIGHUP let a command read fleet.yaml and send the new plan, as anyone could."""
        self.core.say("SIGHUP: reloading")
        argv = [*process.PYTHON, "-m", "celeryfleet", "--file", self.core.plan.file, "reload"]
        with contextlib.suppress(OSError):
            process.spawn(argv, os.environ)

    def _say_notes(self) -> None:
        found = notes(self.core.target, self.core.state, time.monotonic())
        for note in found:
            if note not in self._notes:
                self.core.say(note)
        self._notes = found


def _watch(pid: int, gone: Callable[[], None]) -> None:
    """Call back when a process that is not our child ends."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(gone)
        return

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        gone()

    loop.add_reader(pidfd, ended)
