"""The options of a worker → the keys of its pool, each with the option it comes from; fleet.yaml judges the values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import get_args

from celeryfleet.fleetfile import names
from celeryfleet.fleetfile.beat import Beat
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.fields import Section, section
from celeryfleet.fleetfile.model import Level, Pool
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.transform import interpolated
from celeryfleet.importers import exported, variables, yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Worker
from celeryfleet.importers.workers import LOGS
from celeryfleet.text import listed

#: what Celery reads where nothing is said
CELERY_QUEUE = "celery"

#: tells what becomes of an option, and where that stands if it is not the worker's place
Tell = Callable[..., None]


def lines(worker: Worker, queues: Sequence[str], known: Mapping[str, str], tell: Tell) -> Iterator[Line]:
    """Describe a worker's pool, but for its queues; `known` are variables whose values are given."""
    said = worker.options
    ours = exported.is_ours(worker.env)
    if ours:
        yield from exported.lines(worker)
    elif len(queues) > 1:
        yield ROUND_ROBIN
    yield from _processes(said, known, tell, ours)
    for option, (key, unit, comment) in _MEASURED.items():
        written = said.get(option, "").strip()
        if written and (written not in ("0", "0.0") or key == "prefetch_multiplier"):  # to Celery, 0 means none
            yield Line(key, yamltext.literal(f"{written}{unit}"), comment)
    if "task_events" in said:
        yield Line("events", "true", "-E")
    if "disable_prefetch" in said:
        yield Line("celery", "{worker_disable_prefetch: true}", "--disable-prefetch")
    yield from worker.program.lines
    for option, value in said.items():
        if option in _FATES:
            fate, what = _FATES[option]
            tell(fate, f"{_written(option, value)}{what}")
    _tell_profile(said, tell)
    yield from _level(variables.settled(said.get("loglevel", ""), known) or said.get("loglevel", ""), tell)


ROUND_ROBIN = Line("order", "round_robin", "as Celery reads them; strict: the first one first")
#: options that are a key with another unit: the key, the unit and the comment
_MEASURED = {
    "max_tasks_per_child": ("max_tasks_per_child", "", "--max-tasks-per-child"),
    "prefetch_multiplier": ("prefetch_multiplier", "", "--prefetch-multiplier"),
    "max_memory_per_child": ("max_memory_per_child", "KiB", "--max-memory-per-child, in KiB"),
    "time_limit": ("time_limit", "s", "--time-limit"),
    "soft_time_limit": ("soft_time_limit", "s", "--soft-time-limit"),
}
#: options that everyone knows by their letter
_SHORT = {
    "beat": "-B",
    "detach": "-D",
    "include": "-I",
    "schedule_filename": "-s",
    "statedb": "-S",
}


def _written(option: str, value: str) -> str:
    if option in _SHORT:
        return f"`{_SHORT[option]} {value}".rstrip() + "`"
    name = option.replace("_", "-")
    return f"`--{name}={value}`" if value else f"`--{name}`"


# --- Queues -----------------------------------------------------------------------------------------------

#: what a worker without -Q reads is in the app, which nobody imports here
NO_QUEUES = (
    f"no -Q: {CELERY_QUEUE} is a guess. If the app has task_queues, a worker without -Q reads them all: list them "
    "here; `celeryfleet check` names tasks whose queue is not declared"
)


def queues(worker: Worker, known: Mapping[str, str], tell: Tell) -> tuple[list[str], Line]:
    """Return the queues that a worker reads, and the line that says so."""
    written = worker.options.get("queues", "")
    comment, text = f"-Q {written}", variables.settled(written, known)
    if not written:
        comment, text = "a guess, for there is no -Q: Celery's own default queue", CELERY_QUEUE
        tell(Fate.CHANGED, NO_QUEUES)
    elif text is None:
        what = "the file does not tell what it holds. Write the queues into fleet.yaml, or give the variable"
        tell(Fate.LOST, f"`-Q {written}`: {what}: `celeryfleet --env-file .env import …`")
        comment, text = f"-Q {written}: unknown here; write the queues", CELERY_QUEUE
    elif text != written:
        comment = f"-Q {written}: fixed here"
        tell(Fate.CHANGED, f"`-Q {written}` is taken as {text}: a variable does not change the queues of a fleet")
    excluded = [name.strip() for name in worker.options.get("exclude_queues", "").split(",") if name.strip()]
    if excluded:
        others = "" if written else "; name the others of the app's task_queues"
        tell(Fate.LOST, f"`-X {', '.join(excluded)}`: a pool reads the queues that it names{others}")
    found = [name for name in _named(text, tell) if name not in excluded] or [CELERY_QUEUE]
    return found, Line("queues", yamltext.listing(found), comment)


def _named(text: str, tell: Tell) -> Iterator[str]:
    """Split a list of queues; Celery itself keeps the spaces, which celeryfleet's queues can't have."""
    parts = [part for part in text.split(",") if part.strip()]
    if spaced := [repr(part) for part in parts if part != part.strip()]:
        what = f"to Celery the spaces are part of the names {listed(spaced)}; here they are not"
        tell(Fate.CHANGED, f"`-Q '{text}'`: {what}")
    for name in dict.fromkeys(map(str.strip, parts)):
        if problem := names.queue_problem(name):
            tell(Fate.LOST, f"the queue {name!r}: a queue's name {problem}")
        else:
            yield name


# --- Processes --------------------------------------------------------------------------------------------


def _processes(said: Mapping[str, str], known: Mapping[str, str], tell: Tell, ours: bool) -> Iterator[Line]:
    kind = said.get("pool", "").replace("processes", "prefork")
    written = said.get("concurrency", "")
    if "autoscale" in said:
        yield _autoscaled(said["autoscale"], known, tell)
    elif kind == "solo" and not ours:
        yield Line("concurrency", "1", "-P solo")
    elif written in ("auto", "0") or re.fullmatch(r"(\$\(|`)nproc.*", written):
        yield Line("concurrency", "auto", f"-c {written}: the processors this process may use")
    elif written:
        yield Line("concurrency", yamltext.literal(written), "-c")
    elif not ours:
        yield Line("concurrency", "auto", "no -c: the processors; leave it out if the app sets worker_concurrency")
    if kind:
        yield Line("pool", yamltext.scalar(kind), "-P")


#: a variable for the most, and perhaps one for the least
_TWO_VARIABLES = re.compile(r"(\$\{[^{},]*\}),(\$\{[^{},]*\}|[0-9]+)")


def _autoscaled(written: str, known: Mapping[str, str], tell: Tell) -> Line:
    """Celery's autoscaler resizes one worker; a fleet's adds workers. Its most is what the team runs at its busiest."""
    two, settled = _TWO_VARIABLES.fullmatch(written), variables.settled(written, known) or ""
    parts = [int(part) for part in re.findall("[0-9]{1,6}", settled)]
    bounds, advice = sorted(parts), ""
    if len(bounds) > 1 and bounds[0]:
        least, most = bounds[0], math.ceil(bounds[-1] / bounds[0])
        advice = f", such as concurrency: {least} and autoscale: {{min: 1, max: {most}}}"
    what = (
        f"`--autoscale={written}` makes one worker grow and shrink; here it has its most from the start. A fleet's "
        f"autoscale adds workers{advice}"
    )
    tell(Fate.CHANGED, what)
    if two or re.fullmatch(r"\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*)?", settled):
        most_of = two and (two[2] if len(parts) == 2 and parts[1] > parts[0] else two[1])
        return Line("concurrency", most_of or str(bounds[-1]), f"--autoscale={written}: its most")
    what = f"`--autoscale={written}`: the file does not tell the most processes; write `concurrency`"
    tell(Fate.LOST, what)
    return Line("concurrency", "auto", f"--autoscale={written}: unknown here")


# --- What fleet.yaml refuses ------------------------------------------------------------------------------


def accepted(found: Sequence[Line], tell: Tell) -> list[Line]:
    """Leave out the lines that fleet.yaml would refuse, and say so."""
    refused = _refused(found)
    if not any(line.key in refused for line in found):
        return list(found)
    kept = [line for line in found if line.key not in refused]
    for line in found:
        if line.key in refused:
            option = line.comment.partition(",")[0]
            written = f"`{option} {line.value}`" if option[:1] == "-" else f"`{option}: {line.value}`"
            tell(Fate.LOST, f"{written}: {line.key} {refused[line.key]}", line.where)
            if line.key == "concurrency":
                kept.append(replace(line, value="auto", comment=f"{option} {line.value}: unknown here"))
    return accepted(kept, tell)


def _refused(found: Sequence[Line]) -> dict[str, str]:
    """Return what fleet.yaml has against these keys of a pool."""
    problems = {line.key: "is not told by the file" for line in found if not variables.readable(line.value)}
    if problems:
        return problems
    return _judged(Pool, "\n".join(f"{line.key}: {variables.tried(line.key, line.value)}" for line in found))


def beat_problem(key: str, value: str) -> str:
    """Return what fleet.yaml has against a key of its beat; empty if it takes it."""
    if not variables.readable(value) or variables.required(value):
        return "is not told by the file"
    return _judged(Beat, f"{key}: {yamltext.scalar(value)}").get(key, "")


def _judged(kind: type[Section], text: str) -> dict[str, str]:
    """Return what fleet.yaml has against keys of a section, by their names."""
    root, _ = parse_yaml(text, "")
    if root is None:
        return {}
    cursor = Cursor.of(interpolated(root, {}, []))
    with suppress(Refused):
        section(kind)(cursor)
    wrong = [(str(refused.path[0]), refused.problem) for refused in cursor.refused if refused.problem]
    return {key: problem.what.removeprefix(f"{key} ").rstrip(".") for key, problem in wrong}


# --- What a pool has no key for ---------------------------------------------------------------------------

_FATES: Mapping[str, tuple[Fate, str]] = {
    "beat": (Fate.CHANGED, ": `beat:` runs one beat for the fleet, in a process of its own"),
    "schedule_filename": (Fate.NEEDLESS, ": a fleet keeps beat's file in .celeryfleet/"),
    "purge": (Fate.LOST, ": `celeryfleet queues purge QUEUE` drops what waits, when you want it"),
    "include": (Fate.LOST, ": name these modules in the app's own `include`"),
    "statedb": (Fate.LOST, ": a fleet's workers keep no state file; ids revoked there are forgotten"),
    "heartbeat_interval": (Fate.LOST, ": a worker's events are as Celery's default sends them"),
    "pool_start_method": (Fate.LOST, ": children of prefork workers are forked"),
    "executable": (Fate.LOST, ": celeryfleet runs workers with its own Python"),
    "loader": (Fate.LOST, ": an app has the loader that it names itself"),
    "autoreload": (Fate.LOST, ": `celeryfleet reload` reads new code"),
    "uid": (Fate.LOST, f": {USER}"),
    "gid": (Fate.LOST, f": {USER}"),
    "umask": (Fate.LOST, f": {USER}"),
    "pythonpath": (Fate.LOST, ": the app is imported from the folder of fleet.yaml"),
    "workdir": (Fate.CHANGED, f": {FOLDER}"),
    "logfile": (Fate.NEEDLESS, LOGS),
    "pidfile": (Fate.NEEDLESS, ": a fleet knows its processes itself"),
    "detach": (Fate.NEEDLESS, ": `celeryfleet up -d`"),
    "without_gossip": (Fate.NEEDLESS, ": a fleet's workers have none"),
    "without_mingle": (Fate.NEEDLESS, ": a fleet's workers have none"),
    "without_heartbeat": (Fate.NEEDLESS, ": a fleet's workers have none unless `events: true`"),
}


def _level(written: str, tell: Tell) -> Iterator[Line]:
    level = {"fatal": "critical"}.get(written.lower(), written.lower())
    if level == "info":
        tell(Fate.NEEDLESS, "`-l INFO`: as every worker of a fleet")
    elif level in get_args(Level):
        yield Line("log_level", level, "-l")
    elif written:
        tell(Fate.LOST, f"`-l {written}`: write it as the pool's `log_level`: {listed(get_args(Level), 'or')}")


def _tell_profile(said: Mapping[str, str], tell: Tell) -> None:
    if said.get("optimization") == "fast":
        tell(Fate.LOST, "`-O fast` is gone from Celery: every worker is fair")
    elif said.get("optimization"):
        tell(Fate.NEEDLESS, f"`-O {said['optimization']}`: every worker is fair")
