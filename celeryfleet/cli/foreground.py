"""A fleet that belongs to this terminal: its logs are shown, and signals to us are wishes for it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.cli.launch import start, troubles
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Attach, Settled, Stop, Wait
from celeryfleet.supervise import process
from celeryfleet.supervise.control_client import Client
from celeryfleet.text import listed, say

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.values import Plan


def foreground(plan: Plan, fleet: Fleet, only: tuple[str, ...], page: Sequence[str]) -> int:
    """Show the logs until the fleet has stopped; signals to us are wishes for it."""
    from celeryfleet.logs.choose import is_of
    from celeryfleet.logs.read import Follower
    from celeryfleet.render.log_prefixes import JsonLines, Prefixes

    names = [pool.worker_name(n) for pool in plan.pools for n in range(1, pool.replicas + 1)]
    shown, unshown = ["supervisor", *only], ["broker", "ui", *(app.preload_log for app in plan.apps)]
    # Without `only` also those of pools that a reload adds; of the import the supervisor tells.
    follower = Follower(Path(plan.state_dir) / "logs", lambda log: is_of(log, shown) if only else log not in unshown)
    as_json = plan.logs.format == "json" and not sys.stdout.isatty()
    shown_as = JsonLines() if as_json else Prefixes(["supervisor", *names], sys.stdout)
    is_first = os.getpid() == 1  # of a container, which is to end when it is of no use
    signals = _Signals(is_first)
    client, ran = start(plan, fleet, only, page)
    with client:
        if ran:
            theirs, them = (f"the logs of {listed(only)}", listed(only)) if only else ("its logs", "it")
            say(f"{plan.fleet} was running; this terminal shows {theirs}, and Ctrl-C stops {them}.", sys.stderr)
        client.do(Attach(only))
        if only:
            client.tell(Wait(until="gone", pools=only))
        failure = _Failure(plan, only) if is_first else None
        gone = _serve(client, signals, follower, shown_as, plan, only, failure)
    _show(follower.close(), shown_as)
    if failure is not None and failure.told:
        raise FleetError(failure.told, code=Exit.NOT_READY)
    if not gone:
        if is_first:
            _outlive(signals, max(pool.grace for pool in plan.pools))
        raise FleetError(
            "the supervisor has gone without stopping the fleet.",
            hint="Its workers finish their tasks and stop; `celeryfleet up` goes on from there.",
            code=Exit.NOT_READY,
        )
    return Exit.OK


class _Signals:
    """Collects signals as bytes on a socket, so that waiting for them and for anything else is one wait."""

    def __init__(self, reaps: bool) -> None:
        self.read, self._write = socket.socketpair()
        for end in (self.read, self._write):
            end.setblocking(False)
        children = [signal.SIGCHLD] if reaps else []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, *children):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)


class _Failure:
    """Waits until no worker does anything any more, and none comes back by itself."""

    def __init__(self, plan: Plan, only: tuple[str, ...]) -> None:
        #: why that is so, once it is
        self.told = ""
        self.client = Client(plan.control)
        self.client.tell(Wait(until="failed", pools=only))

    def read(self) -> None:
        """Take in what came: the answer, or the supervisor's end."""
        with contextlib.suppress(FleetError):
            self.told = "\n".join(troubles(self.client.reply(Settled).status, ()))
        self.client.close()


def _show(lines: Iterable[tuple[str, str]], shown_as: Callable[[str, str], str]) -> None:
    for name, line in lines:
        if shown := shown_as(name, line):
            say(shown)


def _serve(
    client: Client,
    signals: _Signals,
    follower: Any,
    shown_as: Callable[[str, str], str],
    plan: Plan,
    only: tuple[str, ...],
    failure: _Failure | None,
) -> bool:
    """Print new log lines and pass signals on until what we wait for has ended; tell whether that was on purpose."""
    selector = selectors.DefaultSelector()
    selector.register(signals.read, selectors.EVENT_READ)
    selector.register(client, selectors.EVENT_READ)
    if failure is not None:
        selector.register(failure.client, selectors.EVENT_READ)
    stops, pause = 0, 0.05
    while True:
        ready = {key.fileobj for key, _ in selector.select(pause)}
        if signals.read in ready:
            for number in signals.read.recv(64):
                if number == signal.SIGCHLD:
                    deque(process.reap(lambda pid: False), maxlen=0)
                else:
                    stops = _obey(signal.Signals(number), stops, plan, only)
        if failure is not None and failure.client in ready:
            selector.unregister(failure.client)
            failure.read()
            stops = _obey(signal.SIGTERM, stops, plan, only) if failure.told else stops
        lines = follower.poll()
        pause = 0.05 if lines else min(pause * 1.2, 0.25)
        try:
            _show(lines, shown_as)
            sys.stdout.flush()
        except OSError:  # the terminal has gone; the fleet is to go with it, and there is nobody to tell
            stops = stops or _obey(signal.SIGTERM, 0, plan, only)
        if client in ready:
            # A supervisor that ended as it should has removed its socket.
            return client.answered() or not Path(plan.control).exists()


def _outlive(signals: _Signals, seconds: float) -> None:
    """Wait so long for workers whose supervisor was killed to finish their tasks: they would end with process 1."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while (left := until - time.monotonic()) > 0:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                signals.read.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    signals.read.recv(64)


def _obey(number: signal.Signals, stops: int, plan: Plan, only: tuple[str, ...]) -> int:
    """Turn a signal into a request; return how many stops have been asked for."""
    with contextlib.suppress(FleetError):  # it is about to be gone anyway
        if number == signal.SIGHUP and sys.stdin.isatty():
            number = signal.SIGTERM  # the terminal was closed
        if number == signal.SIGHUP:
            subprocess.Popen(process.command(plan.file, "reload"), start_new_session=True)
            return stops
        cold = number == signal.SIGQUIT or (number == signal.SIGINT and stops > 0)
        with Client(plan.control) as client:
            client.do(Stop(cold, pools=only))
        if cold:
            say("stopping cold: running tasks are given back or lost", sys.stderr)
        elif not stops:
            why = f" ({signal.Signals(number).name})" if number != signal.SIGINT else ""
            say(f"stopping warmly{why}: running tasks finish (Ctrl-C again stops cold)", sys.stderr)
    return stops + 1
