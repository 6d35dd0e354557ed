"""One run on one broker: the fleet is started, broken for some seconds under load, drained, stopped and judged."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks import measure
from benchmarks.running import clear, folder
from chaos.brokers import BROKERS, Broker
from chaos.faults import Faults, small_disk
from chaos.fleet import QUEUES, REPLICAS, Fleet
from chaos.ledger import Ledger, Verdict, judge
from chaos.load import Load, Probe, Sender
from chaos.schedule import Kind, bursts, faults

#: seconds in which a fleet has to be itself again after a fault, and its processes gone after `down`
RECOVERY, _GONE = 60.0, 5.0
#: seconds in which all tasks have to be done after the last fault, and without any news after which none is awaited
DRAIN, _QUIET = 90.0, 10.0
#: seconds between two looks
_PAUSE = 0.02
#: what is kept of a run that failed
_KEPT = "state"

Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What a run has shown."""

    broker: str
    seed: int
    #: whether the events, the ledger and the logs stay even after a run that went well, and where they are if they do
    keep: bool = False
    kept: str = ""
    faults: Counter[Kind] = field(default_factory=Counter)
    #: seconds from a fault until the fleet was ready and had begun a new task from each queue
    recoveries: dict[Kind, list[float]] = field(default_factory=dict)
    #: faults after which that took too long, and why it was not so
    stuck: list[str] = field(default_factory=list)
    #: what could not happen here, or commands that failed
    notes: list[str] = field(default_factory=list)
    #: sends that failed while the broker was away; their tasks are not counted
    unsure: int = 0
    verdict: Verdict | None = None
    #: seconds of the drain and of `down`
    drain: float = 0.0
    down: float = 0.0
    orphans: list[str] = field(default_factory=list)
    stray_keys: Counter[str] = field(default_factory=Counter)
    stray_files: Counter[str] = field(default_factory=Counter)

    def failures(self) -> list[str]:
        """Say what must not be."""
        verdict = self.verdict
        if verdict is None:
            return ["it did not come to its end"]
        found = {
            "tasks that acknowledge late are lost": verdict.lost,
            "tasks are still in the broker": verdict.left,
            "processes are left": self.orphans,
            f"faults from which the fleet did not recover in {RECOVERY:g} s": self.stuck,
        }
        return [f"{len(which)} {what}: {', '.join(which[:5])}" for what, which in found.items() if which]


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to be."""

    seed: int
    #: of faults
    seconds: float = 60.0
    #: faults at most
    most: int | None = None
    #: faults that come; none: all
    kinds: tuple[Kind, ...] = ()
    keep: bool = False


def run(name: str, options: Options, say: Say) -> Outcome:
    """Break a fleet on this broker. Raises MissingError."""
    outcome = Outcome(name, options.seed, options.keep)
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_home(outcome))
        place = home if name == "embedded" else stack.enter_context(folder())
        no_disk = stack.enter_context(small_disk(home / ".celeryfleet"))
        stack.callback(_keep, home, outcome)
        broker = BROKERS[name](place)
        stack.callback(broker.close)
        with (home / "events").open("w", buffering=1) as events:
            begun = time.monotonic()

            def tell(text: str) -> None:
                events.write(f"{time.time():.3f} {text}\n")
                say(f"[{name} {time.monotonic() - begun:.0f} s] {text}")

            broker.start()
            _Run(outcome, Fleet(home, broker.setting, tell), broker, tell).go(options, no_disk)
    return outcome


class _Run:
    def __init__(self, outcome: Outcome, fleet: Fleet, broker: Broker, say: Say) -> None:
        self._outcome, self._fleet, self._broker, self._say = outcome, fleet, broker, say
        self._faults = Faults(fleet, broker)
        self._ledger = Ledger(fleet.home / "ledger")
        self._sender = Sender(fleet.file, broker.options)
        load = Sender(fleet.file, broker.options)
        self._load = Load(bursts(outcome.seed, QUEUES), load, fleet.home / "ledger")

    def go(self, options: Options, no_disk: str) -> None:
        """Do all of it."""
        if no_disk:
            self._outcome.notes.append(f"no {Kind.FULL_DISK}: {no_disk}")
        names, files = self._calm()
        self._load.start()
        try:
            possible = self._faults.possible(not no_disk)
            self._break(options, [kind for kind in possible if kind in (options.kinds or Kind)])
        finally:
            self._load.stop()
        self._drain()
        outcome = self._outcome
        outcome.unsure = self._load.unsure
        outcome.stray_keys = self._broker.names() - names
        kept = self._broker.kept() if self._broker.ends_with_fleet else None
        self._down()
        outcome.stray_files = self._fleet.files() - files
        kept = self._broker.kept() if kept is None else kept
        self._ledger.read()
        outcome.verdict = judge(self._load.sent, self._ledger, kept)

    def _calm(self) -> tuple[Counter[str], Counter[str]]:
        """Return the names in the broker and the files of a fleet to which nothing has happened."""
        self._fleet.up()
        trouble, _ = self._await_ready("calm", time.monotonic())
        if trouble:
            raise RuntimeError(f"the fleet does not start: {trouble}")
        names = self._broker.names()
        self._fleet.run("down")
        files = self._fleet.files()
        self._fleet.up()
        return names, files

    def _break(self, options: Options, kinds: list[Kind]) -> None:
        deadline = time.monotonic() + options.seconds
        for number, fault in enumerate(islice(faults(options.seed, kinds), options.most)):
            if time.monotonic() > deadline:
                return
            self._say(f"fault {number}: {fault.kind}")
            try:
                what = self._faults.do(fault, self._fleet.parts())
            except LookupError as error:
                self._say(f"fault {number} did not happen: {error}")
                continue
            self._outcome.faults[fault.kind] += 1
            trouble, taken = self._await_ready(str(number), self._faults.since)
            if trouble:
                self._outcome.stuck.append(f"fault {number}, {fault.kind}: {trouble}")
                self._say(f"fault {number}: {what}: not recovered: {trouble}")
                self._fleet.run("down", "--cold")
                self._fleet.up()
            else:
                self._outcome.recoveries.setdefault(fault.kind, []).append(taken)
                self._say(f"fault {number}: {what}: recovered after {taken:.2f} s")
            time.sleep(fault.rest)

    def _await_ready(self, name: str, since: float) -> tuple[str, float]:
        """Wait until the fleet is ready and has begun a new task from each queue; say why not, and how long it took."""
        probe = Probe(self._load, self._sender, QUEUES, name)
        while True:
            self._ledger.read()
            through = probe.through(self._ledger.begun, time.monotonic())
            trouble = self._fleet.trouble()
            taken = time.monotonic() - since
            if through and not trouble:
                return "", taken
            if taken > RECOVERY:
                return trouble or f"no task comes through {probe.missing()}", taken
            time.sleep(_PAUSE)

    def _drain(self) -> None:
        """Let everything end that still can."""
        self._say("drain")
        self._fleet.run("resume", *QUEUES)
        self._fleet.run("scale", *(f"{pool}={count}" for pool, count in REPLICAS.items()))
        begun = news = time.monotonic()
        while any(not self._ledger.ended[task] for task in self._load.sent):
            now = time.monotonic()
            if self._ledger.read():
                news = now
            if now - news > _QUIET or now - begun > DRAIN:
                break
            time.sleep(_PAUSE)
        self._await_ready("drained", time.monotonic())
        self._outcome.drain = news - begun

    def _down(self) -> None:
        begun = time.monotonic()
        self._fleet.run("down")
        self._outcome.down = time.monotonic() - begun
        while (left := self._fleet.pids()) and time.monotonic() - begun < self._outcome.down + _GONE:
            time.sleep(_PAUSE)
        self._outcome.orphans = [f"{pid} {measure.title(pid)}" for pid in left]
        self._sender.close()


@contextlib.contextmanager
def _home(outcome: Outcome) -> Iterator[Path]:
    """Make a folder for a run; nothing of it runs on, and it stays where there is something to look at."""
    made = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp")).resolve()
    try:
        yield made
    finally:
        clear(made)
        if outcome.keep or outcome.failures():
            outcome.kept = str(made)
        else:
            shutil.rmtree(made)


def _keep(home: Path, outcome: Outcome) -> None:
    """Copy the state of a run that is looked at off its disk, which goes away."""
    if outcome.keep or outcome.failures():
        shutil.copytree(home / ".celeryfleet", home / _KEPT, ignore=shutil.ignore_patterns("*.sock", "filler"))
