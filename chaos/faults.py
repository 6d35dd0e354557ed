"""Does to a fleet what the schedule says; decides nothing but which process a number points at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from chaos.brokers import Broker, end
from chaos.fleet import QUEUES, REPLICAS, Fleet, Parts
from chaos.schedule import Fault, Kind

#: bytes of a state folder that can be filled up
_DISK = 256 * 1024 * 1024
T = TypeVar("T")
_CHUNK = bytes(1024 * 1024)


class Faults:
    """What can be done to one fleet and its broker."""

    def __init__(self, fleet: Fleet, broker: Broker) -> None:
        self._fleet, self._broker = fleet, broker
        self._disk = fleet.state / "filler"
        #: when the fleet could begin to recover, on the monotonic clock
        self.since = 0.0
        self._kinds: dict[Kind, Callable[[Fault, Parts], str]] = {
            Kind.KILL_WORKER: lambda fault, parts: self._kill(parts.workers, fault),
            Kind.KILL_CHILD: lambda fault, parts: self._kill(parts.children, fault),
            Kind.KILL_FORK_SERVER: lambda fault, parts: self._kill(parts.fork_server, fault),
            Kind.KILL_SUPERVISOR: self._kill_supervisor,
            Kind.KILL_BROKER: self._kill_broker,
            Kind.KILL_ALL: self._kill_all,
            Kind.RAIN: self._rain,
            Kind.STOP_WORKER: lambda fault, parts: self._stop(parts.workers, fault),
            Kind.STOP_CHILD: lambda fault, parts: self._stop(parts.children, fault),
            Kind.STOP_FORK_SERVER: lambda fault, parts: self._stop(parts.fork_server, fault),
            Kind.STOP_SUPERVISOR: lambda fault, parts: self._stop((parts.supervisor,), fault),
            Kind.STOP_BROKER: lambda fault, parts: self._stop((self._broker.pid(),), fault),
            Kind.STOP_KILL_WORKER: self._stop_kill,
            Kind.RESTART_BROKER: self._restart_broker,
            Kind.CUT: self._cut,
            Kind.FULL_DISK: self._full_disk,
            Kind.SCALE: self._scale,
            Kind.RELOAD: self._reload,
            Kind.ROLLING: lambda fault, parts: self._command("restart", "--rolling"),
            Kind.PAUSE: self._pause,
            Kind.DOWN_UP: self._down_up,
        }

    def possible(self, disk: bool) -> list[Kind]:
        """Return the kinds that can happen here; `disk`: whether the state lies on a disk of its own."""
        return [kind for kind in self._kinds if disk or kind is not Kind.FULL_DISK]

    def do(self, fault: Fault, parts: Parts) -> str:
        """Let it happen; say to what. Raises LookupError where there is nothing that it could happen to."""
        self.since = time.monotonic()
        return self._kinds[fault.kind](fault, parts)

    def _hold(self, fault: Fault) -> None:
        """Wait for the second half of a fault, which is the one to recover from."""
        time.sleep(fault.hold)
        self.since = time.monotonic()

    def _kill(self, among: Sequence[int], fault: Fault) -> str:
        pid = _pick(among, fault.picks[0])
        end(pid, signal.SIGKILL)
        return str(pid)

    def _rain(self, fault: Fault, parts: Parts) -> str:
        pids = [_pick((*parts.workers, *parts.children), pick) for pick in fault.picks]
        for pid in pids:
            _signal(pid, signal.SIGKILL)
            time.sleep(fault.hold / 20)
        return " ".join(map(str, pids))

    def _stop(self, among: Sequence[int], fault: Fault) -> str:
        pid = _pick(among, fault.picks[0])
        with _stopped(pid):
            self._hold(fault)
        return f"{pid} for {fault.hold:.2f} s"

    def _stop_kill(self, fault: Fault, parts: Parts) -> str:
        pid = _pick(parts.workers, fault.picks[0])
        _signal(pid, signal.SIGSTOP)
        self._hold(fault)
        end(pid, signal.SIGKILL)
        return f"{pid} after {fault.hold:.2f} s"

    def _kill_supervisor(self, fault: Fault, parts: Parts) -> str:
        end(parts.supervisor, signal.SIGKILL)
        self._hold(fault)
        self._fleet.up()
        return f"{parts.supervisor}, up after {fault.hold:.2f} s"

    def _kill_all(self, fault: Fault, parts: Parts) -> str:
        pids = self._fleet.pids()
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        self._fleet.up()
        return f"{len(pids)} processes"

    def _kill_broker(self, fault: Fault, parts: Parts) -> str:
        pid = self._broker.pid()
        end(pid, signal.SIGKILL)
        self._start_broker(fault)
        return str(pid)

    def _restart_broker(self, fault: Fault, parts: Parts) -> str:
        pid = self._broker.pid()
        self._broker.stop()
        self._start_broker(fault)
        return str(pid)

    def _start_broker(self, fault: Fault) -> None:
        if not self._broker.ends_with_fleet:  # its supervisor starts it again, and the seconds are the fleet's
            time.sleep(fault.hold)
            self._broker.start()
            self.since = time.monotonic()

    def _cut(self, fault: Fault, parts: Parts) -> str:
        self._broker.cut()
        self.since = time.monotonic()
        return "all"

    def _full_disk(self, fault: Fault, parts: Parts) -> str:
        with self._disk.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(_CHUNK):
                pass
        try:
            self._hold(fault)
        finally:
            self._disk.unlink()
        return f"for {fault.hold:.2f} s"

    def _scale(self, fault: Fault, parts: Parts) -> str:
        pool = _pick(list(REPLICAS), fault.picks[0])
        return self._command("scale", f"{pool}={fault.scale}")

    def _reload(self, fault: Fault, parts: Parts) -> str:
        self._fleet.change_code()
        return self._command("reload")

    def _pause(self, fault: Fault, parts: Parts) -> str:
        queue = _pick(QUEUES, fault.picks[0])
        self._fleet.run("pause", queue)
        self._hold(fault)
        self._fleet.run("resume", queue)
        return f"{queue} for {fault.hold:.2f} s"

    def _down_up(self, fault: Fault, parts: Parts) -> str:
        words = ("down", "--cold") if fault.picks[0] < 0.5 else ("down",)
        said = self._command(*words)
        self._fleet.up()
        return said

    def _command(self, *words: str) -> str:
        code = self._fleet.run(*words)
        return " ".join(words) + (f": exit {code}" if code else "")


@contextlib.contextmanager
def small_disk(state: Path) -> Iterator[str]:
    """Put a fleet's state on a disk of its own, which can be full; give the reason where that can't be done."""
    state.mkdir(mode=0o700)
    mount = ("mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=700", "tmpfs", str(state))
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    except OSError as error:
        reason = str(error)
    try:
        yield reason
    finally:
        if not reason:
            subprocess.run(("umount", "--lazy", str(state)), check=True)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile, as workers do that are scaled down
        os.kill(pid, number)


def _pick(among: Sequence[T], pick: float) -> T:
    if not among:
        raise LookupError("there is none now")
    return among[int(pick * len(among))]
