"""What lint's rules look at and what they say, as frozen values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.facts import AppFacts
    from celeryfleet.plan.values import Plan, PoolPlan
    from celeryfleet.routing.resolve import Decision


class Level(StrEnum):
    """How much a finding matters."""

    ERROR = "error"  #: the fleet cannot run
    WARNING = "warning"  #: something does not work as it is written
    INFO = "info"  #: worth knowing


# --- What rules look at -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine that checks would give a fleet."""

    #: processors this process may use
    cpus: int
    #: bytes this process may use; None: not known
    memory: int | None = None
    #: bytes of a process that has imported the app; None: not measured
    process: int | None = None
    #: modules that pools need (gevent, eventlet) and Python does not find
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Server:
    """What a Redis or Valkey tells of itself; None: it does not tell."""

    #: connections that it takes
    max_clients: int | None = None
    #: bytes it may use; 0: no limit
    max_memory: int | None = None
    #: what it does when they are used up, such as noeviction
    policy: str | None = None
    #: the commands by which workers claim messages, as far as it refuses them
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouterFault:
    """One wrong answer of a router's, for one task."""

    task: str
    #: where its route stands
    where: str
    router: str
    #: what it does, with {tasks} and {reason}
    said: str
    #: the exception, or what is named
    reason: str
    #: where that comes from, or what to do about it; empty: nothing to say
    hint: str
    #: whether it looked at the arguments, and may answer otherwise when there are some
    depends: bool


@dataclass(frozen=True, slots=True)
class RouterReport:
    """What the user's routers have answered."""

    #: tasks → the queues they go to, whatever they are sent with
    queues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[RouterFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet, and what is known of where it runs; None: not known."""

    fleet: Fleet
    plan: Plan
    app: AppFacts | None = None
    machine: Machine | None = None
    server: Server | None = None
    routers: RouterReport | None = None
    #: where each registered task goes, as far as its code lets it be sent at all
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    @property
    def on_redis(self) -> bool:
        """Tell whether the broker is a Redis or one of its like."""
        return self.plan.broker.transport == "redis"

    @property
    def on_rabbitmq(self) -> bool:
        """Tell whether the broker speaks AMQP."""
        return self.plan.broker.transport == "amqp"

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the registered tasks with what their code says of how they are sent."""
        return self.app.tasks if self.app is not None else {}

    def queues_of(self, task: str) -> tuple[str, ...]:
        """Name the queues that a task surely goes to; none where nobody knows."""
        if self.routers is not None and task in self.routers.queues:
            return self.routers.queues[task]
        decision = self.decisions.get(task)
        return decision.queues if decision is not None and decision.sure else ()

    def run_by(self, pool: PoolPlan) -> list[str]:
        """Name the tasks that surely go to a queue which this pool reads."""
        return [task for task in self.tasks if not set(self.queues_of(task)).isdisjoint(pool.queues)]

    def where(self, *paths: tuple[str | int, ...]) -> str:
        """Say where the first of these paths is that was written, else the last one's nearest key above it."""
        if self.fleet.apps:
            paths = tuple(("apps",) if path == ("app",) else path for path in paths)
        written = next((path for path in paths if self.fleet.wrote(*path)), paths[-1])
        return self.fleet.where(*written)

    def setting(self, pool: PoolPlan, key: str) -> Any:
        """Return a setting as the workers of a pool have it: the pool's own, the fleet's, or the app's."""
        return pool.conf.get(key, self.plan.settings.get(key, self.says(pool.app).get(key)))

    def shared(self, key: str) -> Any:
        """Return a setting as the whole fleet has it: its own, or the app's."""
        return self.plan.settings.get(key, self.own_settings.get(key))

    @property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the registered tasks with what their code says of how they are run."""
        return self.app.runs if self.app is not None else {}

    @property
    def own_settings(self) -> Mapping[str, Any]:
        """Return the settings that the app makes itself."""
        return self.app.settings if self.app is not None else {}

    def says(self, app: str) -> Mapping[str, Any]:
        """Return the settings that one of the apps makes itself."""
        return self.app.says(app) if self.app is not None else {}

    def of_the_app(self, pool: PoolPlan, key: str) -> bool:
        """Tell whether a pool has a setting from the app, since fleet.yaml says nothing of it."""
        return key not in pool.conf and key not in self.plan.settings and key in self.says(pool.app)

    def limited(self, task: str, key: str) -> float | None:
        """Return a limit of a task's own code; Celery gives each task that has none the one for all (from_config)."""
        limit = self.tasks.get(task, {}).get(key)
        return limit if limit and limit != self.shared(f"task_{key}") else None


# --- What rules say ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule has found, before it has its rule's code."""

    #: `file:line:column`
    where: str
    #: what will happen
    what: str
    #: what to do about it
    hint: str
    #: None: the rule's own
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth telling."""

    #: stable, such as CF010
    code: str
    #: stable, such as queue-unread
    name: str
    level: Level
    #: `file:line:column`; empty: it is in no file
    where: str
    #: what will happen
    what: str
    #: what to do about it
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.level}: {self.what} {self.hint} [{self.code} {self.name}]"

    @property
    def file(self) -> str:
        """Return the file's name as the user knows it; empty: none."""
        return self._place[0]

    @property
    def line(self) -> int:
        """Return the line, counted from 1; 0: none."""
        return self._place[1]

    @property
    def column(self) -> int:
        """Return the column, counted from 1; 0: none."""
        return self._place[2]

    @property
    def _place(self) -> tuple[str, int, int]:
        file, *numbers = self.where.rsplit(":", 2)
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            return file, int(numbers[0]), int(numbers[1])
        return self.where, 0, 0


#: yields what a rule finds in a case that has all that the rule needs
Check = Callable[[Case], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What `check` can find: its code, its name, and how it is found."""

    code: str
    name: str
    #: as its page is called
    title: str
    level: Level
    #: app, machine, server, routers: what it cannot be found without
    needs: frozenset[str] = frozenset()
    #: None: it is found where fleet.yaml is read
    check: Check | None = field(default=None, compare=False)

    def fits(self, case: Case) -> bool:
        """Tell whether a case has all that this rule needs."""
        return self.check is not None and all(getattr(case, name) is not None for name in self.needs)

    def findings(self, case: Case) -> Iterator[Finding]:
        """Look for this in a case."""
        if self.check is None or not self.fits(case):
            return
        for found in self.check(case):
            yield Finding(self.code, self.name, found.level or self.level, found.where, found.what, found.hint)


def rule(code: str, name: str, title: str, level: Level, *needs: str) -> Callable[[Check], Rule]:
    """Make a rule of the function that checks it."""
    return lambda check: Rule(code, name, title, level, frozenset(needs), check)
