"""What was found in a file → fleet.yaml, which says where each line comes from and what could not be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.told import Told
from celeryfleet.fleetfile.writing import flow
from celeryfleet.importers import apps, environment, exported, keys, refusals, variables, yamltext
from celeryfleet.importers import told as laid
from celeryfleet.importers import workers as started_by
from celeryfleet.importers.environment import DJANGO, Setting
from celeryfleet.importers.found import Beat, Fate, Note, Program, Reading, grouped
from celeryfleet.importers.keys import CELERY_QUEUE
from celeryfleet.importers.pools import Pool, pools
from celeryfleet.importers.repository import Read
from celeryfleet.importers.yamltext import Writer
from celeryfleet.text import listed


@dataclass(frozen=True, slots=True)
class Ask:
    """What the user wants of a file."""

    #: compose, procfile, supervisord, multi, systemd, k8s
    format: str
    #: as the user named it
    file: str
    #: the app whose workers are taken; empty: there is one
    app: str = ""
    #: variables whose values are given
    known: Mapping[str, str] = field(default_factory=dict)
    #: tells whether a file named in it exists
    exists: Callable[[str], bool] = lambda path: True
    #: what the app itself has said; None: it was not asked
    told: Told | None = None
    #: reads a file of the repository, by its path from the file's folder; None where there is none
    read: Read = lambda path: None
    #: names of programs that are left out
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A fleet.yaml and what is to be said of it."""

    text: str
    notes: tuple[Note, ...]
    #: pool → (workers as they are called in the file, where)
    pools: Mapping[str, tuple[str, ...]]
    #: the app that is to be asked: where there is one, or all were exported, and each says what is all of the fleet's;
    #: its Django settings, and variables with which its workers run, as the file tells
    app: str = ""
    django: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    #: files with more of these, that are there
    env_files: tuple[str, ...] = ()


def fleet(reading: Reading, ask: Ask) -> Result:
    """Make a fleet.yaml. Raises FleetError where there is no worker, no one app, or something is not understood."""
    notes = list(reading.notes)
    kept = [program for program in reading.programs if program.name not in ask.skip]
    left_out = [program for program in reading.programs if program.name in ask.skip]
    notes += [Note(Fate.LOST, program.where, "left out, by --skip", program.name) for program in left_out]
    refusals.check_skipped(reading, ask.skip, ask.file)
    programs = [started_by.started(program, ask.known, reading.brokers) for program in kept]
    notes += [note for program in programs for note in program.notes]
    workers = [worker for program in programs for worker in program.workers]
    if unclear := [note for program in programs for note in program.unclear]:
        raise refusals.unclear(unclear, len(workers))
    if not workers:
        raise refusals.no_worker(reading, ask.file, notes)
    others = [app for program in programs for app in program.apps]
    beats = [beat for program in programs for beat in program.beats]
    chosen = apps.choose(workers, beats, others, ask.app, ask.file, notes)
    made = pools(chosen.workers, notes)
    if ask.told is not None:
        laid.lay(ask.told, made, notes)
    document = _Document(ask, reading, chosen, made, notes)
    document.write([program.program for program in programs if not program.workers])
    return document.result()


_ROUTES = (
    "The routes are in the app's settings (task_routes), which a fleet's routes replace: write them here. The "
    "first match wins. `celeryfleet route TASK` says where a task goes."
)
#: classes of schedulers → the names that their packages give them
_SCHEDULERS = {"django_celery_beat.schedulers:DatabaseScheduler": "django"}
_TITLES = {
    Fate.LOST: "Not taken",
    Fate.CHANGED: "Taken, but not to the letter",
    Fate.NEEDLESS: "Needs no key: a fleet does it anyway",
}


class _Document:
    """A fleet.yaml, being written; what is to be said of it gathers in `notes`."""

    def __init__(
        self, ask: Ask, reading: Reading, chosen: apps.Chosen, found: Sequence[Pool], notes: list[Note]
    ) -> None:
        self.ask, self.reading, self.chosen, self.pools, self.notes = ask, reading, chosen, found, notes
        self.workers = workers = chosen.workers
        #: of what is to be said of the fleet as a whole
        self.where = found[0].workers[0].where
        self.writer = Writer()
        #: of one app
        self.app = chosen.apps.get("", "")
        self.django = ""
        self.env_files: list[str] = []
        #: before what is written elsewhere is taken out of the pools
        self.env = {name: text for worker in workers for name, text in worker.env.items()}

    def write(self, programs: Sequence[Program]) -> None:
        """Write all sections; `programs` are those that start no worker."""
        writer, ask, beats = self.writer, self.ask, self.chosen.beats
        writer.comment(
            f"Made of {ask.file} by `celeryfleet import {ask.format}`. What could not be taken stands at its end."
        )
        writer.comment("Read it, then try it: celeryfleet check, celeryfleet up --dry-run")
        writer.blank()
        if name := exported.fleet(self.workers[0]):
            writer.key("name", yamltext.scalar(name), f"{self.where} -n")
        elif self.reading.name:
            writer.key("name", yamltext.scalar(self.reading.name), f"{ask.file} name")
        if self.app:
            writer.key("app", yamltext.scalar(self.app), self.chosen.origin)
        else:
            writer.key("apps", yamltext.mapping(self.chosen.apps), self.chosen.origin)
        self._django()
        self._env_files()
        self._broker(programs)
        self._queues()
        if ask.told is not None and ask.told.beat and not beats:
            what = f"the app's beat_schedule ({listed(ask.told.beat, most=3)}): nothing in the file starts a beat"
            self._note(Fate.LOST, f"{what}. With `beat: true` the fleet runs one")
        if beats:
            self._beat(beats)
        if any(worker.env.get("CELERYFLEET_LOG_FORMAT") == "json" for worker in self.workers):
            writer.key("logs", "{format: json}", "CELERYFLEET_LOG_FORMAT")
            writer.blank()
        self._pools()
        self._say()

    def result(self) -> Result:
        """Return what was written, once it is known to be valid. Raises FleetError."""
        _verify(self.writer)
        origins = {pool.name: tuple(f"{worker.where} {worker.name}" for worker in pool.workers) for pool in self.pools}
        settled = {name: variables.settled(text, self.ask.known) for name, text in self.env.items()}
        env = {name: text for name, text in settled.items() if text is not None}
        files = tuple(path for path in self.env_files if not variables.varies(path))
        app = self.app or (exported.is_ours(self.workers[0].env) and self.workers[0].app) or ""
        return Result(self.writer.text(), tuple(self.notes), origins, app, self.django, env, files)

    def _note(self, fate: Fate, what: str, where: str = "") -> None:
        self.notes.append(Note(fate, where or self.where, what))

    def _django(self) -> None:
        value, comment = apps.django(self.workers, self.notes)
        if value:
            self.django = value
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
        self.env_files = there
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
        told = self.ask.told
        found = laid.url(told, "broker", found) if told is not None else found
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
        results = laid.url(told, "results", results) if told is not None else results
        if results is not None:
            self._set("results", results)
        else:
            comment = "not in the file; without it the broker keeps them"
            self.writer.line("# results: ${CELERY_RESULT_BACKEND}", comment)
        if told is not None and told.celery:
            self.writer.key("celery", flow(told.celery), f"{laid.ORIGIN}; a fleet has its own else")
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
        writer, told = self.writer, self.ask.told
        readers: dict[str, list[str]] = {}
        for pool in self.pools:
            for queue in pool.queues:
                readers.setdefault(queue, []).append(pool.name)
        writer.line("queues:", "those that the workers read")
        for queue, names in readers.items():
            writer.line(f"{yamltext.scalar(queue)}:{laid.definition(told, queue)}", f"read by {listed(names)}", 2)
        if told is not None:
            for queue, comment in laid.queues(told, readers):
                writer.line(f"{yamltext.scalar(queue)}:{laid.definition(told, queue)}", comment, 2)
            writer.key("default_queue", yamltext.scalar(told.default_queue), "the app's task_default_queue")
            writer.blank()
            self._routes(told)
            return
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

    def _routes(self, told: Told) -> None:
        """Write the app's own routes, which a fleet's replace."""
        if told.routes:
            self.writer.line("routes:", "the app's task_routes; the first match wins")
            for route in told.routes:
                self.writer.line(f"- {flow(route)}", indent=2)
            self.writer.blank()

    def _beat(self, beats: Sequence[Beat]) -> None:
        """Write the one beat of a fleet; what the first says counts."""
        first = beats[0]
        said = {} if self.app else {"app": self.chosen.name_of(first.app)}
        said |= {"scheduler": _SCHEDULERS.get(first.scheduler, first.scheduler), "max_interval": first.max_interval}
        said = {key: value for key, value in said.items() if value}
        if "max_interval" in said:
            said["max_interval"] += "s"
        for key, value in [item for item in said.items() if item[0] != "app"]:
            problem = keys.beat_problem(key, value)
            if problem:
                self._note(Fate.LOST, f"beat: {key} {value} {problem}", first.where)
                del said[key]
        self.writer.key("beat", yamltext.mapping(said), f"{first.where}: the app's schedule")
        self.writer.blank()
        for other in beats[1:]:
            self._note(Fate.CHANGED, "a second beat: a fleet has one", other.where)

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
            if not self.app:
                writer.key("app", yamltext.scalar(self.chosen.name_of(pool.app)), f"{pool.workers[0].where} -A", 4)
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
