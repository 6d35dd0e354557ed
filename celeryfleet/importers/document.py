"""What was found in a file → fleet.yaml, which says where each line comes from and what could not be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.importers import apps, environment, variables, yamltext
from celeryfleet.importers import workers as started_by
from celeryfleet.importers.environment import DJANGO, Setting
from celeryfleet.importers.found import Fate, Note, Program, Reading, Worker, grouped
from celeryfleet.importers.keys import CELERY_QUEUE
from celeryfleet.importers.pools import Pool, pools
from celeryfleet.importers.yamltext import Writer
from celeryfleet.text import listed


@dataclass(frozen=True, slots=True)
class Ask:
    """What the user wants of a file."""

    #: compose, procfile, supervisord, multi
    format: str
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
    programs = [started_by.started(program, ask.known) for program in reading.programs]
    notes += [note for program in programs for note in program.notes]
    workers = [worker for program in programs for worker in program.workers]
    if not workers:
        raise _no_worker(reading, ask, notes)
    silent = [program.program for program in programs if not program.celery]
    notes += [note for program in silent if (note := started_by.unseen(program, reading.brokers))]
    others = [app for program in programs for app in program.apps]
    app, origin, workers = apps.choose(workers, others, ask.app, ask.file, notes)
    document = _Document(ask, reading, workers, pools(workers, ask.known, notes), notes)
    beats = [place for program in programs for place in program.beats]
    beats += [f"{worker.where} {worker.name} -B" for worker in workers if "beat" in worker.options]
    document.write(app, origin, [program.program for program in programs if not program.workers], beats)
    return document.result()


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
    return "; ".join(started_by.shown(command.words) for command in program.commands[:3]) or "no command"


_ROUTES = (
    "The routes are in the app's settings (task_routes), which a fleet's routes replace: write them here. The "
    "first match wins. `celeryfleet route TASK` says where a task goes."
)
_TITLES = {
    Fate.LOST: "Not taken",
    Fate.CHANGED: "Taken, but not to the letter",
    Fate.NEEDLESS: "Needs no key: a fleet does it anyway",
}


class _Document:
    """A fleet.yaml, being written; what is to be said of it gathers in `notes`."""

    def __init__(
        self, ask: Ask, reading: Reading, workers: Sequence[Worker], found: Sequence[Pool], notes: list[Note]
    ) -> None:
        self.ask, self.reading, self.workers, self.pools, self.notes = ask, reading, workers, found, notes
        #: of what is to be said of the fleet as a whole
        self.where = found[0].workers[0].where
        self.writer = Writer()

    def write(self, app: str, origin: str, programs: Sequence[Program], beats: Sequence[str]) -> None:
        """Write all sections; `programs` are those that start no worker, and `beats` where beat is started."""
        writer, ask = self.writer, self.ask
        writer.comment(
            f"Made of {ask.file} by `celeryfleet import {ask.format}`. What could not be taken stands at its end."
        )
        writer.comment("Read it, then try it: celeryfleet check, celeryfleet up --dry-run")
        writer.blank()
        if self.reading.name:
            writer.key("name", yamltext.scalar(self.reading.name), f"{ask.file} name")
        writer.key("app", yamltext.scalar(app), origin)
        self._django()
        self._env_files()
        self._broker(programs)
        self._queues()
        if beats:
            writer.line('# beat: {schedule: {nightly: {task: shop.report, crontab: "0 3 * * *"}}}', beats[0])
            writer.blank()
        self._pools()
        self._say()

    def result(self) -> Result:
        """Return what was written, once it is known to be valid. Raises FleetError."""
        _verify(self.writer)
        origins = {pool.name: tuple(f"{worker.where} {worker.name}" for worker in pool.workers) for pool in self.pools}
        return Result(self.writer.text(), tuple(self.notes), origins)

    def _note(self, fate: Fate, what: str, where: str = "") -> None:
        self.notes.append(Note(fate, where or self.where, what))

    def _django(self) -> None:
        value, comment = apps.django(self.workers, self.notes)
        if value:
            self.writer.key("django", yamltext.scalar(value), comment)
            for pool in self.pools:
                pool.env.pop(DJANGO, None)

    def _env_files(self) -> None:
        places: dict[str, str] = {}
        for worker in self.workers:
            for path in worker.program.env_files:
                places.setdefault(path, worker.where)
        if not places:
            return
        first = next(iter(places.values()))
        if len({worker.program.env_files for worker in self.workers}) > 1:
            self._note(Fate.CHANGED, "workers have different env_files: all get all of them", first)
        there = [path for path in places if variables.varies(path) or self.ask.exists(path)]
        missing = [path for path in places if path not in there]
        if there:
            self.writer.key("env_file", yamltext.listing(there), f"{first} env_file")
        if missing:
            self.writer.line(f"# env_file: {yamltext.listing(missing)}", f"{first} env_file, which is not here")
            what = f"env_file: there is no {listed(missing)}; what it sets is missing"
            self._note(Fate.LOST, what, places[missing[0]])

    def _broker(self, programs: Sequence[Program]) -> None:
        """Write `broker` and `results`."""
        beside = next(iter(self.reading.brokers.items()), None)
        found = environment.setting("broker", self.workers, programs, self.notes)
        if found is None and beside is not None:
            url, where = beside
            what = f"the broker is taken to be this service, {url}: no worker is told of another one"
            self._note(Fate.CHANGED, what, where)
            found = Setting(f"${{CELERY_BROKER_URL:-{url}}}", f"{where}, the only sign of a broker")
        if found is not None:
            self._set("broker", found)
            self._name_host(found)
        else:
            self.writer.line("# broker: ${CELERY_BROKER_URL}", "not in the file; without it the fleet starts its own")
            what = "no broker: it is in the app's settings. Write it as `broker:`, or the fleet runs on one of its own"
            self._note(Fate.LOST, f"{what}, which your producers do not know")
        results = environment.setting("results", self.workers, programs, self.notes)
        if results is not None:
            self._set("results", results)
        else:
            comment = "not in the file; without it the broker keeps them"
            self.writer.line("# results: ${CELERY_RESULT_BACKEND}", comment)
        self.writer.blank()

    def _set(self, key: str, found: Setting) -> None:
        """Write a setting, and take it out of the pools' environments: a pool with `env` can't be forked."""
        self.writer.key(key, yamltext.scalar(found.value), found.comment)
        for pool in self.pools:
            if found.variable in environment.OF_CELERY and pool.workers[0].env.get(found.variable) == found.text:
                pool.env.pop(found.variable, None)

    def _name_host(self, found: Setting) -> None:
        """Say that the name of a service is known within its network only."""
        for url, place in self.reading.brokers.items():
            host = url.partition("://")[2].partition(":")[0]
            if f"/{host}" in found.value or f"@{host}" in found.value:
                what = f"{host} is a name within the compose network: run celeryfleet there"
                self._note(Fate.CHANGED, f"{what}, or name the host as seen here", place)

    def _queues(self) -> None:
        writer = self.writer
        readers: dict[str, list[str]] = {}
        for pool in self.pools:
            for queue in pool.queues:
                readers.setdefault(queue, []).append(pool.name)
        writer.line("queues:", "those that the workers read")
        for queue, names in readers.items():
            writer.line(f"{yamltext.scalar(queue)}:", f"read by {listed(names)}", 2)
        default = next((name for name in (CELERY_QUEUE, "default") if name in readers), next(iter(readers)))
        comment = "a guess: Celery's own, unless the app sets task_default_queue"
        if default != CELERY_QUEUE:
            comment = "a guess: where a task goes that no route names"
            what = f"default_queue is a guess, {default}: write the app's task_default_queue; Celery's own is"
            self._note(Fate.CHANGED, f"{what} {CELERY_QUEUE}")
        writer.key("default_queue", yamltext.scalar(default), comment)
        writer.blank()
        writer.comment(_ROUTES)
        example = yamltext.scalar(next((name for name in readers if name != default), default), flow=True)
        writer.lines += ["# routes:", f'#   - {{task: "shop.mail.*", queue: {example}}}']
        writer.blank()
        self._note(Fate.LOST, "routes: those of the app's task_routes do not count any more; write them as `routes:`")

    def _pools(self) -> None:
        writer = self.writer
        shared = environment.common([pool.env for pool in self.pools])
        if shared:
            writer.line("x-env: &env", "what these workers have alike in their environment")
            self._variables(shared, 2)
            writer.blank()
        writer.line("pools:")
        for pool in self.pools:
            writer.line(f"{yamltext.scalar(pool.name)}:", pool.origin, 2)
            for line in pool.lines:
                writer.key(line.key, line.value, f"{line.where} {line.comment}".strip(), 4)
            own = {name: value for name, value in pool.env.items() if name not in shared}
            if own:
                writer.line("env:", f"{pool.workers[0].where} environment", 4)
                if shared:
                    writer.line("<<: *env", indent=6)
                self._variables(own, 6)
            elif pool.env:
                writer.line("env: *env", indent=4)
        if any(pool.env for pool in self.pools):
            what = "a pool with `env` imports the app by itself; in an env_file instead, one import serves all the"
            self._note(Fate.CHANGED, f"{what} workers")

    def _variables(self, env: Mapping[str, str], indent: int) -> None:
        for name, value in env.items():
            self.writer.key(yamltext.scalar(name), yamltext.scalar(value), indent=indent)

    def _say(self) -> None:
        """Write the notes at the end."""
        self.notes = list(dict.fromkeys(self.notes))
        for fate, title in _TITLES.items():
            sentences = list(grouped(self.notes, fate))
            if sentences:
                self.writer.blank()
                self.writer.lines.append(f"# {title}")
            for sentence in sentences:
                self.writer.comment(sentence, "- ")


def _verify(writer: Writer) -> None:
    """Read the result as `celeryfleet` will. Raises FleetError: a fault here must not leave a broken file behind."""
    try:
        parse("\n".join(writer.trial), "/fleet.yaml", {}, shown="the result", opened=lambda name: "")
        if problems := parse_yaml(writer.text(), "the result")[1]:
            raise FleetError.of(problems)
    except FleetError as error:
        made = "\n".join(f"{number:>4}  {line}" for number, line in enumerate(writer.trial, 1))
        hint = f"This is a fault of celeryfleet: please report it with the file. What it made is:\n{made}"
        raise FleetError(f"the fleet.yaml made of it is not valid: {error}", hint=hint, code=Exit.FAILURE) from error
