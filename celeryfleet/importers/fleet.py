"""What was found in a file → fleet.yaml, which says where each line comes from and what could not be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.merge import compose
from celeryfleet.importers import apps, broker, command, variables, yamltext
from celeryfleet.importers.broker import DJANGO, Named
from celeryfleet.importers.found import Fate, Note, Program, Reading, Worker, grouped
from celeryfleet.importers.keys import CELERY_QUEUE
from celeryfleet.importers.pools import Pool, pools
from celeryfleet.importers.writer import Writer
from celeryfleet.text import listed


@dataclass(frozen=True, slots=True)
class Ask:
    """What the user wants of a file."""

    #: compose, procfile, supervisord, multi
    kind: str
    #: as the user named it
    file: str
    #: the app whose workers are taken; empty: there is one
    app: str = ""
    #: variables whose values are given
    known: Mapping[str, str] = field(default_factory=dict)
    #: tells whether a file named in it exists
    exists: Callable[[str], bool] = lambda path: True


@dataclass(frozen=True, slots=True)
class Result:
    """A fleet.yaml and what is to be said of it."""

    text: str
    notes: tuple[Note, ...]
    #: pool → (workers as they are called in the file, where)
    pools: Mapping[str, tuple[str, ...]]


def fleet(reading: Reading, ask: Ask) -> Result:
    """Make a fleet.yaml. Raises FleetError where there is no worker, or no one app."""
    notes = list(reading.notes)
    started = _workers(reading, ask, notes)
    workers = started.workers
    app, origin, chosen = apps.choose(workers, started.apps, ask.app, ask.file, notes)
    found = pools(chosen, ask.known, notes)
    programs = [program for program in reading.programs if program not in [worker.program for worker in workers]]
    writer = Writer()
    _head(writer, ask)
    if reading.name:
        writer.key("name", yamltext.scalar(reading.name), f"{ask.file} name")
    writer.key("app", yamltext.scalar(app), origin)
    _django(writer, chosen, found, notes)
    _env_files(writer, chosen, ask, notes)
    _leave_out(found, _broker(writer, chosen, programs, reading, notes))
    _queues(writer, found, notes)
    if started.beats:
        writer.line('# beat: {schedule: {nightly: {task: shop.report, crontab: "0 3 * * *"}}}', started.beats[0])
        writer.blank()
    _pools(writer, found, notes)
    notes = list(dict.fromkeys(notes))
    _foot(writer, notes)
    text = writer.text()
    _verify(writer)
    origins = {pool.name: tuple(f"{worker.where} {worker.name}" for worker in pool.workers) for pool in found}
    return Result(text, tuple(notes), origins)


def _workers(reading: Reading, ask: Ask, notes: list[Note]) -> command.Started:
    """Find all that the programs start. Raises FleetError if there is no worker."""
    whole = command.Started()
    silent: list[Program] = []
    for program in reading.programs:
        started = command.started(program, ask.known)
        whole.workers += started.workers
        whole.apps += started.apps
        whole.beats += started.beats
        notes += started.notes
        silent += [] if started.celery else [program]
    if not whole.workers:
        raise _no_worker(reading, ask, notes)
    notes += [note for program in silent if (note := command.unseen(program, reading.brokers))]
    whole.beats += [f"{worker.where} {worker.name} -B" for worker in whole.workers if "beat" in worker.options]
    return whole


def _no_worker(reading: Reading, ask: Ask, notes: Sequence[Note]) -> FleetError:
    seen = [f"{program.where} {program.name}: {_first(program)}" for program in reading.programs]
    hint = "Looked for `celery … worker` and `celery multi start` in its commands"
    hint += ", which are:\n" + "\n".join(seen[:20]) if seen else ", but it has none."
    hint += "\n…" if len(seen) > 20 else ""
    hint += "".join(f"\n{note}" for note in notes)
    if any(".sh" in line or "celery" in line.lower() for line in seen):
        hint += "\nWhat starts in a script is in that script: `celeryfleet import multi SCRIPT` reads it."
    return FleetError("no Celery worker was found.", ask.file, hint)


def _first(program: Program) -> str:
    return "; ".join(command.shown(words) for words in program.commands[:3]) or "no command"


# --- Sections ---------------------------------------------------------------------------------------------


def _head(writer: Writer, ask: Ask) -> None:
    writer.comment(f"Made of {ask.file} by `celeryfleet import {ask.kind}`. What could not be taken stands at its end.")
    writer.comment("Read it, then try it: celeryfleet check, celeryfleet up --dry-run")
    writer.blank()


def _django(writer: Writer, workers: Sequence[Worker], found: Sequence[Pool], notes: list[Note]) -> None:
    value, comment = apps.django(workers, notes)
    if value:
        writer.key("django", yamltext.scalar(value), comment)
        for pool in found:
            pool.env.pop(DJANGO, None)


def _env_files(writer: Writer, workers: Sequence[Worker], ask: Ask, notes: list[Note]) -> None:
    places: dict[str, str] = {}
    for worker in workers:
        for path in worker.program.env_files:
            places.setdefault(path, worker.where)
    if not places:
        return
    if len({worker.program.env_files for worker in workers}) > 1:
        notes.append(
            Note(Fate.CHANGED, next(iter(places.values())), "workers have different env_files: all get all of them")
        )
    there = [path for path in places if variables.varies(path) or ask.exists(path)]
    missing = [path for path in places if path not in there]
    origin = f"{next(iter(places.values()))} env_file"
    if there:
        writer.key("env_file", yamltext.listing(there), origin)
    if missing:
        writer.line(f"# env_file: {yamltext.listing(missing)}", f"{origin}, which is not here")
        where = places[missing[0]]
        notes.append(Note(Fate.LOST, where, f"env_file: there is no {listed(missing)}; what it sets is missing"))


def _broker(
    writer: Writer, workers: Sequence[Worker], programs: Sequence[Program], reading: Reading, notes: list[Note]
) -> list[Named]:
    """Write `broker` and `results`, and return those that were found."""
    found = broker.broker(workers, programs, reading.brokers, notes)
    if found is not None:
        writer.key("broker", yamltext.scalar(found.value), found.comment)
        _name_host(found, workers[0].where, reading, notes)
    else:
        writer.line("# broker: ${CELERY_BROKER_URL}", "not in the file; without it the fleet starts its own")
        what = "no broker: it is in the app's settings. Write it as `broker:`, or the fleet runs on one of its own"
        notes.append(Note(Fate.LOST, workers[0].where, f"{what}, which your producers do not know"))
    backend = broker.results(workers, programs, notes)
    if backend is not None:
        writer.key("results", yamltext.scalar(backend.value), backend.comment)
    else:
        writer.line("# results: ${CELERY_RESULT_BACKEND}", "not in the file; without it the broker keeps them")
    writer.blank()
    return [named for named in (found, backend) if named is not None]


def _leave_out(found: Sequence[Pool], taken: Sequence[Named]) -> None:
    """Take out of the pools' environments what `broker` and `results` say: a pool with `env` can't be forked."""
    for pool in found:
        env = pool.workers[0].env
        for named in taken:
            if named.variable in broker.OF_CELERY and env.get(named.variable) == named.text:
                pool.env.pop(named.variable, None)


def _name_host(found: Named, where: str, reading: Reading, notes: list[Note]) -> None:
    """Say that the name of a service is known within its network only."""
    for url, place in reading.brokers.items():
        host = url.partition("://")[2].partition(":")[0]
        if f"/{host}" in found.value or f"@{host}" in found.value:
            what = f"{host} is a name within the compose network: run celeryfleet there, or name the host as seen here"
            notes.append(Note(Fate.CHANGED, place or where, what))


def _queues(writer: Writer, found: Sequence[Pool], notes: list[Note]) -> None:
    readers: dict[str, list[str]] = {}
    for pool in found:
        for queue in pool.queues:
            readers.setdefault(queue, []).append(pool.name)
    writer.line("queues:", "those that the workers read")
    for queue, names in readers.items():
        writer.line(f"{yamltext.scalar(queue)}:", f"read by {listed(names)}", 2)
    default = next((name for name in (CELERY_QUEUE, "default") if name in readers), next(iter(readers)))
    comment = "a guess: Celery's own, unless the app sets task_default_queue"
    if default != CELERY_QUEUE:
        comment = "a guess: where a task goes that no route names"
        what = (
            f"default_queue is a guess, {default}: write the app's task_default_queue; Celery's own is {CELERY_QUEUE}"
        )
        notes.append(Note(Fate.CHANGED, found[0].workers[0].where, what))
    writer.key("default_queue", yamltext.scalar(default), comment)
    writer.blank()
    writer.comment(
        "The routes are in the app's settings (task_routes), which a fleet's routes replace: write them here. The "
        "first match wins. `celeryfleet route TASK` says where a task goes."
    )
    example = next((name for name in readers if name != default), default)
    writer.lines += ["# routes:", f'#   - {{task: "shop.mail.*", queue: {yamltext.scalar(example, flow=True)}}}']
    writer.blank()
    what = "routes: those of the app's task_routes do not count any more; write them as `routes:`"
    notes.append(Note(Fate.LOST, found[0].workers[0].where, what))


def _pools(writer: Writer, found: Sequence[Pool], notes: list[Note]) -> None:
    shared = broker.common([pool.env for pool in found])
    if shared:
        writer.line("x-env: &env", "what these workers have alike in their environment")
        for name, value in shared.items():
            writer.key(yamltext.scalar(name), yamltext.scalar(value), indent=2)
        writer.blank()
    writer.line("pools:")
    for pool in found:
        writer.line(f"{yamltext.scalar(pool.name)}:", pool.origin, 2)
        for line in pool.lines:
            writer.key(line.key, line.value, line.comment, 4)
        _environment(writer, pool, shared)
    if any(pool.env for pool in found):
        what = "a pool with `env` imports the app by itself; in an env_file instead, one import serves all the workers"
        notes.append(Note(Fate.CHANGED, found[0].workers[0].where, what))


def _environment(writer: Writer, pool: Pool, shared: Mapping[str, str]) -> None:
    own = {name: value for name, value in pool.env.items() if name not in shared}
    if not pool.env:
        return
    if not own:
        writer.line("env: *env", indent=4)
        return
    writer.line("env:", f"{pool.workers[0].where} environment", 4)
    if shared:
        writer.line("<<: *env", indent=6)
    for name, value in own.items():
        writer.key(yamltext.scalar(name), yamltext.scalar(value), indent=6)


_TITLES = {
    Fate.LOST: "Not taken",
    Fate.CHANGED: "Taken, but not to the letter",
    Fate.NEEDLESS: "Needs no key: a fleet does it anyway",
}


def _foot(writer: Writer, notes: Sequence[Note]) -> None:
    for fate, title in _TITLES.items():
        sentences = list(grouped(notes, fate))
        if sentences:
            writer.blank()
            writer.lines.append(f"# {title}")
            for sentence in sentences:
                writer.comment(sentence, "- ")


def _verify(writer: Writer) -> None:
    """Read the result as `celeryfleet` will. Raises FleetError: a fault here must not leave a broken file behind."""
    try:
        parse("\n".join(writer.trial), "/fleet.yaml", {}, shown="the result", opened=lambda name: "")
        if problems := compose(writer.text(), "the result")[1]:
            raise FleetError.of(problems)
    except FleetError as error:
        made = "\n".join(f"{number:>4}  {line}" for number, line in enumerate(writer.trial, 1))
        hint = f"This is a fault of celeryfleet: please report it with the file. What it made is:\n{made}"
        raise FleetError(f"the fleet.yaml made of it is not valid: {error}", hint=hint, code=Exit.FAILURE) from error
