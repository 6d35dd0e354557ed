"""What the file says of the broker, the results and the environment, without a credential of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from celeryfleet.fleetfile import names
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.tree import Mark, ScalarNode
from celeryfleet.importers import exported, variables
from celeryfleet.importers.found import Fate, Note, Program, Worker
from celeryfleet.plan.secrets import MASK, is_secret, masked, masked_origin

#: key of fleet.yaml → variables that name it, the surest first
_VARIABLES = {
    "broker": (
        *("CELERY_BROKER_URL", "BROKER_URL", "CELERY_BROKER"),
        *("CLOUDAMQP_URL", "RABBITMQ_URL", "AMQP_URL", "REDIS_URL"),
    ),
    "results": ("CELERY_RESULT_BACKEND", "RESULT_BACKEND", "CELERY_BACKEND", "CELERY_RESULT_BACKEND_URL"),
}
#: such as SHOP_CELERY_BROKER_URL
_PREFIXED = {
    "broker": re.compile(r"_(CELERY_)?BROKER_URL$"),
    "results": re.compile(r"_(CELERY_)?RESULT_BACKEND(_URL)?$"),
}
_OPTIONS = {"broker": "broker", "results": "result_backend"}
#: those that tell Celery alone; an app may well read REDIS_URL for a cache, too
OF_CELERY = frozenset((*_VARIABLES["broker"][:3], *_VARIABLES["results"]))
_KEY = re.compile(r"(^|_)(key|dsn|pass|pwd|auth|credentials?|webhook(_url)?|jwt|salt)$", re.IGNORECASE)
#: a password in an URL, or in a header
_CREDENTIAL = re.compile(r"://(?=:*[^/\s@:])[^/\s@]*@|\b(basic|bearer)\s+\S{8}", re.IGNORECASE)

DJANGO = "DJANGO_SETTINGS_MODULE"
#: that name an app
APP_VARIABLES = ("APP", "CELERY_APP")
#: of no use to a fleet's workers, or taken into account otherwise
_NEEDLESS = frozenset(
    ["C_FORCE_ROOT", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "CELERY_APP", "APP", "FORKED_BY_MULTIPROCESSING"]
)


def of_fleet(name: str) -> bool:
    """Tell whether fleet.yaml has a key of its own for what a variable says."""
    return name == DJANGO or name in APP_VARIABLES or any(name in names_ for names_ in _VARIABLES.values())


@dataclass(frozen=True, slots=True)
class Setting:
    """A value for `broker:` or `results:`, and where it comes from."""

    value: str
    comment: str
    #: the variable that held it, if one did, and what it held
    variable: str = ""
    text: str = ""


def setting(key: str, workers: Sequence[Worker], programs: Sequence[Program], notes: list[Note]) -> Setting | None:
    """Find `broker` or `results`: what a worker is told, else what another program is told."""
    found = []
    for name, value, where in _candidates(key, workers, programs):
        if fits(key, value):
            found.append((name, value, where))
        else:  # it is not shown, since it may hold a credential
            notes.append(Note(Fate.LOST, where, f"{name} is nothing that fleet.yaml takes as `{key}:`"))
    if not found:
        return None
    name, value, where = found[0]
    different = next((place for other, text, place in found if other == name and text != value), "")
    others = dict.fromkeys(other for other, text, _ in found if text != value)
    if different:
        what = f"{key} is {name} of this worker; at {different} it is another: a fleet has one"
        notes.append(Note(Fate.LOST, where, what))
    elif others:
        notes.append(Note(Fate.CHANGED, where, f"{key} is {name}; {', '.join(others)} says something else"))
    held = ("", "") if name[0] == "-" else (name, value)
    variable = held[0] or _VARIABLES[key][0]
    safe = without_credentials(value)
    if safe is None:
        notes.append(_kept_out(variable, where))
        return Setting(f"${{{variable}}}", f"{where} {name}, without its credential", *held)
    literal = held[0] and not variables.varies(safe)
    return Setting(f"${{{variable}:-{safe}}}" if literal else safe, f"{where} {name}", *held)


def _candidates(key: str, workers: Sequence[Worker], programs: Sequence[Program]) -> Iterator[tuple[str, str, str]]:
    """Yield (variable or option, value, where), the surest first."""
    option = _OPTIONS[key]
    for worker in workers:
        if value := worker.options.get(option):
            yield f"--{option.replace('_', '-')}", value, worker.where
    holders = [(one.env, one.where) for one in workers] + [(one.env, one.where) for one in programs]
    for name in _VARIABLES[key]:
        for env, where in holders:
            if value := env.get(name):
                yield name, value, where
    for env, where in holders:
        yield from ((name, value, where) for name, value in env.items() if value and _PREFIXED[key].search(name))


def fits(key: str, value: str) -> bool:
    """Tell whether fleet.yaml would take a value, once its variables are set."""
    tried = variables.settled(variables.tried(key, value), {}) if variables.readable(value) else None
    try:
        _READERS[key](Cursor.of(ScalarNode(tried or "", Mark(""), plain=False)))
    except Refused:
        return False
    return True


_READERS: dict[str, Callable[[Cursor], str]] = {
    "app": names.module,
    "broker": names.url,
    "django": names.module,
    "results": names.results,
}


def _kept_out(variable: str, where: str) -> Note:
    what = f"{variable} may hold a credential, which is not copied: set it in the environment or an env_file"
    return Note(Fate.LOST, where, what)


def without_credentials(value: str) -> str | None:
    """Return an URL that may be written down, its password as `${VAR}` at most; None if that is not possible."""
    default = _default(value)
    if masked(default) == default:
        return value
    origin = masked_origin(value)
    return None if MASK in origin else origin


def _default(text: str) -> str:
    """Return a text with its variables' defaults, and nothing for those that have none."""
    return variables.settled(text, dict.fromkeys(variables.required(text), "")) or ""


# --- The environment --------------------------------------------------------------------------------------


def environment(env: Mapping[str, str], where: str, notes: list[Note]) -> dict[str, str]:
    """Return what of a worker's environment belongs into fleet.yaml; what may be a credential does not."""
    kept: dict[str, str] = {}
    for name, value in env.items():
        if name == "REMAP_SIGTERM":
            what = f"{name}={value}: a stop is warm here, and cold after `stop_grace_period`"
            notes.append(Note(Fate.LOST, where, what))
        elif name in _NEEDLESS or exported.is_own(name, env) or not variables.readable(value):
            continue
        elif is_credential(name, value):
            notes.append(_kept_out(name, where))
        else:
            named = any(name in known for known in _VARIABLES.values())
            kept[name] = f"${{{name}:-{value}}}" if named and "${" not in value else value
    return kept


def is_credential(name: str, value: str) -> bool:
    default = _default(value)
    if not default.strip():
        return False  # `${PASSWORD}` tells nothing
    return bool(is_secret(name) or _KEY.search(name) or masked(default) != default or _CREDENTIAL.search(default))


def common(envs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return what all pools that have an environment have in it; nothing if there is one such pool only."""
    listed = [env for env in envs if env]
    if len(listed) < 2:
        return {}
    return {name: value for name, value in listed[0].items() if all(env.get(name) == value for env in listed)}
