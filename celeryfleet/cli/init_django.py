"""Starts a fleet for a Django project that is there: reads its files, runs none of them, and changes none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from celeryfleet.cli import init_app
from celeryfleet.cli.asking import told_by
from celeryfleet.cli.templates import save, text
from celeryfleet.errors import FleetError

_SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([\w.]+)["']""")
_RESULTS = "django_celery_results"
_ROWS = "results: django-db                # rows of django-celery-results, with worker, queue and task name"
_NO_ROWS = "results: embedded                 # django-db: rows in your database, with django-celery-results installed"


@dataclass(frozen=True, slots=True)
class Project:
    """What a project's files tell of it."""

    folder: Path
    #: `core.settings`, as manage.py has it
    settings: str
    #: the package of the settings, `core`; empty where they are a module by themselves
    package: str
    #: the file that makes the Celery app, within the folder; where it should be, if there is none
    app_file: Path
    #: the app's variable in it
    variable: str
    #: whether django-celery-results is among the settings
    keeps_rows: bool


def start(target: Path) -> Iterator[str]:
    """Write fleet.yaml, and the Celery app's module if there is none; tell what was done and what is left to do."""
    project = find(target.parent)
    app_file = project.folder / project.app_file
    new_app = not app_file.exists()
    made = [(app_file, text("celery.py.txt", settings=project.settings, package=project.package or "app"))]
    for path in save(made if new_app else [], target):
        yield f"wrote {path}"
    app = init_app.named(project.app_file)
    told, reason = told_by(app, project.settings, project.folder, init_app.beside(project.folder))
    rows = _ROWS if project.keeps_rows else _NO_ROWS
    words = init_app.sections(told, text("queues.yaml").rstrip(), project.folder, rows)
    for path in save([(target, text("django.yaml", settings=project.settings, app=app, **words))]):
        yield f"wrote {path}"
    if told is None:
        yield f"The app was not asked for its broker, queues and routes: {reason}"
    yield from init_app.missing(app_file, project.variable)
    package = app_file.with_name("__init__.py")
    if package != app_file and project.package and not _mentions(package, "celery"):
        yield f"Add to {package}, so that @shared_task and .delay() use this app in every process:"
        yield f"    from .{project.app_file.stem} import {project.variable} as celery_app"
    yield "Now: celeryfleet check, then celeryfleet up -d --wait, then celeryfleet status"


def find(folder: Path) -> Project:
    """Read a project's files. Raises FleetError where there is none."""
    manage = folder / "manage.py"
    if not manage.is_file():
        raise FleetError(
            f"no Django project is here: there is no {manage}.",
            hint="Run it in the folder of manage.py. For any other app: `celeryfleet init app`.",
        )
    named = _SETTINGS.search(manage.read_text("utf-8"))
    if named is None:
        raise FleetError(
            f"{manage} does not name DJANGO_SETTINGS_MODULE.",
            hint="`celeryfleet init app`, and then `django:` with the module of your settings.",
        )
    settings = named[1]
    package = settings.partition(".")[0] if "." in settings else ""
    # A celery.py beside manage.py would be imported in Celery's place.
    usual = Path(package, "celery.py") if package else Path("celery_app.py")
    app_file, variable = init_app.find(folder, package, usual) or (usual, "app")
    return Project(folder, settings, package, app_file, variable, _keeps_rows(folder, settings))


def _keeps_rows(folder: Path, settings: str) -> bool:
    module = folder.joinpath(*settings.split("."))
    files = [module.with_suffix(".py"), *module.parent.glob("*.py")] if "." in settings else [module.with_suffix(".py")]
    return any(_mentions(path, _RESULTS) for path in [*files, *module.glob("*.py")])


def _mentions(path: Path, word: str) -> bool:
    return path.is_file() and word in path.read_text("utf-8", "replace")
