"""Commands about tasks that went wrong: failed, retry, revoke."""

from __future__ import annotations

import sys
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.cli.output import say_json
from celeryfleet.cli.usage import AsJson, Since, an_id
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import age, clean, counted, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.ledger.entry import Entry

#: tasks listed on a screen, and why so many are not sent again
_LISTED, _REFUSED = 50, 5

_Task = Annotated[str, typer.Option("--task", metavar="GLOB", help="Only tasks of this name, such as shop.mail.*")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids, or how they begin.", parser=an_id)]


def failed(context: typer.Context, since: Since = None, task: _Task = "*", as_json: AsJson = False) -> int:
    """List the tasks that failed, that were lost with a killed worker, or that were parked since they kill workers.

    Examples: [bold]celeryfleet failed[/] · [bold]celeryfleet failed --since 1h --task 'shop.mail.*'[/]
    """
    start = _start(since)
    reports = went_wrong(context.obj, start, task)
    known = {report["id"] for report in reports}
    reports += [_report(one) for one in _elsewhere(context.obj, start, task) if one.id not in known]
    reports.sort(key=lambda report: float(report["at"]))
    if as_json:
        return say_json({"schema_version": 1, "tasks": reports})
    if len(reports) > _LISTED:
        say(f"the latest {_LISTED} of {counted(len(reports), 'task')}; --since narrows it, --json has all.", sys.stderr)
    for one in reports[-_LISTED:]:
        when = f"{age(time.time() - one['at'])} ago"
        again = f"  sent again as {one['retried_as']}" if one["retried_as"] else ""
        say(clean(f"{one['id']}  {one['task']}  {one['queue']}  {one['worker']}  {when}{again}"))
        say(f"    {clean(one['error'])}")
    if not reports:
        say("no task has failed.", sys.stderr)
    return Exit.OK


def retry(
    context: typer.Context,
    ids: _Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that `failed` lists.")] = False,
    since: Since = None,
    task: _Task = "*",
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
) -> int:
    """Send tasks that went wrong again: the same task, arguments and queue, each under a new id, and each once.

    What workers of another host had is sent from there.
    Those that were parked go back to their queue as the messages they were.

    Examples: [bold]celeryfleet retry --all --since 1h --task shop.mail.send[/] · [bold]celeryfleet retry 5d0c2a[/]
    """
    if bool(ids) == everything:
        raise FleetError("retry which tasks?", hint="Name ids that `celeryfleet failed` lists, or write --all.")
    sent, refused, moved = retried(context.obj, ids, _start(since), task, again)
    for one, new in sent if ids else ():
        how = f"is sent again as {new}" if new else f"is sent again by host {one.host}: `failed` will say as what"
        say(f"{one.task} ({one.id}) {how}", sys.stderr)
    for one, why in refused[:_REFUSED]:
        say(f"{one.task} ({one.id}) is not sent again: {why}.", sys.stderr)
    count = len(moved) + len(sent)
    more = f", {len(refused):,} not" if refused else ""
    say(f"{counted(count, 'task', 'is', 'are')} sent again{more}.", sys.stderr)
    return Exit.FAILURE if refused else Exit.OK


def revoke(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, or how they begin.", parser=an_id)],
    terminate: Annotated[bool, typer.Option("--terminate", help="End those that run, too, by SIGTERM.")] = False,
) -> int:
    """Have tasks thrown away by whoever takes them, and with --terminate those ended that run.

    It is known to the fleet's workers on all hosts, also to those that start later, until the fleet is stopped.

    Examples: [bold]celeryfleet revoke 5d0c2a[/] · [bold]celeryfleet revoke 5d0c2a --terminate[/]
    """
    over, going = revoked(context.obj, ids, terminate)
    for one in over:
        say(f"{one.task} ({one.id}) is over: {one.state}.", sys.stderr)
    for each, known_one in going.items():
        if note := on_revoked(each, known_one, terminate):
            say(note, sys.stderr)
    if going:
        say(f"{counted(len(going), 'task', 'is', 'are')} revoked.", sys.stderr)
    return Exit.FAILURE if over else Exit.OK


def retried(
    session: Session, ids: list[str] | None, start: float, task: str, again: bool = False
) -> tuple[list[tuple[Entry, str]], list[tuple[Entry, str]], list[Entry]]:
    """Send these tasks again, or all that went wrong; return those with their new ids, those refused and why, and
    those that were parked. What another host sends has no new id yet.
    """
    from celeryfleet.cli import hosts
    from celeryfleet.client import parked
    from celeryfleet.client.again import refusal, send_again
    from celeryfleet.hosts.messages import Retry

    plan = session.followed
    session.require_broker()
    aside = {one.id for one in _aside(session, start, task)}
    with session.ledger(required=False) as ledger:
        if ids is None:
            entries = {one.id: one for one in _elsewhere(session, start, task)}
            entries |= {one.id: one for one in ledger.failures(start, task)}
            entries = {each: one for each, one in entries.items() if again or one.retried_as is None}
        else:
            found = [ledger.named(each) or known(session, each) for each in ids if each not in aside]
            entries = {one.id: one for one in found}
            aside &= {*ids, *entries}
        reasons = {each: refusal(one, again) for each, one in entries.items() if each not in aside}
        wanted = [entries[each] for each, why in reasons.items() if not why]
        moved = parked.retry(plan, lambda one: one.id in aside)
        here = [one for one in wanted if not one.host]
        sent = send_again(plan, ledger, here, again)
        late = {one.id for one in here} - {one.id for one, _ in sent}  # somebody else was faster
        reasons |= {each: refusal(ledger.find(each) or entries[each], again) for each in late if ids}
    there = [one for one in wanted if one.host]  # arguments do not leave a host: each sends its own
    for host in sorted({one.host for one in there}):
        hosts.ask(session, host, Retry(tuple(one.id for one in there if one.host == host), again))
    sent += [(one, "") for one in there]
    return sent, [(entries[each], why) for each, why in reasons.items() if why], moved


def _elsewhere(session: Session, start: float, task: str) -> list[Entry]:
    """Return what went wrong on other hosts; say who may know more."""
    from celeryfleet.cli import hosts
    from celeryfleet.hosts.messages import FindTasks
    from celeryfleet.ledger.entry import FAILED

    return hosts.entries_elsewhere(session, FindTasks(state=FAILED, since=start, task=task))


def revoked(session: Session, ids: list[str], terminate: bool) -> tuple[list[Entry], dict[str, Entry | None]]:
    """Have tasks thrown away; return those that are over, and by id those that are not, as far as they are known."""
    from celeryfleet.cli import gather, hosts
    from celeryfleet.ledger.entry import HELD, RUNNING, UNKNOWN
    from celeryfleet.protocol import Revoke

    found = {each: session.entry(each) for each in (gather.whole_id(session, one) for one in ids)}
    over = [one for one in found.values() if one and one.state not in HELD | {UNKNOWN}]
    going = {one.id if one else each: one for each, one in found.items() if one not in over or one is None}
    for one in going.values():
        if terminate and one and one.state == RUNNING and not _can_end(session, one.worker):
            pool = one.worker.rpartition("-")[0]
            raise FleetError(
                f"not supported: a task of {pool} can't be ended by itself, since its pool is not prefork.",
                hint=f"`celeryfleet restart {pool}` ends its workers when their tasks are over.",
            )
    if going:
        request = Revoke(tuple(going), terminate)
        with session.connect() as client:
            client.do(request)
        _, silent, trouble = hosts.ask_all(session, request)
        for who in silent:
            say(f"{who} does not answer, and does not know of it: its workers may run it.", sys.stderr)
        if trouble:
            say(
                f"other hosts, if there are any, do not know of it, as the broker cannot be asked: {trouble}",
                sys.stderr,
            )
    return over, going


def on_revoked(task_id: str, one: Entry | None, terminate: bool) -> str:
    """Say what should be known of a task that is revoked; mostly nothing."""
    from celeryfleet.ledger.entry import RUNNING

    if one is None:
        return f"no worker has had {clean(task_id)} yet: if that is a task's whole id, whoever takes it drops it."
    if one.state == RUNNING and not terminate:
        return f"{one.task} ({one.id}) runs on {one.worker} and goes on: --terminate ends it."
    return ""


def known(session: Session, text: str) -> Entry:
    """Find a task of another host by its id, or by how one begins. Raises FleetError."""
    found = session.entry_elsewhere(text)
    if found is None:
        what = f"the ledger knows no task {clean(text)}."
        raise FleetError(what, hint="`celeryfleet failed` and `active` list ids.", code=Exit.FAILURE)
    return found


def _can_end(session: Session, worker: str) -> bool:
    pool = session.followed.pool(worker.partition("@")[0].rpartition("-")[0])
    return pool is not None and pool.implementation in ("", "prefork")


def _start(since: str | None) -> float:
    from celeryfleet.logs.times import parse_since

    return parse_since(since, time.time()) if since else 0.0


def went_wrong(session: Session, start: float, task: str) -> list[dict[str, Any]]:
    """Return what went wrong since then, oldest first, as `--json` shows it."""
    aside: list[Entry] = []
    try:
        session.require_broker()
        aside = _aside(session, start, task)
    except FleetError as error:
        if error.code != Exit.BROKER or session.followed.ledger is None:
            raise
        say(f"what is parked is not known: {error.problems[0].what}", sys.stderr)
    with session.ledger(required=False) as ledger:
        entries = ledger.failures(start, task)
    reports = {one.id: _report(one) for one in (*entries, *aside)}
    return sorted(reports.values(), key=lambda report: float(report["at"]))


def _aside(session: Session, start: float, task: str) -> list[Entry]:
    """Return what is parked since then, oldest first."""
    from celeryfleet.client import parked

    return [one for one in parked.found(session.followed) if one.latest >= start * 1000 and fnmatchcase(one.task, task)]


def _report(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "task": entry.task,
        "queue": entry.queue,
        "worker": entry.worker,
        "at": (entry.ended or 0) / 1000,
        "wait_s": entry.wait_s,
        "runtime_s": entry.runtime_s,
        "error": entry.error or entry.state,
        "retried_as": entry.retried_as,
    }
