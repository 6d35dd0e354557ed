"""Which Celery apps a fleet runs: those that its workers name, or the one that is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.names import pool_problem
from celeryfleet.importers import variables
from celeryfleet.importers.environment import DJANGO, fits
from celeryfleet.importers.found import Beat, Fate, Note, Worker
from celeryfleet.text import listed

_HINT = "Name it: --app shop.celery"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The apps of a fleet, and the workers that run them."""

    #: by name, which is empty where there is one
    apps: Mapping[str, str]
    #: where they come from
    origin: str
    workers: Sequence[Worker]
    beats: Sequence[Beat]

    def name_of(self, app: str) -> str:
        """Return the name of what a worker, or a beat, calls its app; of none that it names, the first."""
        found = [name for name, one in self.apps.items() if alike(one) == alike(app)]
        return (found or list(self.apps))[0]


def alike(app: str) -> str:
    """Return what `shop`, `shop.celery` and `shop.celery:app` have in common: Celery finds the same app by each."""
    module = re.sub(r"(:|\.)(app|celery|celery_app)$", "", app)
    return re.sub(r"\.celery$", "", module) or app


def choose(
    workers: Sequence[Worker], beats: Sequence[Beat], others: Sequence[str], wanted: str, file: str, notes: list[Note]
) -> Chosen:
    """Return the apps, where they come from, and the workers and beats that run them. Raises FleetError.

    `others` are apps of the file's other Celery commands; `wanted` is what the user chose.
    """
    named: dict[str, list[Worker]] = {}
    for worker in workers:
        named.setdefault(alike(worker.app), []).append(worker)
    unnamed = named.pop("", [])
    if wanted:
        return _wanted(wanted, named, unnamed, beats, file, notes)
    if not named:
        app, origin = _guessed(unnamed, others, notes)
        return Chosen({"": app}, origin, workers, beats)
    for members in named.values():
        app = members[0].app
        _check(app, members[0].where)
        for text in dict.fromkeys(worker.app for worker in members if worker.app != app):
            where = next(worker.where for worker in members if worker.app == text)
            notes.append(Note(Fate.CHANGED, where, f"`-A {text}` is taken for the app {app}, as Celery does"))
    firsts = [members[0] for members in named.values()]
    for worker in unnamed:
        notes.append(Note(Fate.CHANGED, worker.where, f"it names no app: {firsts[0].app} is taken", worker.name))
    apps = [first.app for first in firsts]
    for beat in beats[:1]:  # a fleet has one; its schedule may be that of an app of its own
        if beat.app and alike(beat.app) not in named:
            _check(beat.app, beat.where)
            apps.append(beat.app)
        elif not beat.app and len(apps) > 1:
            notes.append(Note(Fate.CHANGED, beat.where, f"beat names no app: {apps[0]} is taken"))
    if len(apps) == 1:
        return Chosen({"": apps[0]}, f"{firsts[0].where} -A", workers, beats)
    return Chosen(_names(apps), f"{file} -A", workers, beats)


def _names(apps: Sequence[str]) -> dict[str, str]:
    """Name apps by their packages: `shop` for shop.celery:app."""
    named: dict[str, str] = {}
    for app in apps:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", alike(app).rpartition(".")[2]).strip("-")
        name = stem if stem and not pool_problem(stem) else "app"
        while name in named:
            name += "_"
        named[name] = app
    return named


def _wanted(
    wanted: str,
    named: Mapping[str, list[Worker]],
    unnamed: list[Worker],
    beats: Sequence[Beat],
    file: str,
    notes: list[Note],
) -> Chosen:
    _check(wanted, "--app")
    members = named.get(alike(wanted), []) if named else unnamed
    if not members:
        raise FleetError(f"no worker runs the app {wanted}.", file, _who(named))
    kept = [beat for beat in beats if not beat.app or alike(beat.app) == alike(wanted)]
    others = [beat for beat in beats if beat not in kept]
    notes += [Note(Fate.LOST, beat.where, f"its beat runs another app, {beat.app}") for beat in others]
    if not named:
        return Chosen({"": wanted}, "--app", members, kept)
    for worker in (worker for rest in (*named.values(), unnamed) if rest is not members for worker in rest):
        what = f"it runs another app, {worker.app}" if worker.app else "it names no app"
        notes.append(Note(Fate.LOST, worker.where, what, worker.name))
    app = next((worker.app for worker in members if worker.app == wanted), members[0].app)
    return Chosen({"": app}, f"{members[0].where} -A", members, kept)


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
