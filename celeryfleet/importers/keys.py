"""The options of a worker → the keys of its pool, each with the option it comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from celeryfleet.fleetfile import names
from celeryfleet.importers import variables, yamltext
from celeryfleet.importers.command import BEAT
from celeryfleet.importers.found import Fate, Line, Worker
from celeryfleet.importers.options import LOGS
from celeryfleet.text import listed

#: what Celery reads where nothing is said
CELERY_QUEUE = "celery"
_POOLS = ("prefork", "threads", "gevent", "eventlet", "solo")
_MOST = 100_000

#: tells what becomes of an option
Tell = Callable[[Fate, str], None]


@dataclass(slots=True)
class Keys:
    """A pool as a worker's options describe it."""

    queues: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def keys(worker: Worker, known: Mapping[str, str], tell: Tell) -> Keys:
    """Describe a worker's pool; `known` are variables whose values are given."""
    found = Keys()
    said = worker.options
    found.queues = _queues(said, known, found, tell)
    found.lines += _processes(said, known, tell)
    for option, key in (("max-tasks-per-child", "max_tasks_per_child"), ("prefetch-multiplier", "prefetch_multiplier")):
        least = 0 if key == "prefetch_multiplier" else 1
        found.lines += _counted(said, option, key, least, tell)
    found.lines += _memory(said, tell)
    found.lines += _limits(said, tell)
    if "task-events" in said:
        found.lines.append(Line("events", "true", "-E"))
    if "disable-prefetch" in said:
        found.lines.append(Line("celery", "{worker_disable_prefetch: true}", "--disable-prefetch"))
    found.lines += worker.program.lines
    for option in said:
        if option in _FATES and (option, said[option]) != ("optimization", "fast"):
            fate, what = _FATES[option]
            tell(fate, f"{_written(option, said)}{what}")
    _tell_level(said, tell)
    return found


def _written(option: str, said: Mapping[str, str]) -> str:
    value = said[option]
    if option in _SHORT:
        return f"`{_SHORT[option]} {value}".rstrip() + "`"
    return f"`--{option}={value}`" if value else f"`--{option}`"


#: options that everyone knows by their letter
_SHORT = {"beat": "-B", "detach": "-D", "include": "-I", "optimization": "-O", "schedule": "-s", "statedb": "-S"}


# --- Queues -----------------------------------------------------------------------------------------------

#: what a worker without -Q reads is in the app, which nobody imports here
_NO_QUEUES = (
    f"no -Q: {CELERY_QUEUE} is a guess. If the app has task_queues, a worker without -Q reads them all: list them "
    "here; `celeryfleet check` names tasks whose queue is not declared"
)


def _queues(said: Mapping[str, str], known: Mapping[str, str], found: Keys, tell: Tell) -> list[str]:
    written = said.get("queues", "")
    excluded = [name.strip() for name in said.get("exclude-queues", "").split(",") if name.strip()]
    comment, text = f"-Q {written}", variables.settled(written, known)
    if not written:
        comment, text = "a guess, for there is no -Q: Celery's own default queue", CELERY_QUEUE
        tell(Fate.CHANGED, _NO_QUEUES)
    elif text is None:
        tell(
            Fate.LOST,
            f"`-Q {written}`: the file does not tell what it holds. Write the queues into fleet.yaml, or give the "
            "variable: `celeryfleet --env-file .env import …`",
        )
        comment, text = f"-Q {written}: unknown here; write the queues", CELERY_QUEUE
    elif text != written:
        comment = f"-Q {written}: fixed here"
        tell(Fate.CHANGED, f"`-Q {written}` is taken as {text}: a variable does not change the queues of a fleet")
    queues = _named(text, excluded, tell)
    if excluded:
        tell(
            Fate.LOST,
            f"`-X {', '.join(excluded)}`: a pool reads the queues that it names"
            + ("" if written else "; name the others of the app's task_queues"),
        )
    found.lines.append(Line("queues", yamltext.listing(queues), comment))
    if len(queues) > 1:
        found.lines.append(Line("order", "round_robin", "as Celery reads them; strict: the first one first"))
    return queues


def _named(text: str, excluded: list[str], tell: Tell) -> list[str]:
    """Split a list of queues; Celery itself keeps the spaces, which celeryfleet's queues can't have."""
    parts = text.split(",")
    spaced = [part for part in parts if part != part.strip() and part.strip()]
    if spaced:
        tell(
            Fate.CHANGED,
            f"`-Q '{text}'`: to Celery the spaces are part of the names {listed(repr(part) for part in spaced)}; "
            "here they are not",
        )
    queues: list[str] = []
    for name in dict.fromkeys(part.strip() for part in parts if part.strip()):
        problem = names.queue_problem(name)
        if problem:
            tell(Fate.LOST, f"the queue {name!r}: a queue's name {problem}")
        elif name not in excluded:
            queues.append(name)
    return queues or [CELERY_QUEUE]


# --- Processes --------------------------------------------------------------------------------------------


def _processes(said: Mapping[str, str], known: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    kind = {"processes": "prefork", "": "prefork"}.get(said.get("pool", ""), said.get("pool", ""))
    if "autoscale" in said:
        yield from _autoscaled(said["autoscale"], known, tell)
    elif kind == "solo":
        yield Line("concurrency", "1", "-P solo")
    else:
        yield from _concurrency(said, tell)
    settled = variables.settled(kind, {})
    if settled is None or settled not in _POOLS:
        tell(Fate.LOST, f"`-P {kind}`: a pool is {listed(_POOLS, 'or')}; here it is prefork")
    elif settled != "prefork" or kind != settled:
        yield Line("pool", kind, "-P")


def _concurrency(said: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    written = said.get("concurrency", "")
    if written in ("auto", "0") or re.fullmatch(r"(\$\(|`)nproc.*", written):
        yield Line("concurrency", "auto", f"-c {written}: the processors this process may use")
    elif not written:
        yield Line("concurrency", "auto", "no -c: as many as there are processors")
    else:
        lines = list(_counted(said, "concurrency", "concurrency", 1, tell, "-c"))
        yield from lines or [Line("concurrency", "auto", f"-c {written}: unknown here")]


def _autoscaled(written: str, known: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    """Celery's autoscaler resizes one worker; a fleet's adds workers. Its most is what the team runs at its busiest."""
    most, least = _bounds(written, known)
    if value := number(most, 1, _MOST):
        yield Line("concurrency", value, f"--autoscale={written}: its most")
    else:
        tell(Fate.LOST, f"`--autoscale={written}`: the file does not tell the most processes; write `concurrency`")
        yield Line("concurrency", "auto", f"--autoscale={written}: unknown here")
    advice = ""
    if most.isdecimal() and least.isdecimal() and int(least):
        advice = f", such as concurrency: {least} and autoscale: {{min: 1, max: {math.ceil(int(most) / int(least))}}}"
    tell(
        Fate.CHANGED,
        f"`--autoscale={written}` makes one worker grow and shrink; here it has its most from the start. A fleet's "
        f"autoscale adds workers, on Redis{advice}",
    )


def _bounds(written: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the most and the least processes, whichever comes first; empty where a variable holds both."""
    two = _TWO_VARIABLES.fullmatch(written)
    if two:
        return two[1], two[2]
    parts = [part.strip() for part in (variables.settled(written, known) or "").split(",")]
    if not all(part.isdecimal() for part in parts):
        return "", ""
    bounds = sorted(map(int, parts))
    return str(bounds[-1]), str(max(1, bounds[0])) if len(bounds) > 1 else "1"


#: a variable for the most, and perhaps one for the least
_TWO_VARIABLES = re.compile(r"(\$\{[^{},]*\}),(\$\{[^{},]*\}|[0-9]+)")


# --- Numbers ----------------------------------------------------------------------------------------------


def _counted(said: Mapping[str, str], option: str, key: str, least: int, tell: Tell, shown: str = "") -> Iterator[Line]:
    written = said.get(option, "").strip()
    shown = shown or f"--{option}"
    if not written or (written == "0" and least):  # to Celery, 0 is as good as nothing
        return
    value = number(written, least, _MOST if key == "concurrency" else 1_000_000)
    if value is None:
        tell(Fate.LOST, f"`{shown} {written}`: {key} needs a whole number of at least {least}")
        return
    yield Line(key, value, shown)


def number(written: str, least: int, most: int) -> str | None:
    """Return a number, or a variable that may hold one, as fleet.yaml takes it."""
    if written.isdecimal():
        return str(int(written)) if least <= int(written) <= most else None
    if not variables.alone(written):
        return None
    value = variables.settled(written, {})
    return written if value is None or (value.isdecimal() and least <= int(value) <= most) else None


def _memory(said: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    for line in _counted(said, "max-memory-per-child", "max_memory_per_child", 1, tell):
        value = yamltext.kibibytes(int(line.value)) if line.value.isdecimal() else f"{line.value}KiB"
        yield Line(line.key, value, f"{line.comment} {said['max-memory-per-child']}, in KiB")


def _limits(said: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    values: dict[str, tuple[str, float | None]] = {}
    for option in ("time-limit", "soft-time-limit"):
        written = said.get(option, "").strip()
        if not written or written in ("0", "0.0"):
            continue
        default = variables.settled(written, {}) if variables.alone(written) else None
        if variables.alone(written) and (default is None or _seconds(default)):
            values[option] = f"{written}s", _seconds(default or "")
        elif (seconds := _seconds(written)) is not None:
            values[option] = yamltext.span(seconds), seconds
        else:
            tell(Fate.LOST, f"`--{option} {written}`: a limit needs a number of seconds")
    hard, soft = values.get("time-limit"), values.get("soft-time-limit")
    if hard and soft and (hard[0] == soft[0] or (hard[1] and soft[1] and soft[1] >= hard[1])):
        tell(
            Fate.LOST,
            f"`--soft-time-limit {said['soft-time-limit']}` is not less than --time-limit {said['time-limit']}: "
            "no task would see it",
        )
        del values["soft-time-limit"]
    for option, (text, _) in values.items():
        yield Line(option.replace("-", "_"), text, f"--{option}")


def _seconds(written: str) -> float | None:
    try:
        seconds = round(float(written), 3)
    except ValueError:
        return None
    return seconds if 0 < seconds < 10**9 else None


# --- What a pool has no key for ---------------------------------------------------------------------------

_PROCESS = ": a fleet knows its processes itself"
_USER = ": the fleet runs as the user who starts it"
_FATES: Mapping[str, tuple[Fate, str]] = {
    "beat": (Fate.LOST, f": {BEAT[0].lower()}{BEAT[1:]}"),
    "schedule": (Fate.LOST, ": see -B"),
    "scheduler": (Fate.LOST, ": see -B"),
    "purge": (Fate.LOST, ": `celeryfleet queues purge QUEUE` drops what waits, when you want it"),
    "include": (Fate.LOST, ": name these modules in the app's own `include`"),
    "statedb": (Fate.LOST, ": a fleet's workers keep no state file; ids revoked there are forgotten"),
    "heartbeat-interval": (Fate.LOST, ": a worker's events are as Celery's default sends them"),
    "pool-start-method": (Fate.LOST, ": children of prefork workers are forked"),
    "executable": (Fate.LOST, ": celeryfleet runs workers with its own Python"),
    "loader": (Fate.LOST, ": an app has the loader that it names itself"),
    "autoreload": (Fate.LOST, ": `celeryfleet reload` reads new code"),
    "uid": (Fate.LOST, _USER),
    "gid": (Fate.LOST, _USER),
    "umask": (Fate.LOST, _USER),
    "pythonpath": (Fate.LOST, ": the app is imported from the folder of fleet.yaml"),
    "workdir": (Fate.CHANGED, ": fleet.yaml belongs there, for the app is imported from its folder"),
    "logfile": (Fate.NEEDLESS, LOGS),
    "pidfile": (Fate.NEEDLESS, _PROCESS),
    "detach": (Fate.NEEDLESS, ": `celeryfleet up -d`"),
    "optimization": (Fate.NEEDLESS, ": every worker is fair"),
    "without-gossip": (Fate.NEEDLESS, ": a fleet's workers have none"),
    "without-mingle": (Fate.NEEDLESS, ": a fleet's workers have none"),
    "without-heartbeat": (Fate.NEEDLESS, ": a fleet's workers have none unless `events: true`"),
}


def _tell_level(said: Mapping[str, str], tell: Tell) -> None:
    level = said.get("loglevel", "")
    if level.upper() == "INFO":
        tell(Fate.NEEDLESS, "`-l INFO`: as every worker of a fleet")
    elif level:
        tell(Fate.LOST, f"`-l {level}`: a fleet's workers log at INFO")
