"""Routers for Celery's `task_routes`: the one that reads a queue from a task's name, and how the user's own are asked.

`namespace` needs no fleet: `task_routes = ("celeryfleet.routers.namespace",)` works in any Celery app.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeryfleet.errors import FleetError


def namespace(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    task: Any = None,
    **_: Any,
) -> dict[str, str] | None:
    """Send `mail:welcome` to the queue `mail`: what stands before the first colon of a task's name.

    Says nothing, so that the next router is asked, about a name without a colon or with nothing before it, and about
    a queue that the app does not declare. For a task that this process does not know, any queue will do: no app is
    given with it that could tell.
    """
    queue, colon, _rest = name.partition(":")
    if not colon or not queue:
        return None
    if task is not None and queue not in task.app.amqp.queues:
        return None
    return {"queue": queue}


class UserRouter:
    """A router of the user's, imported when it is first asked, whose answers are copied before Celery gets them.

    Celery writes the options of each call into the answer (celery/app/routes.py, lpmerge): a router that returns the
    same dict each time would send everything to the queue that somebody asked for once.
    """

    def __init__(self, path: str, priority: int | None = None) -> None:
        self.path = path
        #: on the wire, of an answer that has none
        self.priority = priority
        self._found: Any = None

    def __repr__(self) -> str:
        return f"UserRouter({self.path!r})"

    def __reduce__(self) -> tuple[type[UserRouter], tuple[str, int | None]]:
        return UserRouter, (self.path, self.priority)

    def load(self, where: str = "") -> Any:
        """Import it, be it a class, an object or a function. Raises FleetError, which says `where` it is named."""
        if self._found is None:
            self._found = _imported(self.path, where)
        return self._found

    def __call__(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> dict[str, Any] | None:
        """Ask it, as Celery does, and return options of its own making, or None."""
        router = self.load()
        if hasattr(router, "route_for_task"):
            answer = router.route_for_task(name, args, kwargs)
        else:
            answer = router(name, args, kwargs, options, task=task)
        if answer is None:
            return None
        route = dict(answer) if isinstance(answer, Mapping) else {"queue": answer}
        if self.priority is not None and route.get("priority") is None:
            route["priority"] = self.priority
        return route


def _imported(path: str, where: str) -> Any:
    from kombu.utils.imports import symbol_by_name

    try:
        found = symbol_by_name(path)
        router = found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise FleetError(f'the router "{path}" cannot be imported: {reason}.', where, _WHAT_A_ROUTER_IS) from error
    if not callable(router) and not hasattr(router, "route_for_task"):
        raise FleetError(f'"{path}" is no router, but {type(router).__name__}.', where, _WHAT_A_ROUTER_IS)
    return router


_WHAT_A_ROUTER_IS = (
    "`router:` names module.attribute: a function, or a class or object with route_for_task(task, args, kwargs)."
)


def import_routers(settings: Mapping[str, Any]) -> None:
    """Import the routers of `task_routes` in JSON form, which Celery would do at the first send. Raises FleetError."""
    for item in settings.get("task_routes", ()):
        if "router" in item:
            UserRouter(item["router"]).load()


def ask_router(
    path: str, where: str = "", app: Any = None, options: Mapping[str, Any] | None = None
) -> Callable[[str, Sequence[Any], Mapping[str, Any]], Any]:
    """Return a function (task, args, kwargs) that asks a router of the user's as Celery does.

    A router that is a function also gets the call's options, and the task if it is one of the app's. Raises
    FleetError, which says `where` the router is named, if it cannot be imported.
    """
    router = UserRouter(path)
    router.load(where)

    def ask(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return router(task, args, kwargs, dict(options or {}), app.tasks.get(task) if app is not None else None)

    return ask
