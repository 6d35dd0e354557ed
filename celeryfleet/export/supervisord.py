"""Programs of supervisord, to be included in its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from celeryfleet.errors import FleetError
from celeryfleet.export.service import SETTINGS, SETTINGS_VARIABLE, Deployment, Files, Service


def files(fleet: Deployment, folder: str) -> Files:
    """Write the programs and the settings, which they look for in `folder`. Raises FleetError."""
    for path in (fleet.folder, folder, fleet.celery):
        if not _fits(path):
            what = 'a line of its file ends at " #" and " ;", and a text has no quotes at its ends and not both kinds'
            raise FleetError(f"supervisord cannot be told of {path}: {what}.", hint="Give it another path.")
    programs = [line for service in fleet.services for line in _program(fleet, service, folder)]
    text = "\n".join([f"; The fleet {fleet.fleet}, written by `celeryfleet export supervisord`.", *programs, ""])
    return Files({f"{fleet.fleet}.conf": text, SETTINGS: fleet.settings}, tuple(_notes(fleet)))


def _program(fleet: Deployment, service: Service, folder: str) -> Iterator[str]:
    command = service.command(f"{service.name}-\0", f"{folder}/beat-schedule")
    words = shlex.join((fleet.celery, *command[1:])).replace("%", "%%").replace("\0", "%(process_num)d")
    env = {SETTINGS_VARIABLE: f"{folder}/{SETTINGS}", **service.env}
    restarts = service.pool.restart.max_restarts if service.pool else 5
    yield f"\n[program:{service.name}]"
    yield f"command={words}"
    yield f"directory={fleet.folder.replace('%', '%%')}"
    yield "environment=" + ",".join(f"{key}={_quoted(value)}" for key, value in env.items() if _fits(value))
    if service.pool:
        yield f"numprocs={service.replicas}"
        yield "numprocs_start=1"
        yield "process_name=%(program_name)s-%(process_num)d"
    yield "autorestart=true"
    yield f"startretries={restarts}"
    yield "stopsignal=TERM"
    yield f"stopwaitsecs={service.grace:g}"
    yield "stopasgroup=false"
    yield "killasgroup=true"
    yield "redirect_stderr=true"


def _notes(fleet: Deployment) -> Iterator[str]:
    odd = [key for one in fleet.services for key, value in one.env.items() if not _fits(value)]
    if names := list(dict.fromkeys([*fleet.missing, *odd])):
        yield f"supervisord itself must be started with {', '.join(names)} in its environment"
    if fleet.env_files:
        yield f"supervisord itself must be started with what {', '.join(fleet.env_files)} sets in its environment"
    yield "supervisord does not find a worker that hangs"


def _fits(value: str) -> bool:
    """Tell whether its configuration can hold a value: a comment begins anywhere, and no quote has an escape."""
    quotes = value.strip("'\"") != value or ("'" in value and '"' in value)
    return value.isprintable() and " ;" not in value and " #" not in value and not quotes


def _quoted(value: str) -> str:
    quote = "'" if '"' in value else '"'
    return quote + value.replace("%", "%%") + quote
