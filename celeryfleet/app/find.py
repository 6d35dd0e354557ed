"""Finds the user's Celery app as `celery -A` does, and says why it cannot be found or imported."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.app.install import BACKENDS, loading
from celeryfleet.errors import FleetError

if TYPE_CHECKING:
    from celery import Celery


def load(name: str, django: str = "", folder: str = "") -> Celery:
    """Import the app as `celery -A name` does, with `folder` first on the path. Raises FleetError.

    An `install(app)` in the app's module does nothing meanwhile: the caller applies the settings it has.
    """
    from celery import Celery

    if folder and sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    if django:
        os.environ["DJANGO_SETTINGS_MODULE"] = django
    token = loading.set(True)
    try:
        found = _find(name)
    finally:
        loading.reset(token)
    if not isinstance(found, Celery):
        raise FleetError(f'"{name}" is no Celery app, but {type(found).__name__}.', hint=_WHAT_APP_IS)
    return found


def _find(name: str) -> Any:
    from celery.app.utils import find_app

    if "/" in name or name.endswith(".py"):
        module = name.removesuffix(".py").replace("/", ".").strip(".")
        raise FleetError(f'the app "{name}" is a file.', hint=f"Name the module: `app: {module}`.")
    try:
        return find_app(name, imp=importlib.import_module)
    except AttributeError as error:
        _expose_broken_submodule(name)
        if not _is_about_search(error):
            raise _import_failed(name, error) from error
        raise FleetError(f'no Celery app is found in "{name}": {error}.', hint=_SEARCHED) from error
    except ModuleNotFoundError as error:
        module, _, attribute = name.partition(":")
        if attribute and error.name == name:  # Celery tries the whole name as a module in the end
            raise FleetError(f'the module "{module}" has no "{attribute}".', hint=_WHAT_APP_IS) from error
        if _is_prefix(error.name or "", module):
            raise FleetError(f'the app "{name}" is not found: {error}.', hint=_WHERE) from error
        raise _import_failed(name, error) from error
    except FleetError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


_WHAT_APP_IS = "`app:` names a module, or module:attribute, as in `celery -A`."
_WHERE = "The folder of fleet.yaml is searched first, then Python's path."
_SEARCHED = "Looked for its attributes app and celery, then for any Celery app in it, then in its submodule celery."


def _is_prefix(missing: str, module: str) -> bool:
    return bool(missing) and (module == missing or f"{module}.celery".startswith(f"{missing}."))


def _is_about_search(error: AttributeError) -> bool:
    """Tell Celery's failing to find an app from an AttributeError of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return not _of_the_user(frames)


def _expose_broken_submodule(name: str) -> None:
    """Raise what `<name>.celery` fails with, which Celery's search swallows (celery/app/utils.py find_app)."""
    if ":" in name or name not in sys.modules or not hasattr(sys.modules[name], "__path__"):
        return
    try:
        importlib.import_module(f"{name}.celery")
    except ModuleNotFoundError as error:
        if error.name != f"{name}.celery":
            raise _import_failed(f"{name}.celery", error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(f"{name}.celery", error) from error


def import_tasks(app: Celery) -> None:
    """Import the app's task modules; in a Django project, Celery sets Django up first. Raises FleetError."""
    try:
        app.loader.import_default_modules()
        _import_backend(app)
    except FleetError:
        raise
    except (Exception, SystemExit) as error:
        django = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        if isinstance(error, ModuleNotFoundError) and f"{django}.".startswith(f"{error.name}."):
            raise FleetError(f'the Django settings "{django}" are not found: {error}.', hint=_WHAT_DJANGO_IS) from error
        raise _failed("the app's tasks fail to import", error) from error


def _import_backend(app: Any) -> None:
    """See to it that results can be kept; what a worker would fail with is told before one starts."""
    if app.backend_cls not in BACKENDS.values():
        return
    try:
        importlib.import_module(app.backend_cls.partition(":")[0])
    except Exception as error:
        raise FleetError(f"`results: django-db` can keep none: {error}", hint=_WHAT_DJANGO_DB_NEEDS) from error


_WHAT_DJANGO_DB_NEEDS = "It needs `django:`, django-celery-results, and django_celery_results in INSTALLED_APPS."
_WHAT_DJANGO_IS = "`django:` names the module that manage.py names: DJANGO_SETTINGS_MODULE."


def import_scheduler(app: Any, name: str = "") -> None:
    """Import the scheduler that beat is to have, `name` or else the app's own. Raises FleetError."""
    from celery.utils.imports import load_extension_class_names, symbol_by_name

    name = name or app.conf.beat_scheduler
    try:
        symbol_by_name(name, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    except (Exception, SystemExit) as error:
        raise _failed(f'the scheduler "{name}" of `beat:` fails to import', error) from error


def _import_failed(name: str, error: BaseException) -> FleetError:
    return _failed(f'the app "{name}" fails to import', error)


def _failed(what: str, error: BaseException) -> FleetError:
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = _of_the_user(traceback.extract_tb(error.__traceback__))
    lines = "".join(traceback.format_list(frames[-5:])).rstrip()
    place = (frames[-1].filename, frames[-1].lineno) if frames else None
    if isinstance(error, SyntaxError):
        lines = "".join(traceback.format_exception_only(error)[:-1]).rstrip()
        place = (error.filename, error.lineno) if error.filename else None
        reason = f"{type(error).__name__}: {error.msg}"
    at = f" at {place[0].removeprefix(f'{Path.cwd()}/')}:{place[1]}" if place else ""
    hint = f"It fails here:\n{lines}" if lines else ""
    return FleetError(f"{what}{at}: {reason}.", hint=hint)


def _of_the_user(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Drop the frames of the search and of the import machinery at the head of a traceback."""
    machinery = re.compile(r"<frozen importlib|[/\\]importlib[/\\]__init__|[/\\](celery|kombu)[/\\].*imports\.py$")
    return [
        frame
        for frame in frames
        if frame.filename != __file__
        and not machinery.search(frame.filename)
        and frame.name not in ("find_app", "symbol_by_name")
    ]
