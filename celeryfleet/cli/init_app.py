"""Starts a fleet for an app that is there: it is asked for its queues, routes and broker, and none of it is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.cli.asking import told_by
from celeryfleet.cli.templates import save, text
from celeryfleet.cli.templates import start as start_template

if TYPE_CHECKING:
    from celeryfleet.fleetfile.told import Told

_APP = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:celery\.)?Celery\(", re.MULTILINE)
_BROKER = "broker: ${BROKER_URL:-embedded}   # embedded: a broker of its own, in .celeryfleet/"
_ENV_FILE = "env_file: .env                    # then ${VAR} and ${VAR:-default} work in every value"
_RESULTS = "results: embedded                 # the broker, where it can keep results; or any result backend"


def start(target: Path) -> Iterator[str]:
    """Write fleet.yaml for the app in this folder, or one to start from if there is none; tell what is left to do."""
    folder = target.parent
    found = find(folder)
    if found is None:
        yield from start_template("app", target)
        return
    file, variable = found
    app = f"{'.'.join(file.with_suffix('').parts).removesuffix('.__init__')}:{variable}"
    told, reason = told_by(app, "", folder, beside(folder))
    words = sections(told, text("queues.yaml").rstrip(), folder)
    for path in save([(target, text("existing.yaml", app=app, **words))]):
        yield f"wrote {path}, for the app in {folder / file}"
    if told is None:
        yield f"The app was not asked for its queues and routes: {reason}"
    yield from missing(folder / file, variable)
    yield "Now: celeryfleet check, then celeryfleet up -d --wait, then celeryfleet status"


def find(folder: Path, package: str = "", usual: Path | None = None) -> tuple[Path, str] | None:
    """Find the file that makes the Celery app, within the folder, and the app's name in it."""
    inner = [*sorted((folder / package).glob("*.py")), *sorted(folder.glob("*/*.py")), *sorted(folder.glob("*.py"))]
    for path in [folder / usual, *inner] if usual is not None else inner:
        made = _APP.search(path.read_text("utf-8", "replace")) if path.is_file() else None
        if made:
            return path.relative_to(folder), made[1]
    return None


def named(file: Path) -> str:
    """Name an app's file as `celery -A` does: `core` for core/celery.py."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] in ("celery", "__init__") else parts)


def missing(app_file: Path, variable: str) -> Iterator[str]:
    """Say which line the app's own file lacks, and where it goes."""
    if "celeryfleet.install(" not in app_file.read_text("utf-8"):
        yield f"Add to {app_file}, after the app's configuration, so that whoever imports it sends to the fleet:"
        yield f"    import celeryfleet\n    celeryfleet.install({variable})"


def beside(folder: Path) -> dict[str, str]:
    """Return the variables of the .env in this folder, if there is one. Raises FleetError."""
    from celeryfleet.fleetfile.load import read_env_files

    return read_env_files([folder / ".env"]) if (folder / ".env").is_file() else {}


def sections(told: Told | None, otherwise: str, folder: Path, results: str = _RESULTS) -> dict[str, str]:
    """Write the sections of which the app tells; `otherwise` are queues, routes and pools where it has no own."""
    from celeryfleet.fleetfile.writing import flow
    from celeryfleet.importers.told import definition, queues
    from celeryfleet.importers.yamltext import listing, scalar

    words = {"broker": _BROKER, "results": results, "queues": otherwise}
    words["env_file"] = f"{'' if (folder / '.env').is_file() else '# '}{_ENV_FILE}"
    if told is None:
        return words
    if told.names_broker:
        kept_out = "broker: ${BROKER_URL}             # the app's holds a credential: put it into this variable"
        words["broker"] = f"broker: {scalar(told.broker)}  # the app's own" if told.broker else kept_out
    if told.results:
        words["results"] = f"results: {scalar(told.results)}  # the app's own"
    names = [*told.queues, *(name for name, _ in queues(told, told.queues))]
    if told.routes or names != ["celery"]:
        lines = ["queues:", *(f"  {scalar(name)}:{definition(told, name)}" for name in names), ""]
        lines += [f"default_queue: {scalar(told.default_queue)}", ""]
        if told.routes:
            lines += ["routes:                           # the app's task_routes; first match wins, top to bottom"]
            lines += [*(f"  - {flow(route)}" for route in told.routes), ""]
        lines += ["pools:                            # each is N identical `celery worker -Q …` processes"]
        lines += ["  web:", f"    queues: {listing(names)}"]
        lines += ["    order: round_robin            # in turn, as Celery does; strict: the first one first"]
        words["queues"] = "\n".join(lines)
    return words
