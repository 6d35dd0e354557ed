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

from celeryfleet import private
from celeryfleet.logs import write
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Marks, Pause, Stop
from celeryfleet.supervise import process
from celeryfleet.supervise.alerts import Alerts
from celeryfleet.supervise.autoscaler import Autoscaler
from celeryfleet.supervise.broker import EmbeddedBroker, running
from celeryfleet.supervise.control_server import ControlServer
from celeryfleet.supervise.decide import actions
from celeryfleet.supervise.decide.events import DeadNodes, Leftover
from celeryfleet.supervise.dispatch import Asked, Dispatcher
from celeryfleet.supervise.forkserver import ForkServers, ServerProcess
from celeryfleet.supervise.hosts import HostLink
from celeryfleet.supervise.leftovers import Leftovers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.status import notes
from celeryfleet.supervise.workers import Workers
from celeryfleet.worker_protocol import STACK_SIGNAL, Read, Restore

#: seconds between two writes of pids.json
_WRITE_EVERY = 0.1


class Supervisor:
    """One fleet: everything that runs for it, and everyone who speaks to it."""

    def __init__(self, plan: Plan, claim: Claim, prepared: ServerProcess | None) -> None:
        read_end, write_end = os.pipe()
        self.fleet = Reconciler(plan, self._execute, self._after_turn)
        self._broker = EmbeddedBroker(self.fleet, read_end)
        self._fork_servers = ForkServers(self.fleet, write_end, prepared)
        self._leftovers = Leftovers(self.fleet.home / "pids.json")
        self._workers = Workers(self.fleet, self._fork_servers, write_end, self._leftovers.owner)
        self._alerts = Alerts(self.fleet)
        self._dispatcher = Dispatcher(self.fleet, self._workers, claim, self._follow, self._alerts.on)
        self._callers = ControlServer(Asked, self._dispatcher, self.fleet.trouble)
        self._autoscaler = Autoscaler(self.fleet, self._workers.poke)
        self._hosts = HostLink(self.fleet)
        self._notes: list[str] = []
        #: until when pids.json is not written again
        self._wrote: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Answer signals and requests from now on. Raises OSError."""
        self._write_settings(self.fleet.plan)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._trouble)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self.fleet.happen, Stop())
        loop.add_signal_handler(signal.SIGINT, self.fleet.happen, Stop())
        loop.add_signal_handler(signal.SIGQUIT, self.fleet.happen, Stop(cold=True))
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._callers.listen(self.fleet.plan.control)

    async def run(self) -> None:
        """Supervise until everything is stopped."""
        self.fleet.say(f"celeryfleet supervises {self.fleet.plan.fleet} (pid {os.getpid()})")
        if os.geteuid() == 0:
            self.fleet.say("running as root: a task can do anything on this machine")
        self._workers.keep_books()
        self._take_over()
        self._reap()
        self.fleet.schedule()
        self._autoscaler.start()
        self._hosts.start()
        self._alerts.start()
        await self.fleet.finished.wait()
        await self._hosts.close()
        await self._dispatcher.page.close()
        self._workers.close_books()
        self._remember()
        # Before the callers hear of the end: by the socket that stays they tell a supervisor that was killed.
        Path(self.fleet.plan.control).unlink(missing_ok=True)
        await self._callers.close()

    # --- Taking over --------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Meet what an earlier supervisor left: workers that still finish, its broker, and what it had paused."""
        alive = dict(self._leftovers.alive())
        self._workers.blame_all(alive)
        for name, old in alive.items():
            self.fleet.say(f"{name} (pid {old.pid}) of an earlier supervisor still runs")
            if name in ("broker", "keeper") and not self.fleet.target.embeds:
                continue  # workers may still need it; the keeper stops it after them
            if name == "keeper":
                process.tell(old.pid, signal.SIGKILL)
            elif name == "broker":
                self._broker.adopt(old.pid)
            elif name.partition(":")[0] == "server":
                process.kill_group(old.pid)
            else:
                process.tell(old.pid, signal.SIGTERM)
                process.watch(old.pid, partial(self._workers.gone, name, 0, "it finished without a supervisor"))
                self.fleet.happen(Leftover(name, old.pool, old.node, old.pid, old.grace))
        if self._broker.pid is None and self.fleet.target.embeds:
            self._meet_broker()
        self.fleet.happen(DeadNodes(self._leftovers.nodes))
        known = {queue.name for queue in self.fleet.plan.queues}
        self.fleet.happen(Marks(self._leftovers.marks, time.time()))
        self.fleet.happen(Pause(tuple(sorted(known & self._leftovers.paused))))

    def _meet_broker(self) -> None:
        """Take over a broker whose supervisor was killed before it wrote it down: two on one folder lose messages."""
        pid = running(self.fleet.plan.broker.socket)
        if pid is not None:
            self.fleet.say(f"a broker (pid {pid}) of an earlier supervisor still runs")
            self._broker.adopt(pid)

    # --- Carrying out -------------------------------------------------------------------------------------

    def _after_turn(self) -> None:
        """Tell what has become of the fleet: the log, the next supervisor, and those who wait."""
        found = list(notes(self.fleet.target, self.fleet.state, time.monotonic()))
        for note in found:
            if note not in self._notes:
                self.fleet.say(note)
        self._notes = found
        if self._wrote is None:
            self._remember()
        self._dispatcher.settle()
        self._alerts.after_turn()

    def _remember(self) -> None:
        """Write down what runs now, but not with each of 200 workers that start: it costs milliseconds each time."""
        self._wrote = None
        parts = {"broker": self._broker.pid, "keeper": self._broker.keeper, **self._fork_servers.pids}
        try:
            if self._leftovers.remember(self.fleet.state, parts):
                self._wrote = asyncio.get_running_loop().call_later(_WRITE_EVERY, self._remember)
        except OSError as error:  # a full disk: it is tried again with the next turn
            self.fleet.say(f"pids.json could not be written: {error.strerror}")

    def _execute(self, action: actions.Action) -> None:
        match action:
            case actions.Spawn(spec, fork, _, _, former):
                self._workers.spawn(spec, fork, former)
            case actions.Stop(name, stuck=stuck):
                if stuck:
                    self._workers.signal(name, STACK_SIGNAL)
                self._workers.signal(name, signal.SIGTERM)
            case actions.Cold(name):
                self._workers.signal(name, signal.SIGQUIT)
            case actions.Kill(name):
                self._workers.kill(name)
            case actions.Restore(name, nodes):
                self._workers.tell(name, Restore(nodes))
            case actions.SetQueues(name, queues):
                self._workers.tell(name, Read(queues))
            case actions.StartBroker():
                self._broker.start()
            case actions.StopBroker(kill):
                self._broker.stop(kill)
            case actions.StartForkServer(_, _, keep, app):
                self._fork_servers[app].start(keep)
            case actions.StopForkServer(_, former, app):
                self._fork_servers[app].drop(former)
            case actions.Fail() | actions.Forget() | actions.GiveUpBroker() | actions.Finish():
                pass  # only the state changes

    def _reap(self) -> None:
        for pid, code in process.reap(self._owns):
            others = self._broker.ended(pid, code) or self._fork_servers.ended(pid, code) or self._hosts.ended(pid)
            if not others:
                self._workers.ended(pid, code)

    def _owns(self, pid: int) -> bool:
        return any(part.owns(pid) for part in (self._broker, self._hosts, self._fork_servers, self._workers))

    # --- The plan -----------------------------------------------------------------------------------------

    def _follow(self, plan: Plan) -> None:
        """Aim at another plan. Raises OSError, and goes on with the old one, if its settings can't be written."""
        self._write_settings(plan)
        self.fleet.aim(plan)
        self._workers.keep_books()
        write.limit(plan.logs.max_size, plan.logs.max_files)
        self._autoscaler.start()
        self._hosts.start()
        self._alerts.start()
        self.fleet.say("fleet.yaml was read anew")

    def _write_settings(self, plan: Plan) -> None:
        """Leave the settings where `celeryfleet.install` finds them in the fleet's own processes."""
        private.write(str(self.fleet.home / "settings.json"), json.dumps(plan.settings).encode())

    def _reload(self) -> None:
        """On SIGHUP let a command read fleet.yaml and send the new plan, as anyone could."""
        self.fleet.say("SIGHUP: reloading")
        try:
            process.spawn(process.command(self.fleet.plan.file, "reload"), os.environ)
        except OSError as error:
            self.fleet.say(f"it could not be started: {error.strerror}")

    def _trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what a callback raised, and go on: a worker without its supervisor is worse than a lost event."""
        error = context.get("exception")
        if error is None:
            self.fleet.say(str(context["message"]))
        else:
            self.fleet.trouble(str(context["message"]), error)
        self.fleet.schedule()
