"""A fleet that belongs to this terminal: its logs are shown, and signals to us are wishes for it."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.cli.launch import start
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Attach, Stop
from celeryfleet.supervise.control_client import Client
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.values import Plan


def foreground(plan: Plan, fleet: Fleet | None = None, only: Sequence[str] = ()) -> int:
    """Show the logs until the fleet has stopped; signals to us are wishes for it."""
    from celeryfleet.logs.read import Follower
    from celeryfleet.render.log_prefixes import Prefixes
    from celeryfleet.render.paint import has_colour

    names = [pool.worker_name(n) for pool in plan.pools for n in range(1, pool.replicas + 1)]
    shown = {"supervisor", *names}
    pools = {pool.name for pool in plan.pools}
    follower = Follower(Path(plan.state_dir) / "logs", lambda name: name in shown or name.rpartition("-")[0] in pools)
    prefixes = Prefixes(["supervisor", *names], has_colour(sys.stdout))
    signals = _Signals()
    client, ran = start(plan, fleet, only)
    with client:
        if ran:
            say(f"{plan.fleet} was running; this terminal shows its logs, and Ctrl-C stops it.", sys.stderr)
        client.do(Attach())
        gone = _serve(client, signals, follower, prefixes, plan)
    for name, line in follower.close():
        say(prefixes(name, line))
    if not gone:
        raise FleetError(
            "the supervisor has gone without stopping the fleet.",
            hint="Its workers finish their tasks and stop; `celeryfleet up` goes on from there.",
            code=Exit.NOT_READY,
        )
    return Exit.OK


class _Signals:
    """Collects signals as bytes on a socket, so that waiting for them and for anything else is one wait."""

    def __init__(self) -> None:
        self.read, self._write = socket.socketpair()
        for end in (self.read, self._write):
            end.setblocking(False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)


def _serve(client: Client, signals: _Signals, follower: Any, prefixes: Any, plan: Plan) -> bool:
    """Print new log lines and pass signals on until the supervisor hangs up; tell whether it was stopping."""
    selector = selectors.DefaultSelector()
    selector.register(signals.read, selectors.EVENT_READ)
    selector.register(client, selectors.EVENT_READ)
    stops, pause = 0, 0.05
    while True:
        ready = {key.fileobj for key, _ in selector.select(pause)}
        if signals.read in ready:
            for number in signals.read.recv(64):
                stops = _obey(signal.Signals(number), stops, plan)
        lines = follower.poll()
        pause = 0.05 if lines else min(pause * 1.2, 0.25)
        try:
            for name, line in lines:
                say(prefixes(name, line))
            sys.stdout.flush()
        except OSError:  # the terminal has gone; the fleet is to go with it, and there is nobody to tell
            stops = stops or _obey(signal.SIGTERM, 0, plan)
        if client in ready:
            return not _left_behind(plan)


def _left_behind(plan: Plan) -> bool:
    """Tell whether the supervisor died: one that ended as it should has removed its socket."""
    return Path(plan.control).exists()


def _obey(number: signal.Signals, stops: int, plan: Plan) -> int:
    """Turn a signal into a request; return how many stops have been asked for."""
    with contextlib.suppress(FleetError):  # it is about to be gone anyway
        if number == signal.SIGHUP and sys.stdin.isatty():
            number = signal.SIGTERM  # the terminal was closed
        if number == signal.SIGHUP:
            argv = [sys.executable, "-P", "-m", "celeryfleet", "--file", plan.file, "reload"]
            subprocess.Popen(argv, start_new_session=True)
            return stops
        cold = number == signal.SIGQUIT or (number == signal.SIGINT and stops > 0)
        with Client(plan.control) as client:
            client.do(Stop(cold))
        if cold:
            say("stopping cold: running tasks are given back or lost", sys.stderr)
        elif not stops:
            say("stopping warmly: running tasks finish (Ctrl-C again stops cold)", sys.stderr)
    return stops + 1
