"""A Procfile, for honcho, foreman and the like: a line for each worker."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from celeryfleet.export.service import SETTINGS, SETTINGS_VARIABLE, Deployment, Files, Service


def files(fleet: Deployment, folder: str) -> Files:
    """Write a Procfile and the settings."""
    lines = [line for service in fleet.services for line in _lines(service)]
    text = "\n".join([f"# The fleet {fleet.fleet}, written by `celeryfleet export procfile`.", *lines, ""])
    return Files({"Procfile": text, SETTINGS: fleet.settings}, tuple(_notes(fleet, folder)))


def _lines(service: Service) -> Iterator[str]:
    names = [service.name] if service.replicas == 1 else [f"{service.name}-{n}" for n in range(1, service.replicas + 1)]
    env = {SETTINGS_VARIABLE: SETTINGS, **service.env}
    for name in names if service.replicas else ():
        assigned = " ".join(f"{key}={shlex.quote(value)}" for key, value in env.items() if value.isprintable())
        yield f"{name}: {assigned} exec {shlex.join(service.command(name))}"


def _notes(fleet: Deployment, folder: str) -> Iterator[str]:
    odd = [key for one in fleet.services for key, value in one.env.items() if not value.isprintable()]
    if names := list(dict.fromkeys([*fleet.missing, *odd])):
        yield f"a Procfile cannot hold {', '.join(names)}: set them in .env, or in the environment"
    if others := [name for name in fleet.env_files if name != ".env"]:
        yield f"honcho reads .env alone: name {', '.join(others)} with -e"
    if idle := [service.name for service in fleet.services if not service.replicas]:
        yield f"{', '.join(idle)} has no replicas, and so no line"
    if folder != fleet.folder:
        yield f"both files belong into {fleet.folder}"
    yield "honcho ends workers and their children at once, in mid-task: stop_grace_period does not hold"
