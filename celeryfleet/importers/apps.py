"""Which Celery app a fleet runs: the one that all its workers name, or the one that is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from celeryfleet.errors import FleetError
from celeryfleet.importers import variables
from celeryfleet.importers.environment import DJANGO, fits
from celeryfleet.importers.found import Fate, Note, Worker
from celeryfleet.text import listed

_HINT = "Name it: --app shop.celery"


def _alike(app: str) -> str:
    """Return what `shop`, `shop.celery` and `shop.celery:app` have in common: Celery finds the same app by each."""
    module = re.sub(r"(:|\.)(app|celery|celery_app)$", "", app)
    return re.sub(r"\.celery$", "", module) or app


def choose(
    workers: Sequence[Worker], others: Sequence[str], wanted: str, file: str, notes: list[Note]
) -> tuple[str, str, list[Worker]]:
    """Return the app, where it comes from, and the workers that run it. Raises FleetError.

    `others` are apps of the file's other Celery commands; `wanted` is what the user chose.
    """
    named: dict[str, list[Worker]] = {}
    for worker in workers:
        named.setdefault(_alike(worker.app), []).append(worker)
    unnamed = named.pop("", [])
    if wanted:
        return _wanted(wanted, named, unnamed, file, notes)
    if len(named) > 1:
        first = next(iter(named.values()))[0].app
        what = f"the workers run {len(named)} different apps, and a fleet has one."
        raise FleetError(what, file, f"{_who(named)}\nMake a fleet of each: --app {first} takes its workers only.")
    if not named:
        return (*_guessed(unnamed, others, notes), list(workers))
    (members,) = named.values()
    app = members[0].app
    _check(app, members[0].where)
    for text in dict.fromkeys(worker.app for worker in members if worker.app != app):
        where = next(worker.where for worker in members if worker.app == text)
        notes.append(Note(Fate.CHANGED, where, f"`-A {text}` is taken for the app {app}, as Celery does"))
    for worker in unnamed:
        notes.append(Note(Fate.CHANGED, worker.where, f"it names no app: {app} is taken", worker.name))
    return app, f"{members[0].where} -A", list(workers)


def _wanted(
    wanted: str, named: Mapping[str, list[Worker]], unnamed: list[Worker], file: str, notes: list[Note]
) -> tuple[str, str, list[Worker]]:
    _check(wanted, "--app")
    members = named.get(_alike(wanted), []) if named else unnamed
    if not members:
        raise FleetError(f"no worker runs the app {wanted}.", file, _who(named))
    if not named:
        return wanted, "--app", members
    for worker in (worker for rest in (*named.values(), unnamed) if rest is not members for worker in rest):
        what = f"it runs another app, {worker.app}" if worker.app else "it names no app"
        notes.append(Note(Fate.LOST, worker.where, what, worker.name))
    app = next((worker.app for worker in members if worker.app == wanted), members[0].app)
    return app, f"{members[0].where} -A", members


def _who(named: Mapping[str, Sequence[Worker]]) -> str:
    return "\n".join(
        f"{members[0].app}: {listed(f'{worker.name} ({worker.where})' for worker in members)}"
        for members in named.values()
    )


def _guessed(unnamed: Sequence[Worker], others: Sequence[str], notes: list[Note]) -> tuple[str, str]:
    """Guess the app of workers none of which names one. Raises FleetError."""
    first = unnamed[0]
    settings = next((worker.env[DJANGO] for worker in unnamed if worker.env.get(DJANGO)), "")
    package = "" if variables.varies(settings) else settings.partition(".")[0]
    if others:
        app, origin, why = others[0], "the other commands' -A", f"that of the others, {others[0]}, is taken"
    elif package:
        app, origin = f"{package}.celery", f"a guess after {DJANGO}={settings}"
        why = f"{app} is {origin}"
    else:
        gone = "`manage.py celery` is django-celery's, which Celery 4 left behind: write a celery.py. "
        raise FleetError(f"{first.name} names no app: it has no -A.", first.where, first.django * gone + _HINT)
    notes.append(Note(Fate.CHANGED, first.where, f"it names no app: {why}", first.name))
    return app, origin


def _check(app: str, where: str) -> None:
    if not fits("app", app):
        hint = f"Celery wants a module, perhaps with an attribute. {_HINT}"
        raise FleetError(f'the app is "{app}", which Python could not import.', where, hint)


def django(workers: Sequence[Worker], notes: list[Note]) -> tuple[str, str]:
    """Return DJANGO_SETTINGS_MODULE and where it is set, if all workers have the same."""
    found: dict[str, str] = {}
    for worker in workers:
        if worker.env.get(DJANGO):
            found.setdefault(worker.env[DJANGO], f"{worker.where} {DJANGO}")
    if len(found) > 1:
        where = next(iter(found.values())).removesuffix(f" {DJANGO}")
        notes.append(Note(Fate.CHANGED, where, f"workers have different {DJANGO}s: each pool has its own"))
    value, origin = next(iter(found.items()), ("", ""))
    return (value, origin) if len(found) == 1 and fits("django", value) else ("", "")
