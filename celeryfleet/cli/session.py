"""From the words before the command to a Fleet, a Plan, an app and a connection, each made when first asked for."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from celeryfleet import trust
from celeryfleet.cli.lean import unreachable
from celeryfleet.endpoint import Refusal
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import GetPlan, GetStatus, GetTasks, Running, Status, Tasks, WriteLedger, Written
from celeryfleet.records import Record
from celeryfleet.supervise.control_client import Client, NotRunningError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.ledger.read import Ledger
    from celeryfleet.plan.facts import AppFacts
    from celeryfleet.plan.values import Plan

R = TypeVar("R", bound=Record)

#: seconds that the reply queue of a command stays on RabbitMQ after its end; Celery's own would for a day
_REPLIES_KEPT = 600


@dataclass
class Session:
    """One run of the command line."""

    file: Path | None = None
    env_files: tuple[Path, ...] = ()
    profiles: tuple[str, ...] = field(default=())
    #: which host this is, as `up --host` says
    host: str = ""
    #: the apps that were loaded, by their names, and why the others were not
    loaded: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, FleetError] = field(default_factory=dict)
    #: why the ledger did not have all that workers know when it was opened last
    unwritten: str = ""

    @cached_property
    def path(self) -> Path:
        """The fleet.yaml in question. Raises FleetError where it or a folder of it is a stranger's."""
        from celeryfleet.fleetfile.load import find, override_of

        found = self.file if self.file is not None else find(Path.cwd())
        for file in (found, override_of(found)):
            trust.vet(str(file))
        return found

    def words(self) -> list[str]:
        """Return the words before a command that make another run of the same fleet."""
        files = [word for file in self.env_files for word in ("--env-file", str(file))]
        return ["--file", str(self.path), *files, *(word for name in self.profiles for word in ("--profile", name))]

    @cached_property
    def fleet(self) -> Fleet:
        """What the user declared. Raises FleetError with everything that is wrong."""
        from celeryfleet.fleetfile.load import read

        return read(self.path, os.environ, self.env_files)

    @cached_property
    def plan(self) -> Plan:
        """What should run, as long as nothing of it is to be started here (see `startable`)."""
        from celeryfleet import machine
        from celeryfleet.plan.build import build

        plan = build(self.fleet, machine.facts(self.fleet), self.profiles)
        _vet_sockets(plan)
        return plan

    @cached_property
    def followed(self) -> Plan:
        """What should run; where fleet.yaml can't be read, as in a shell without its variables, what runs already.

        Raises FleetError with everything that is wrong with fleet.yaml, if nothing runs.
        """
        try:
            return self.plan
        except FleetError:
            from celeryfleet.plan.values import Plan
            from celeryfleet.supervise.boot import pointer

            try:
                with Client(str(pointer(self.path.absolute()).readlink())) as client:
                    return Plan.from_json(client.ask(GetPlan(), Running).plan)
            except (OSError, NotRunningError):
                pass
            raise

    @cached_property
    def startable(self) -> Plan:
        """What should run here, with the broker's program found on this machine.

        Raises FleetError for a host that fleet.yaml does not name.
        """
        from celeryfleet import machine
        from celeryfleet.plan.build import build, placed
        from celeryfleet.supervise.program import find_server

        said = self.host or os.environ.get(machine.HOST, "")
        facts = machine.facts(self.fleet, host=said or self._host_that_runs())
        if self.plan.broker.argv:
            facts = replace(facts, server=find_server(self.fleet.broker.server))
        return placed(self.fleet, build(self.fleet, facts, self.profiles))

    @property
    def here(self) -> Plan:
        """What should run here; all of it where fleet.yaml does not name this host."""
        from celeryfleet.plan.build import placed

        return placed(self.fleet, self.plan) if self.plan.host in self.fleet.hosts else self.plan

    def _host_that_runs(self) -> str:
        """Return the name that the running supervisor goes by, if there is one: it may have been said by --host."""
        status = self.ask(GetStatus(exact=False), Status)
        return status.host if status else ""

    def connect(self, timeout: float | None = 30.0) -> Client:
        """Connect to the running supervisor. Raises NotRunningError (exit code 3)."""
        return Client(self.followed.control, timeout)

    def ask(self, request: Record, kind: type[R]) -> R | None:
        """Return what the running supervisor replies; None: there is none."""
        try:
            with self.connect() as client:
                return client.ask(request, kind)
        except NotRunningError:
            return None

    def ledger(self, required: bool = True) -> Ledger:
        """Open the fleet's ledger, with all in it that the workers know now.

        Raises FleetError if it keeps none, or returns an empty one if that will do.
        """
        from celeryfleet.ledger.read import Ledger

        plan = self.followed
        if plan.ledger is None and not required:
            return Ledger(f"{os.devnull}/ledger")
        if plan.ledger is None:
            raise FleetError(
                "this fleet keeps no ledger: fleet.yaml says `ledger: false`.",
                hint="Without it, what became of a task is known by its result alone.",
            )
        written = self.ask(WriteLedger(), Written)
        trouble = written.trouble if written else ""
        if trouble and not self.unwritten:
            say(f"warning: {trouble}", sys.stderr)
        self.unwritten = trouble
        return Ledger(plan.ledger.file)

    def entry(self, task_id: str) -> Entry | None:
        """Return what the ledger knows of a task, by its id or how that begins, or else that of another host.

        None also where it can't be read.
        """
        found = None
        with suppress(FleetError), self.ledger() as ledger:
            found = ledger.named(task_id)
        return found or self.entry_elsewhere(task_id)

    def entry_elsewhere(self, task_id: str) -> Entry | None:
        """Return what the ledgers of other hosts know of a task, by its id or how that begins: the latest of it."""
        from celeryfleet.cli import hosts
        from celeryfleet.hosts.messages import FindTasks

        found, _, _ = hosts.tasks(self, FindTasks(id=task_id))
        return max(found, key=lambda one: one.latest, default=None)

    @cached_property
    def host_here(self) -> str:
        """Name the host that this is: as the supervisor that runs here says, else as it would be called."""
        return self._host_that_runs() or self.followed.host

    def app(self) -> Any:
        """Load the user's Celery apps with the fleet's settings in them; return the first, which knows all tasks."""
        from celeryfleet.app import together

        self._load(self._prepare)
        self.tell_left_out()
        return together([*self.loaded.values()])

    def apps(self, names: Collection[str]) -> list[Any]:
        """Load these of the user's Celery apps with the fleet's settings in them. Raises FleetError if one can't be."""
        self._load(self._prepare, names)
        for error in self.left_out.values():
            raise error
        return [*self.loaded.values()]

    def _prepare(self, app: Any, name: str) -> None:
        from celeryfleet.app import apply, import_tasks

        apply(app, self.plan.settings)
        if self.plan.settings["result_backend"].startswith("rpc") and "result_expires" not in self.plan.settings:
            app.conf.result_expires = _REPLIES_KEPT
        if len(self.plan.apps) > 1:
            import_tasks(app)

    def examined(self) -> tuple[Any, AppFacts]:
        """Load the apps as `app` does, and say what they were before; of settings, the first that has one tells."""
        from celeryfleet.app import apply, import_tasks, installs, own_settings, together, unknown_settings
        from celeryfleet.cli.words import learn
        from celeryfleet.client.inspect import facts

        apart: dict[str, dict[str, Any]] = {}
        unknown: dict[str, str] = {}

        def prepare(app: Any, name: str) -> None:
            import_tasks(app)  # it says what is wrong with settings that can't be read
            app.finalize()  # at which periodic tasks may be added
            apart[name] = own_settings(app)
            unknown.update(unknown_settings(app))
            apply(app, self.plan.settings)

        self._load(prepare)
        first = together([*self.loaded.values()])
        settings = {key: value for said in reversed(apart.values()) for key, value in said.items()}
        told = facts(first, settings, unknown)
        told = replace(told, apart=apart, installs=all(map(installs, self.loaded.values())))
        learn(str(self.path.absolute()), told.tasks)
        return first, told

    def _load(self, prepare: Callable[[Any, str], None], names: Collection[str] = ()) -> None:
        """Load each app, or these; one that can't be is left out. Raises FleetError if none is left."""
        from celeryfleet.app import load

        os.environ.update({k: v for k, v in self.plan.env.items() if k not in os.environ})
        project, folder = "", str(Path(self.plan.file).parent)
        for named in [app for app in self.plan.apps if not names or app.name in names]:
            try:
                if project and named.django not in ("", project):
                    raise FleetError(f"it is of the Django project {named.django}, and {project} is loaded already.")
                app = load(named.path, named.django, folder)
                prepare(app, named.name)
            except FleetError as error:
                self.left_out[named.name] = error
            else:
                self.loaded[named.name], project = app, project or named.django
        if not self.loaded:
            raise next(iter(self.left_out.values()))

    def tell_left_out(self) -> None:
        """Say which apps could not be loaded beside those that were."""
        for name, error in self.left_out.items():
            say(f"note: the app {name} is left out here: {error.problems[0].what}", sys.stderr)

    @cached_property
    def tasks_of_others(self) -> frozenset[str]:
        """Names of tasks that workers of this fleet have, where an app of theirs is left out here."""
        tasks = self.ask(GetTasks(), Tasks) if self.left_out else None
        return frozenset(tasks.names if tasks else ())

    def require_broker(self) -> None:
        """Make sure that the broker answers: publishing to one that does not blocks for 19 seconds."""
        reach_broker(self.plan)


def _vet_sockets(plan: Plan) -> None:
    """Raise FleetError where a folder of the plan's sockets is a link or a stranger's."""
    sockets = Path(plan.control).parent
    for folder in (sockets.parent, sockets):
        try:
            found = folder.lstat()
        except OSError:  # it is not there, or not ours to enter, as whoever tries will say
            return
        if stat.S_ISLNK(found.st_mode) or not trust.believed(found.st_uid):
            owner = "a symbolic link" if stat.S_ISLNK(found.st_mode) else f"of {trust.named(found.st_uid)}"
            raise FleetError(
                f"{folder} is {owner}: what listens there is not believed.",
                hint="A fleet keeps its sockets and its broker's data there: remove it, or have it removed.",
            )


def reach_broker(plan: Plan) -> None:
    """Raise FleetError with exit code 69 if the plan's broker does not answer."""
    reason = unreachable(plan.broker.url, plan.broker.transport, plan.settings)
    if not reason:
        return
    if plan.broker.argv:
        raise FleetError(
            f"the fleet's own broker does not answer ({reason}).",
            hint="Start the fleet with `celeryfleet up -d`; if it runs, see `celeryfleet logs broker`.",
            code=Exit.BROKER,
        )
    hint = "Is it running, and is `broker:` in fleet.yaml right?"
    if isinstance(reason, Refusal):
        hint = "`celeryfleet check --explain CF046` says what to do."
    raise FleetError(f"the broker {plan.broker.shown} cannot be reached: {reason}.", hint=hint, code=Exit.BROKER)
