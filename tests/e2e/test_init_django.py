"""`init django` in projects as Django and its tutorials lay them out: files are read, and only new ones written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from celeryfleet.cli.init_app import named
from celeryfleet.cli.init_django import find, start
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import read

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
APP = 'from celery import Celery\napp = Celery("core")\n'
_AFTER = "after the app's configuration, so that whoever imports it sends to the fleet"
APP += 'app.config_from_object("django.conf:settings", namespace="CELERY")\n'


def project(folder: Path, settings: str, files: dict[str, str]) -> Path:
    """Write a project's files; return where fleet.yaml would be."""
    (folder / "manage.py").write_text(MANAGE.format(settings))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "fleet.yaml"


@pytest.mark.parametrize(
    ("settings", "files", "app", "variable"),
    [
        ("core.settings", {"core/celery.py": APP}, "core", "app"),
        ("core.settings", {"core/celery_app.py": APP}, "core.celery_app", "app"),
        (
            "core.settings",
            {"core/__init__.py": "", "worker/celery.py": 'celery: Celery = Celery("x")\n'},
            "worker",
            "celery",
        ),
        ("config.settings.local", {"config/celery.py": "application = celery.Celery()\n"}, "config", "application"),
        ("settings", {"jobs.py": APP}, "jobs", "app"),
        ("settings", {}, "celery_app", "app"),
        ("core.settings", {"core/views.py": "from core.celery import app\n"}, "core", "app"),
    ],
)
def test_the_app_is_found_wherever_it_is_made(
    tmp_path: Path, settings: str, files: dict[str, str], app: str, variable: str
) -> None:
    project(tmp_path, settings, files)
    found = find(tmp_path)
    assert (found.settings, named(found.app_file), found.variable) == (settings, app, variable)


@pytest.mark.parametrize(("installed", "results"), [("'django_celery_results',", "django-db"), ("", "embedded")])
def test_results_are_rows_where_django_celery_results_is_installed(
    tmp_path: Path, installed: str, results: str
) -> None:
    files = {"core/celery.py": APP, "core/settings/base.py": f"INSTALLED_APPS = [{installed}]\n"}
    target = project(tmp_path, "core.settings.local", files)
    list(start(target))
    fleet = read(target, {})
    assert (fleet.django, fleet.app, fleet.results) == ("core.settings.local", "core", results)
    assert read(target, {"DJANGO_SETTINGS_MODULE": "core.settings.live"}).django == "core.settings.live"


def test_nothing_that_is_there_is_changed_and_what_is_left_to_do_is_told(tmp_path: Path) -> None:
    settings = 'CELERY_BROKER_URL = "redis://redis/3"\n'
    target = project(
        tmp_path, "core.settings", {"core/celery.py": APP, "core/__init__.py": "", "core/settings.py": settings}
    )
    before = {path: path.read_text() for path in tmp_path.rglob("*.py")}
    assert list(start(target)) == [
        f"wrote {target}",
        f"Add to {tmp_path}/core/celery.py, {_AFTER}:",
        "    import celeryfleet\n    celeryfleet.install(app)",
        f"Add to {tmp_path}/core/__init__.py, so that @shared_task and .delay() use this app in every process:",
        "    from .celery import app as celery_app",
        "Now: celeryfleet check, then celeryfleet up -d --wait, then celeryfleet status",
    ]
    assert {path: path.read_text() for path in tmp_path.rglob("*.py")} == before
    assert read(target, {}).broker.url == "redis://redis/3", "the one that the settings name"
    with pytest.raises(FleetError, match="never overwrites"):
        list(start(target))


def test_a_project_that_follows_the_page_has_nothing_left_to_do(tmp_path: Path) -> None:
    ready = {
        "core/celery.py": f"import celeryfleet\n{APP}celeryfleet.install(app)\n",
        "core/__init__.py": "from .celery import app\n",
        "core/settings.py": "",
    }
    target = project(tmp_path, "core.settings", ready)
    assert [line.split()[0] for line in start(target)] == ["wrote", "Now:"]


@pytest.mark.parametrize(
    ("manage", "what"),
    [(None, "no Django project is here"), ("print('hello')\n", "does not name DJANGO_SETTINGS_MODULE")],
)
def test_without_a_project_it_says_where_to_run(tmp_path: Path, manage: str | None, what: str) -> None:
    if manage is not None:
        (tmp_path / "manage.py").write_text(manage)
    with pytest.raises(FleetError, match=what):
        list(start(tmp_path / "fleet.yaml"))
    assert not (tmp_path / "fleet.yaml").exists()


def test_a_new_project_of_django_s_has_a_fleet_that_checks_clean(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY", "DJANGO"))}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    run("django", "startproject", "shop", ".")
    assert "wrote shop/celery.py\n" in run("celeryfleet", "init", "django")
    (tmp_path / "shop" / "tasks.py").write_text(
        "from celery import shared_task\n\n@shared_task\ndef add(x, y):\n    return x + y\n"
    )
    settings = (tmp_path / "shop" / "settings.py").read_text()
    (tmp_path / "shop" / "settings.py").write_text(settings.replace("INSTALLED_APPS = [", "INSTALLED_APPS = ['shop',"))
    assert "0 warnings" in run("celeryfleet", "check", "--strict")
