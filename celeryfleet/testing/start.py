"""From a fleet.yaml to a fleet of a test: the same plan, but on a broker, in a folder and under a name of its own."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from celeryfleet import machine
from celeryfleet.app import import_tasks, load
from celeryfleet.cli import launch
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import NAME, find, parse, read_text
from celeryfleet.plan.build import build
from celeryfleet.protocol import Attach
from celeryfleet.supervise.program import find_server
from celeryfleet.testing.apps import Apps
from celeryfleet.testing.fleet import Fleet

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet as Declared
    from celeryfleet.plan.values import Plan

#: keys of `celery:` by which a fleet.yaml names a broker or results that are no test's
_ELSEWHERE = ("broker_", "result_backend", "redis_")
#: parts of a fleet that act by themselves, or elsewhere: a test has them if it asks for them
_LEFT_OUT = ("beat", "alerts", "hosts")
#: results that are kept as fleet.yaml says
_KEPT = ("none", "django-db")
#: seconds that a task has to end when pytest was killed
_GRACE = 5.0
_SETTINGS = "celeryfleet_test_settings"


def start(
    source: str | Path | None,
    overrides: Mapping[str, Any],
    folder: Path,
    timeout: float,
    make_databases: Callable[[], None],
) -> Fleet:
    """Start a fleet whose files all lie in `folder`; its workers run where its fleet.yaml lies. Raises FleetError."""
    fleet = _declared(source, overrides)
    with pytest.MonkeyPatch.context() as patch:
        if any(app.django for app in fleet.named_apps.values()):
            make_databases()
            fleet = _on_test_databases(fleet, folder)
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        plan = _isolated(fleet, folder)
        client, _ = launch.start(plan)
        try:
            client.do(Attach())
            apps = Apps([_loaded(plan, app.path) for app in plan.apps], plan.settings, folder / "settings.json")
            launch.await_ready(client, timeout)
        except BaseException:
            client.close()
            raise
    return Fleet(plan, client, apps, folder, {alias: entry.task for alias, entry in fleet.tasks.items()})


def _declared(source: str | Path | None, overrides: Mapping[str, Any]) -> Declared:
    if isinstance(source, str) and "\n" in source:
        text, file, shown = source, Path.cwd() / NAME, "the fleet of the test"
    else:
        file = Path(source).absolute() if source else find(Path.cwd())
        shown = os.path.relpath(file)
        text = read_text(file, shown)
    over = {"name": f"test-{uuid.uuid4().hex[:8]}", "broker": "embedded", **overrides}
    fleet = parse(
        text,
        str(file),
        os.environ,
        shown=shown,
        override=(json.dumps(over, default=str), "the overrides of the test"),
        opened=lambda name: read_text(file.parent / name, name),
    )
    unwanted: dict[str, Any] = {
        part.name: part.default if part.default_factory is MISSING else part.default_factory()
        for part in fields(fleet)
        if part.name in _LEFT_OUT and part.name not in overrides
    }
    celery = {k: v for k, v in fleet.celery.items() if not k.startswith(_ELSEWHERE) or k in overrides.get("celery", ())}
    results = fleet.results if "results" in overrides or fleet.results in _KEPT else "embedded"
    return replace(fleet, celery=celery, results=results, **unwanted)


def _isolated(fleet: Declared, folder: Path) -> Plan:
    """Plan it with all files in a folder of the test, and so that it ends soon when the test has."""
    facts = replace(machine.facts(fleet), folder=str(folder), server=find_server(fleet.broker.server))
    plan = build(fleet, facts)
    return replace(plan, pools=tuple(replace(pool, grace=min(_GRACE, pool.grace)) for pool in plan.pools))


def _on_test_databases(fleet: Declared, folder: Path) -> Declared:
    """Have the workers of a Django project use the settings and the databases that this process uses.

    A worker is a process of its own, which would read the name of the real database from the settings.
    """
    from django.db import connections

    declared = next(app.django for app in fleet.named_apps.values() if app.django)
    project = os.environ.setdefault("DJANGO_SETTINGS_MODULE", declared)
    names = {}
    for alias in connections:
        names[alias] = str(connections[alias].settings_dict["NAME"])
        if getattr(connections[alias], "is_in_memory_db", bool)():
            raise FleetError(
                f'the test database "{alias}" is in the memory of this process, where no worker can see it.',
                hint=f'Name a file in the settings: DATABASES["{alias}"]["TEST"] = {{"NAME": "test.sqlite3"}}',
            )
    loop = f"for alias, name in {names!r}.items():\n    DATABASES[alias]['NAME'] = name\n"
    (folder / f"{_SETTINGS}.py").write_text(f"from {project} import *\n\n{loop}", "utf-8")
    apps = {name: replace(app, django=app.django and _SETTINGS) for name, app in fleet.apps.items()}
    return replace(fleet, django=fleet.django and _SETTINGS, apps=apps)


def _loaded(plan: Plan, name: str) -> Any:
    """Import an app into this process, where its tasks are sent from."""
    for key, value in plan.env.items():
        os.environ.setdefault(key, value)
    app = load(name, folder=str(Path(plan.file).parent))
    import_tasks(app)
    return app
