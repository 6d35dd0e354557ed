"""From the words before the command to a Fleet, a Plan, an app and a connection, each made when first asked for."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet import trust
from celeryfleet.cli.lean import unreachable
from celeryfleet.endpoint import Refusal
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import GetPlan, Running
from celeryfleet.supervise.control_client import Client, NotRunningError

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.facts import AppFacts
    from celeryfleet.plan.values import Plan

#: seconds that the reply queue of a command stays on RabbitMQ after its end; Celery's own would for a day
_REPLIES_KEPT = 600


@dataclass
class Session:
    """One run of the command line."""

    file: Path | None = None
    env_files: tuple[Path, ...] = ()
    profiles: tuple[str, ...] = field(default=())

    @cached_property
    def path(self) -> Path:
        """The fleet.yaml in question. Raises FleetError where it or a folder of it is a stranger's."""
        from celeryfleet.fleetfile.load import find, override_of

        found = self.file if self.file is not None else find(Path.cwd())
        for file in (found, override_of(found)):
            trust.vet(str(file))
        return found

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
        """What should run, with the broker's program found on this machine."""
        from celeryfleet import machine
        from celeryfleet.plan.build import build
        from celeryfleet.supervise.program import find_server

        facts = machine.facts(self.fleet)
        if self.plan.broker.argv:
            facts = replace(facts, server=find_server(self.fleet.broker.server))
        return build(self.fleet, facts, self.profiles)

    def connect(self, timeout: float | None = 30.0) -> Client:
        """Connect to the running supervisor. Raises NotRunningError (exit code 3)."""
        return Client(self.followed.control, timeout)

    def running(self) -> Client | None:
        """Connect to the supervisor if there is one."""
        try:
            return self.connect()
        except NotRunningError:
            return None

    def app(self) -> Any:
        """Load the user's Celery app with the fleet's settings in it."""
        from celeryfleet.app import apply

        found = self._bare_app()
        apply(found, self.plan.settings)
        if self.plan.settings["result_backend"].startswith("rpc") and "result_expires" not in self.plan.settings:
            found.conf.result_expires = _REPLIES_KEPT
        return found

    def examined(self) -> tuple[Any, AppFacts]:
        """Load the app as `app` does, and say what it was before."""
        from celeryfleet.app import apply, import_tasks
        from celeryfleet.client.inspect import facts, own_settings

        found = self._bare_app()
        import_tasks(found)  # it says what is wrong with settings that can't be read
        settings = own_settings(found)
        apply(found, self.plan.settings)
        return found, facts(found, settings)

    def _bare_app(self) -> Any:
        from celeryfleet.app import load

        os.environ.update({k: v for k, v in self.plan.env.items() if k not in os.environ})
        return load(self.plan.app, self.plan.django, str(Path(self.plan.file).parent))

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
