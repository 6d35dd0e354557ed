"""What tasks an app has, their short names and signatures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.app import import_tasks, installs
from celeryfleet.client.names import short_names
from celeryfleet.plan.facts import AppFacts

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One registered task."""

    name: str
    #: the shortest end of its name that is its own
    short: str
    aliases: tuple[str, ...]
    #: `(x, y)`
    signature: str
    #: the first line of its docstring
    summary: str


def registered(app: Celery) -> tuple[str, ...]:
    """Import the app's task modules; return the names of the user's tasks, sorted."""
    import_tasks(app)
    return tuple(sorted(name for name in app.tasks if not name.startswith("celery.")))


def facts(app: Celery, settings: Mapping[str, Any], unknown: Mapping[str, str]) -> AppFacts:
    """Say what an app is; `settings` are its own and `unknown` no settings, read before the fleet's were applied."""
    names = registered(app)
    return AppFacts(
        tasks={name: own_options(app.tasks[name]) for name in names},
        installs=installs(app),
        settings=settings,
        unknown=unknown,
        runs={name: own_conduct(app.tasks[name]) for name in names},
    )


def own_options(task: Any) -> dict[str, Any]:
    """Return what a task's own code says of how it is sent."""
    return {key: value for key, value in task._get_exec_options().items() if value is not None}


def own_conduct(task: Any) -> dict[str, Any]:
    """Return what a task's own code says of how it is run, where that is not Celery's default."""
    from celery import Task

    found = {"acks_late": bool(task.acks_late), "default_retry_delay": task.default_retry_delay}
    return {key: value for key, value in found.items() if value and value != getattr(Task, key)}


def tasks(app: Celery, aliases: Mapping[str, str]) -> tuple[TaskInfo, ...]:
    """Describe the user's tasks, sorted by name."""
    names = registered(app)
    short = short_names(names)
    return tuple(_info(app.tasks[name], short[name], aliases) for name in names)


def signature_text(task: Any) -> str:
    """Return `(x, y=2)` as the caller sees it, without annotations."""
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return "(…)"
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(bare))


def _info(task: Any, short: str, aliases: Mapping[str, str]) -> TaskInfo:
    own = tuple(sorted(alias for alias, name in aliases.items() if name == task.name))
    doc = inspect.getdoc(task.run) or ""
    return TaskInfo(task.name, short, own, signature_text(task), doc.strip().partition("\n")[0])
