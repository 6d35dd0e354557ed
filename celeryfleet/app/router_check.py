"""Asks the user's routers where each registered task goes, without arguments, and which answers depend on those."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.app import routers as asking
from celeryfleet.errors import FleetError
from celeryfleet.lint.values import RouterFault, RouterReport
from celeryfleet.routing.resolve import resolve

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.routing.resolve import Ask
    from celeryfleet.routing.table import RoutingTable


def check_routers(
    fleet: Fleet, table: RoutingTable, tasks: Mapping[str, Mapping[str, Any]], routers: Mapping[str, Ask]
) -> RouterReport:
    """Ask about every registered task, as if it were sent without arguments; `tasks` are those of `AppFacts`."""
    queues: dict[str, tuple[str, ...]] = {}
    faults: list[RouterFault] = []
    places = {fleet.where("routes", n, "router"): route.router or "" for n, route in enumerate(fleet.routes)}
    for task, own in tasks.items():
        watched = {path: _Watched(path, ask) for path, ask in routers.items()}
        fault = None
        try:
            decision = resolve(fleet, table, task, routers=watched, own=own)
        except FleetError as error:
            path = places.get(error.problems[0].where)
            if path is None:  # the task's own code is to blame, which has a rule of its own
                continue
            fault = _fault(watched[path], error.__cause__)
        except Exception as error:  # an answer that resolve can make nothing of, and a send neither
            fault = (_UNUSABLE, f"{type(error).__name__}: {error}", _A_ROUTER_RETURNS)
        else:
            if not decision.queues and any(one.answer is not None for one in watched.values()):
                fault = (_LOST, f'the exchange "{decision.exchange}"', _A_BOUND_EXCHANGE)
        depends = any(one.looked for one in watched.values())
        if fault is not None:
            last = [one.path for one in watched.values() if one.asked][-1]  # those before it said nothing
            where = next(place for place, path in places.items() if path == last)
            faults.append(RouterFault(task, where, last, *fault, depends))
        elif not depends:
            queues[task] = decision.queues
    return RouterReport(queues, tuple(faults))


class _Watched:
    """A router that is asked without arguments; tells whether it looked for some."""

    def __init__(self, path: str, ask: Ask) -> None:
        self.path = path
        self.asked = False
        #: None: it says nothing, and the next one is asked
        self.answer: Any = None
        #: what was done with the arguments: the answer may depend on them
        self.looked: list[str] = []
        self._ask = ask

    def __call__(self, task: str, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> Any:
        self.asked = True
        self.answer = self._ask(task, _watching(tuple, self.looked), _watching(dict, self.looked))
        return self.answer


def _watching(kind: type, looked: list[str]) -> Any:
    """Return an empty tuple or dict that notes whatever is done with it."""

    def noting(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            looked.append(name)
            return getattr(kind, name)(self, *args, **kwargs)

        return method

    own = {*dir(kind)} - {*dir(object), "__class_getitem__"} | {"__eq__", "__ne__", "__repr__", "__str__"}
    return type(kind.__name__, (kind,), {name: noting(name) for name in own})()


def _fault(router: _Watched, cause: BaseException | None) -> tuple[str, str, str]:
    """Say what a router does wrong, with what, and what to do about it."""
    if cause is not None:
        frame = [frame for frame in traceback.extract_tb(cause.__traceback__) if frame.filename != __file__][-1]
        reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        if frame.filename == asking.__file__ and isinstance(cause, TypeError):
            return "cannot be asked as Celery asks: {reason}.", reason, _HOW_CELERY_ASKS
        return "fails for {tasks}: {reason}.", reason, f"It fails at {frame.filename}:{frame.lineno}: {frame.line}"
    answer = router.answer
    if isinstance(answer, Mapping) and not isinstance(answer.get("priority"), int | None):
        return _UNUSABLE, f"its priority is {answer['priority']!r}, which is no number", _A_ROUTER_RETURNS
    named = answer.get("queue") if isinstance(answer, Mapping) else answer
    reason = f'the unknown queue "{named}"' if isinstance(named, str) else f"{named!r}, which is no queue"
    return "sends {tasks} to {reason}: a send fails.", reason, _A_ROUTER_RETURNS


_LOST = "sends {tasks} to {reason}, where no queue gets it."
_UNUSABLE = "gives an answer for {tasks} that cannot be used: {reason}."
_A_ROUTER_RETURNS = "A router returns the name of a declared queue, a mapping such as {'queue': 'mail'}, or None."
_A_BOUND_EXCHANGE = "Name the exchange of a queue, and a routing_key that the queue is bound by."
_HOW_CELERY_ASKS = (
    "A function is called with (name, args, kwargs, options, task=task), route_for_task with (task, args, kwargs)."
)
