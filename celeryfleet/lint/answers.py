"""Asks the user's routers where each registered task goes, without arguments, and which answers depend on those."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celeryfleet import routers as asking
from celeryfleet.errors import FleetError
from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.routing.resolve import Ask, resolve
from celeryfleet.text import quoted

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.app_facts import AppFacts
    from celeryfleet.plan.values import Plan


class Kind(StrEnum):
    """What is wrong with an answer."""

    FAILS = "fails"  #: it is an exception
    UNCALLABLE = "uncallable"  #: the router takes other arguments than Celery gives
    UNKNOWN = "unknown"  #: it names a queue that is not declared, or nothing that could be one
    LOST = "lost"  #: it names an exchange that no queue gets anything from
    UNUSABLE = "unusable"  #: nothing can be made of it


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong answer of a router's, for one task."""

    task: str
    #: where its route stands
    where: str
    router: str
    kind: Kind
    #: the exception, or what is named
    reason: str
    #: where it comes from; empty: nothing to say
    place: str
    #: whether it looked at the arguments, and may answer otherwise when there are some
    depends: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """What the routers said."""

    #: tasks → the queues they go to, whatever they are sent with
    queues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


def ask_all(fleet: Fleet, plan: Plan, app: AppFacts, routers: Mapping[str, Ask]) -> Answers:
    """Ask about every registered task, as if it were sent without arguments."""
    queues: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    places = {fleet.where("routes", n, "router"): route.router or "" for n, route in enumerate(fleet.routes)}
    for task, own in app.tasks.items():
        watched = {path: _Watched(path, ask) for path, ask in routers.items()}
        fault = None
        try:
            decision = resolve(fleet, plan, task, routers=watched, own=own)
        except FleetError as error:
            path = places.get(error.problems[0].where)
            if path is None:  # the task's own code is to blame, which has a rule of its own
                continue
            fault = _fault(watched[path], error.__cause__)
        except Exception as error:  # an answer that resolve can make nothing of, and a send neither
            fault = (Kind.UNUSABLE, f"{type(error).__name__}: {error}", "")
        else:
            if not decision.queues and any(one.answered for one in watched.values()):
                fault = (Kind.LOST, f'the exchange "{decision.exchange}"', "")
        depends = any(one.looked for one in watched.values())
        if fault is not None:
            last = [one.path for one in watched.values() if one.asked][-1]  # those before it said nothing
            where = next(place for place, path in places.items() if path == last)
            faults.append(Fault(task, where, last, *fault, depends))
        elif not depends:
            queues[task] = decision.queues
    return Answers(queues, tuple(faults))


class _Watched:
    """A router that is asked without arguments; tells whether it looked for some."""

    def __init__(self, path: str, ask: Ask) -> None:
        self.path = path
        self.asked = False
        self.answer: Any = None
        self._ask = ask
        self._looked: list[str] = []

    def __call__(self, task: str, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> Any:
        self.asked = True
        self.answer = self._ask(task, _watching(tuple, self._looked), _watching(dict, self._looked))
        return self.answer

    @property
    def answered(self) -> bool:
        """Tell whether it decides, and the next is not asked."""
        return self.answer is not None

    @property
    def looked(self) -> bool:
        """Tell whether the answer may depend on arguments."""
        return bool(self._looked)


def _watching(kind: type, looked: list[str]) -> Any:
    """Return an empty tuple or dict that notes whatever is done with it."""

    def noting(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            looked.append(name)
            return getattr(kind, name)(self, *args, **kwargs)

        return method

    own = {*dir(kind)} - {*dir(object), "__class_getitem__"} | {"__eq__", "__ne__", "__repr__", "__str__"}
    return type(kind.__name__, (kind,), {name: noting(name) for name in own})()


def _fault(router: _Watched, cause: BaseException | None) -> tuple[Kind, str, str]:
    if cause is not None:
        frame = [frame for frame in traceback.extract_tb(cause.__traceback__) if frame.filename != __file__][-1]
        reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        if frame.filename == asking.__file__ and isinstance(cause, TypeError):
            return Kind.UNCALLABLE, reason, ""
        return Kind.FAILS, reason, f"It fails at {frame.filename}:{frame.lineno}: {frame.line}"
    answer = router.answer
    if isinstance(answer, Mapping) and not isinstance(answer.get("priority"), int | None):
        return Kind.UNUSABLE, f"its priority is {answer['priority']!r}, which is no number", ""
    named = answer.get("queue") if isinstance(answer, Mapping) else answer
    if isinstance(named, str):
        return Kind.UNKNOWN, f'the queue "{named}", which is not declared', ""
    return Kind.UNKNOWN, f"{named!r}, which is no queue", ""


# --- The rule ---------------------------------------------------------------------------------------------


@rule("CF028", "router-wrong", "A router whose answer no task can be sent by", Level.WARNING, "answers")
def wrong_answers(case: Case) -> Iterator[Found]:
    """Find routers that fail, or name what there is not; where they looked at arguments, that may be right."""
    groups: dict[tuple[str, bool, Kind], list[Fault]] = {}
    for fault in case.answers.faults if case.answers is not None else ():
        groups.setdefault((fault.where, fault.depends, fault.kind), []).append(fault)
    for (where, depends, kind), faults in groups.items():
        reasons = list(dict.fromkeys(fault.reason for fault in faults))
        reason = reasons[0] if len(reasons) == 1 else f"{reasons[0]} and {len(reasons) - 1} more like it"
        asked = ", asked without arguments," if depends else ""
        tasks = quoted(fault.task for fault in faults)
        what = f"the router {faults[0].router}{asked} {_SAID[kind].format(reason=reason, tasks=tasks)}"
        hints = [faults[0].place, _IF_WITHOUT if depends else _HINTS[kind]]
        yield Found(where, what, "\n".join(hint for hint in hints if hint), Level.INFO if depends else None)


_SAID = {
    Kind.FAILS: "fails for {tasks}: {reason}.",
    Kind.UNCALLABLE: "cannot be asked as Celery asks: {reason}.",
    Kind.UNKNOWN: "sends {tasks} to {reason}: a send fails.",
    Kind.LOST: "sends {tasks} to {reason}, where no queue gets it.",
    Kind.UNUSABLE: "gives an answer for {tasks} that cannot be used: {reason}.",
}
_A_ROUTER_RETURNS = "A router returns the name of a declared queue, a mapping such as {'queue': 'mail'}, or None."
_HINTS = {
    Kind.FAILS: "",
    Kind.UNCALLABLE: "A function is called with (name, args, kwargs, options, task=task), route_for_task with "
    "(task, args, kwargs).",
    Kind.UNKNOWN: _A_ROUTER_RETURNS,
    Kind.LOST: "Name the exchange of a queue, and a routing_key that the queue is bound by.",
    Kind.UNUSABLE: _A_ROUTER_RETURNS,
}
_IF_WITHOUT = "Right if these are never sent without arguments: `celeryfleet route TASK ARG…` asks with some."

RULES = (wrong_answers,)
