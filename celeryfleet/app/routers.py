"""Imports the user's routers and asks them as Celery does."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.routing.routes import asks_code

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.routing.resolve import Ask


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
        """Import it: a class, an object or a function. Raises FleetError, which says `where` it is named."""
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


def askers(fleet: Fleet, app: Any = None, options: Mapping[str, Any] | None = None) -> dict[str, Ask]:
    """Import the user's routers among a fleet's routes; return what asks them, by their paths.

    A router that is a function also gets the call's `options`, and the task if it is one of the app's. Raises
    FleetError for one that cannot be imported, and so does asking one that fails.
    """
    found: dict[str, Ask] = {}
    for index, route in enumerate(fleet.routes):
        if route.router is not None and asks_code(route) and route.router not in found:
            where = fleet.where("routes", index, "router")
            router = UserRouter(route.router)
            router.load(where)
            found[route.router] = asker(router, where, app, options)
    return found


def asker(router: UserRouter, where: str = "", app: Any = None, options: Mapping[str, Any] | None = None) -> Ask:
    """Return what asks one router about (task, args, kwargs), as in `askers`; `where` is where it is named."""

    def ask(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        known = app.tasks.get(task) if app is not None else None
        try:
            return router(task, args, kwargs, dict(options or {}), known)
        except FleetError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"It fails at {last.filename}:{last.lineno}: {last.line}"
            raise FleetError(f'the router "{router.path}" fails for {task}: {reason}.', where, place) from error

    return ask
