"""What the file says of the broker, the results and the environment, without a credential of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from celeryfleet.fleetfile.names import Results, Url
from celeryfleet.importers import variables
from celeryfleet.importers.found import Fate, Note, Program, Worker
from celeryfleet.plan.secrets import MASK, is_secret, masked, masked_origin

#: variables that name a broker, the surest first
_BROKERS = (
    "CELERY_BROKER_URL",
    "BROKER_URL",
    "CELERY_BROKER",
    "CLOUDAMQP_URL",
    "RABBITMQ_URL",
    "AMQP_URL",
    "REDIS_URL",
)
_RESULTS = ("CELERY_RESULT_BACKEND", "RESULT_BACKEND", "CELERY_BACKEND", "CELERY_RESULT_BACKEND_URL")
#: those that tell Celery alone; an app may well read REDIS_URL for a cache, too
OF_CELERY = frozenset((*_BROKERS[:3], *_RESULTS))
_KEY = re.compile(r"(^|_)(key|dsn|pass|pwd|auth|credentials?|webhook(_url)?|jwt|salt)$", re.IGNORECASE)
_USERINFO = re.compile(r"://[^/\s@]*[^/\s@:][^/\s@]*@")

DJANGO = "DJANGO_SETTINGS_MODULE"
#: of no use to a fleet's workers, or taken into account otherwise
_NEEDLESS = frozenset(
    ("C_FORCE_ROOT", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "CELERY_APP", "APP", "FORKED_BY_MULTIPROCESSING")
)


@dataclass(frozen=True, slots=True)
class Named:
    """A value for fleet.yaml, and where it comes from."""

    value: str
    comment: str
    #: the variable that held it, if one did, and what it held
    variable: str = ""
    text: str = ""


def broker(
    workers: Sequence[Worker], programs: Sequence[Program], beside: Mapping[str, str], notes: list[Note]
) -> Named | None:
    """Find the broker: what a worker is told, else what another program is told, else a server beside them."""
    found = _fitting("broker", _candidates(workers, programs, "broker", _BROKERS), notes)
    if found:
        return _one("broker", found, notes)
    for url, where in beside.items():
        notes.append(
            Note(Fate.CHANGED, where, f"the broker is taken to be this server, {url}: no worker is told of another one")
        )
        return Named(f"${{CELERY_BROKER_URL:-{url}}}", f"{where}, the only sign of a broker")
    return None


def results(workers: Sequence[Worker], programs: Sequence[Program], notes: list[Note]) -> Named | None:
    """Find the result backend."""
    found = _fitting("results", _candidates(workers, programs, "result-backend", _RESULTS), notes)
    return _one("results", found, notes) if found else None


def _candidates(
    workers: Sequence[Worker], programs: Sequence[Program], option: str, names: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (variable or option, value, where), the surest first."""
    for worker in workers:
        if value := worker.options.get(option):
            yield f"--{option}", value, worker.where
    holders: list[tuple[str, Mapping[str, str]]] = [(worker.where, worker.env) for worker in workers]
    holders += [(program.where, program.env) for program in programs]
    for name in names:
        for where, env in holders:
            if env.get(name):
                yield name, env[name], where


def _fitting(key: str, candidates: Iterable[tuple[str, str, str]], notes: list[Note]) -> list[tuple[str, str, str]]:
    """Leave out what fleet.yaml would refuse; it is not shown, since it may hold a credential."""
    kind = TypeAdapter[str](Url if key == "broker" else Results)
    found = []
    for name, value, where in candidates:
        tried = variables.settled(variables.tried(key, value), {}) if variables.readable(value) else None
        try:
            kind.validate_python(tried)
        except ValidationError:
            notes.append(Note(Fate.LOST, where, f"{name} is nothing that fleet.yaml takes as `{key}:`"))
        else:
            found.append((name, value, where))
    return found


def _one(key: str, found: Sequence[tuple[str, str, str]], notes: list[Note]) -> Named:
    name, value, where = found[0]
    others = dict.fromkeys(other for other, text, _ in found if text != value and (other != name or other[0] == "-"))
    different = [place for other, text, place in found if other == name and text != value]
    if different:
        notes.append(
            Note(Fate.LOST, where, f"{key} is {name} of this worker; at {different[0]} it is another: a fleet has one")
        )
    elif others:
        notes.append(Note(Fate.CHANGED, where, f"{key} is {name}; {', '.join(others)} says something else"))
    held = (name, value) if name[0] != "-" else ("", "")
    variable = name if name[0] != "-" else {"broker": "CELERY_BROKER_URL"}.get(key, "CELERY_RESULT_BACKEND")
    safe = without_credentials(value)
    if safe is None:
        notes.append(_kept_out(variable, where))
        return Named(f"${{{variable}}}", f"{where} {name}, without its credential", *held)
    if variables.varies(safe) or name[0] == "-":
        return Named(safe, f"{where} {name}", *held)
    return Named(f"${{{variable}:-{safe}}}", f"{where} {name}", *held)


def _kept_out(variable: str, where: str) -> Note:
    what = f"{variable} may hold a credential, which is not copied: set it in the environment or an env_file"
    return Note(Fate.LOST, where, what)


def without_credentials(value: str) -> str | None:
    """Return an URL that may be written down, its password as `${VAR}` at most; None if that is not possible."""
    if not variables.readable(value):
        return None
    default = variables.settled(value, _empty(value)) or ""
    if masked(default) == default:
        return value
    origin = masked_origin(value)
    return None if MASK in origin else origin


def _empty(text: str) -> dict[str, str]:
    return dict.fromkeys(variables.required(text), "")


# --- The environment --------------------------------------------------------------------------------------


def environment(env: Mapping[str, str], where: str, notes: list[Note]) -> dict[str, str]:
    """Return what of a worker's environment belongs into fleet.yaml; what may be a credential does not."""
    kept: dict[str, str] = {}
    for name, value in env.items():
        if name == "REMAP_SIGTERM":
            notes.append(
                Note(Fate.LOST, where, f"{name}={value}: a stop is warm here, and cold after `stop_grace_period`")
            )
        elif name in _NEEDLESS or not variables.readable(value):
            continue
        elif _is_credential(name, value):
            notes.append(_kept_out(name, where))
        else:
            named = name in _BROKERS or name in _RESULTS
            kept[name] = f"${{{name}:-{value}}}" if named and "${" not in value else value
    return kept


def _is_credential(name: str, value: str) -> bool:
    default = variables.settled(value, _empty(value)) or ""
    if not default.strip():
        return False  # `${PASSWORD}` tells nothing
    return bool(is_secret(name) or _KEY.search(name) or masked(default) != default or _USERINFO.search(default))


def common(envs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return what all pools that have an environment have in it; nothing if there is one such pool only."""
    listed = [env for env in envs if env]
    if len(listed) < 2:
        return {}
    return {name: value for name, value in listed[0].items() if all(env.get(name) == value for env in listed)}
