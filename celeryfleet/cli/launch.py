"""Starting, following and stopping a fleet: what `up` and `down` do between the terminal and the supervisor."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.cli import hosts, prestart
from celeryfleet.cli.output import say_json
from celeryfleet.cli.session import Session, reach_broker
from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.suggest import unknown
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import (
    Apply,
    Difference,
    Done,
    Locked,
    Refused,
    Settled,
    Shown,
    ShowPage,
    Status,
    Stop,
    Wait,
)
from celeryfleet.records import Lines, Record, encode, public
from celeryfleet.render import progress
from celeryfleet.supervise.control_client import Client, NotRunningError
from celeryfleet.text import counted, listed, say

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet

#: seconds that a supervisor may take to take over
_BOOT = 30.0


def narrowed(plan: Plan, pools: Sequence[str], replicas: dict[str, int]) -> Plan:
    """Return the plan for some pools only, with other numbers of replicas."""
    scalable = [pool.name for pool in plan.pools]
    known = [*scalable, "beat"] if plan.beat else scalable
    for names, those in ((pools, known), (replicas, scalable)):
        for name in names:
            if name not in those:
                raise unknown("pool", name, those)
    others = [name for name in known if name not in pools] if pools else []
    return plan.without(others).scaled(replicas)


def require_here(session: Session, host: str, pools: Iterable[str], hint: str) -> None:
    """Raise FleetError for pools that fleet.yaml gives to other hosts than this one."""
    for name in pools:
        given = [host for host, what in session.fleet.hosts.items() if name in what.pools]
        if given and host not in given:
            what = f"{name} does not run on host {host}: fleet.yaml gives it to {listed(given)}."
            raise FleetError(what, session.fleet.where("hosts"), hint)


def warn(session: Session, plan: Plan) -> None:
    """Say what `check` would, where it matters for running."""
    from celeryfleet.cli.examine import files
    from celeryfleet.lint import Level, lint
    from celeryfleet.lint.ignores import silence

    told, _ = silence(lint(session.fleet, plan), files(session), judged=())
    for finding in told:
        if finding.level is Level.WARNING:
            say(f"warning: {finding.where}: {finding.what} {finding.hint} [{finding.code}]", sys.stderr)


def start(
    plan: Plan, fleet: Fleet | None = None, only: Sequence[str] = (), page: Sequence[str] = ()
) -> tuple[Client, bool]:
    """Bring the fleet to the plan; return a connection, and whether it ran before.

    `fleet` is where the queues of the plan are written, if they are to be declared. `only` names the pools of a
    running fleet to act on. `page` is the command line of a web page to run beside it.
    """
    client, ran = _started(plan, fleet, only)
    if page:
        try:
            say(f"{plan.fleet} is shown on {client.ask(ShowPage(tuple(page)), Shown).url}", sys.stderr)
        except FleetError as error:  # the fleet goes on without it
            say(f"warning: {error}", sys.stderr)
    return client, ran


def _started(plan: Plan, fleet: Fleet | None, only: Sequence[str]) -> tuple[Client, bool]:
    for _ in range(3):
        try:
            client = Client(plan.control)
        except NotRunningError:
            if not plan.broker.argv:
                reach_broker(plan)
                hosts.claim(plan)
            _declare(plan, fleet)
            if _boot(plan):
                return Client(plan.control), False
            continue  # someone else was faster
        _declare(plan, fleet)
        client.do(Apply(plan.to_json(), only=tuple(only)))
        return client, True
    hint = f"See {plan.state_dir}/logs/supervisor.log; `fuser {plan.state_dir}/lock` names the process."
    raise FleetError("another supervisor holds the fleet's lock but does not answer.", hint=hint)


def preview(plan: Plan, reload: bool, only: Sequence[str], as_json: bool) -> int:
    """Show what `up` or `reload` would do, and why; do nothing."""
    from celeryfleet.supervise.decide.difference import difference
    from celeryfleet.supervise.decide.state import FleetState
    from celeryfleet.supervise.decide.target import Target

    try:
        with Client(plan.control) as client:
            request = Apply(plan.to_json(), reload, tuple(only), dry_run=True)
            actions = client.ask(request, Difference).actions
    except NotRunningError:
        if reload:
            raise
        actions = difference(None, Target.of(plan), FleetState(), 0.0)
    if as_json:
        return say_json({"schema_version": 1, "actions": [public(action) for action in actions]})
    kept = sum(action.do == "keep" for action in actions)
    for action in actions:
        if action.do != "keep":
            say(action)
    if kept or not actions:
        say(f"keep {counted(kept, 'worker')}: nothing of {'it' if kept == 1 else 'them'} changes")
    return Exit.OK


def _declare(plan: Plan, fleet: Fleet | None) -> None:
    """Declare the queues on a RabbitMQ, also those that no pool reads; raise FleetError for all that it refuses.

    One that is away meanwhile is no reason not to go on: the workers wait for it, and declare what they read.
    """
    if plan.broker.transport != "amqp" or fleet is None:
        return
    from celeryfleet.client.conflicts import conflicts_of
    from celeryfleet.routing.conflicts import error

    found = conflicts_of(plan, declare=True)
    if found:
        raise error(found, fleet.where)


def _boot(plan: Plan) -> bool:
    """Start a supervisor with this plan; False if another one holds the fleet's lock."""
    ours = prestart.take()
    ours.settimeout(_BOOT)
    replies: list[Record] = []
    with ours, contextlib.suppress(ConnectionError):
        ours.sendall(encode(Apply(plan.to_json())))
        lines = Lines(Done | Locked | Refused)
        while not replies and (data := ours.recv(4096)):
            replies = list(lines.feed(data))
    match replies:
        case [Done()]:
            return True
        case [Locked()]:
            time.sleep(0.1)
            return False
        case [Refused(what, _, code)]:
            raise FleetError(what, code=Exit(code))
    raise FleetError(
        "the supervisor ended before it had started.",
        hint=f"See {plan.state_dir}/logs/supervisor.log.",
        code=Exit.NOT_READY,
    )


# --- Detached ---------------------------------------------------------------------------------------------


def detached(
    plan: Plan,
    until: str,
    timeout: float | None,
    fleet: Fleet | None = None,
    only: Sequence[str] = (),
    page: Sequence[str] = (),
) -> int:
    """Start in the background, and wait until it is `ready`, until the app is `imported`, or, if empty, for nothing."""
    began = time.monotonic()
    client, ran = start(plan, fleet, only, page)
    with client:
        if until == "ready":
            return await_ready(client, timeout, only, began)
        client.patience(None)
        with progress.waiting("importing the app"):
            # With no time to wait it replies at once, with the status.
            reply = client.ask(Wait(None if until else 0.0, "imported", tuple(only)), Settled)
    if reply.done is False and until:
        raise _not_ready(reply.status, only)
    if not ran:
        what = (
            f"{plan.fleet} starts {counted(sum(pool.want for pool in reply.status.pools), 'worker')} in the background"
        )
    elif only:
        what = f"{listed(only)} {'follow' if len(only) > 1 else 'follows'} fleet.yaml as it is now, the rest goes on"
    else:
        what = f"{plan.fleet} follows fleet.yaml as it is now"
    say(f"{what}; see `celeryfleet status`.{_paused(reply.status)}", sys.stderr)
    return Exit.OK


def await_ready(client: Client, timeout: float | None, only: Sequence[str] = (), began: float | None = None) -> int:
    """Wait until all that is wanted is ready, in these pools or in all; say what became of it, and how long it took.

    Raises FleetError if it is not to be.
    """
    began = began or time.monotonic()
    client.patience(None)
    with progress.waiting("waiting for the workers"):
        reply = client.ask(Wait(timeout, pools=tuple(only)), Settled)
    status = reply.status
    asked = [pool for pool in status.pools if not only or pool.name in only]
    want, ready = sum(pool.want for pool in asked), sum(pool.ready for pool in asked)
    if reply.done:
        took = time.monotonic() - began
        where = "" if only else f" in {counted(len(asked), 'pool')}"
        what = f"{listed(only)} {'are' if len(only) > 1 else 'is'}" if only else f"{status.fleet} is"
        ready_now = f"{what} ready{_on(status.host, status.hosts)}: {counted(want, 'worker')}{where} ({took:.1f} s)"
        say(f"{ready_now}{_paused(status)}", sys.stderr)
        return Exit.OK
    if reply.done is None:
        stopping = [one.name for pool in asked for one in pool.workers if one.state == "stopping"]
        finishing = f"{listed(stopping, most=3)} {'finishes its' if len(stopping) == 1 else 'finish their'} tasks"
        rest = f"; {finishing}" if stopping and not status.reason else ""
        raise FleetError(
            f"{ready} of {want} workers are ready after {timeout:g} s{rest}.",
            hint="It goes on: see `celeryfleet status` and `celeryfleet logs`.",
            code=Exit.TIMEOUT,
        )
    raise _not_ready(status, only)


def _on(host: str, hosts: Collection[str]) -> str:
    """Say which host it is about, where there are others."""
    return f" on host {host}" if len(hosts) > 1 else ""


def _paused(status: Status) -> str:
    """Remind of what was paused, perhaps long ago: an `up` does not resume it."""
    return f"\nStill paused: {listed(status.paused)}. Go on: celeryfleet resume" if status.paused else ""


def _not_ready(status: Status, only: Sequence[str]) -> FleetError:
    return FleetError("\n".join(troubles(status, only)), hint="See `celeryfleet status`.", code=Exit.NOT_READY)


def troubles(status: Status, only: Sequence[str]) -> Iterator[str]:
    """Say what keeps a fleet, or some pools of it, from being ready."""
    yield f"{status.fleet} is not ready."
    yield from status.notes
    for pool in status.pools:
        for worker in pool.workers if not only or pool.name in only else ():
            last = worker.last_exit
            died = worker.state == "failed" or (worker.state in ("backoff", "starting") and last and last.code)
            if not died or any(worker.cause in text for text in status.notes):
                continue
            yield f"{worker.name} failed: {worker.cause}"
            for line in worker.last_exit.log if worker.last_exit else ():
                yield f"  {line}"


# --- Stopping and reloading -------------------------------------------------------------------------------


def stop(session: Session, pools: tuple[str, ...], cold: bool, timeout: float | None, purge: bool) -> int:
    """Stop the fleet, or some pools of it, and wait until nothing of that is left."""
    plan = session.followed
    try:
        client = session.connect()
    except NotRunningError:
        narrowed(plan, pools, {})
        return _stop_leftovers(plan, cold, timeout, purge)
    with client:
        if purge:
            _purge(plan)
        here = _on(session.host_here, plan.hosts)
        try:
            client.do(Stop(cold, timeout, pools))
        except FleetError:
            require_here(session, session.host_here, pools, "Run `down` there.")
            raise
        _await_end(client, plan, "cold" if cold else "warmly", pools)
    say(f"{listed(pools) or plan.fleet} {'are' if len(pools) > 1 else 'is'} stopped{here}.", sys.stderr)
    return Exit.OK


def _await_end(client: Client, plan: Plan, stopping: str, pools: tuple[str, ...] = ()) -> None:
    """Wait until these pools are gone, or the supervisor hangs up; Ctrl-C meanwhile turns the stop cold."""
    client.patience(None)
    with progress.waiting(f"stopping {listed(pools) or plan.fleet} {stopping}"):
        while True:
            try:
                if client.ask(Wait(until="gone", pools=pools), Settled).done:
                    return
            except KeyboardInterrupt:
                with Client(plan.control) as other:
                    other.do(Stop(cold=True, pools=pools))
            except NotRunningError:
                return


def _stop_leftovers(plan: Plan, cold: bool, timeout: float | None, purge: bool) -> int:
    """Without a supervisor, stop what a killed one may have left: a new one takes it over, and stops it."""
    from celeryfleet.supervise.leftovers import Leftovers

    if any(Leftovers(Path(plan.state_dir) / "pids.json").alive()):
        client, _ = start(replace(plan, pools=(), beat=None))
        with client:
            client.do(Stop(cold, timeout))
            _await_end(client, plan, "what was left of it")
        say(f"{plan.fleet} is stopped.", sys.stderr)
        return Exit.OK
    if purge:
        raise FleetError(
            f"{plan.fleet} is not running, so its queues can't be purged.", hint="Run `celeryfleet up -d`."
        )
    say(f"{plan.fleet} is not running.", sys.stderr)
    return Exit.OK


def _purge(plan: Plan) -> None:
    from celeryfleet.client.broker import purge

    dropped = purge(plan, [queue.name for queue in plan.queues])
    say(f"dropped {counted(dropped, 'message')}.", sys.stderr)


def reload(session: Session, only: tuple[str, ...], wait: bool) -> int:
    """Send the running supervisor a new plan that replaces every worker, of these pools or of all."""
    plan = narrowed(session.startable, only, {})
    with session.connect() as client:
        _try_import(session, {pool.app for pool in plan.pools if not pool.fork})
        _declare(plan, session.fleet)
        client.do(Apply(plan.to_json(), reload=True, only=only))
        return await_ready(client, None, only) if wait else Exit.OK


def _try_import(session: Session, names: Collection[str]) -> None:
    """Import the code of apps here whose workers would do so only when those before them have gone."""
    from celeryfleet.app import import_tasks

    projects = {session.plan.app(name).django for name in names} - {""}
    if not names or len(projects) > 1:  # a process can hold one Django project alone
        return
    try:
        with progress.waiting("importing the app"):
            for app in session.apps(names):
                import_tasks(app)
    except FleetError as error:
        raise FleetError.of(error.problems, Exit.NOT_READY) from error
