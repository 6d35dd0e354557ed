"""Queues in hand: depths, and what waits looked at, moved, waited for and dropped."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli import insight, lean
from celeryfleet.cli.interrupts import interruptible
from celeryfleet.cli.output import show
from celeryfleet.cli.usage import AsJson, Group
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.messages import Message
    from celeryfleet.protocol import Status

#: seconds between two looks at a queue that is being emptied
_LOOK = 0.2

_Queue = Annotated[str, typer.Argument(metavar="QUEUE")]

group = typer.Typer(cls=Group, invoke_without_command=True, rich_markup_mode="rich")


@group.callback()
def queues(context: typer.Context, as_json: AsJson = False) -> int:
    """Show depth, age and consumers of the queues, or look into them, move, wait for or drop what waits.

    Examples: [bold]celeryfleet queues[/] · [bold]celeryfleet queues peek mail[/] ·
    [bold]celeryfleet queues move mail low[/]
    """
    if context.invoked_subcommand is None:
        context.obj.require_broker()
        lean.show(insight.found(context.obj), "queues", as_json)
    return Exit.OK


@group.command()
def peek(
    context: typer.Context,
    queue: _Queue,
    count: Annotated[int, typer.Option("-n", metavar="N", min=1, help="The first N messages.")] = 10,
    as_json: AsJson = False,
) -> int:
    """Show the messages that are taken next, and leave them there.

    On RabbitMQ they are marked as redelivered by it; a quorum queue would count it as a delivery, and is refused.

    Examples: [bold]celeryfleet queues peek mail -n 50[/]
    """
    from celeryfleet.render import messages as draw

    found, now = peeked(context.obj, queue, count), time.time()
    nothing = "" if found else f"nothing waits in {queue}."
    return show(as_json, draw.peek_document(queue, found, now), partial(draw.peek_lines, found, now), nothing)


@group.command()
def move(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM")],
    target: Annotated[str, typer.Argument(metavar="TO", help="A queue of fleet.yaml.")],
    count: Annotated[int | None, typer.Option("-n", metavar="N", min=1, help="The first N; default: all.")] = None,
    task: Annotated[str, typer.Option("--task", metavar="GLOB", help="Only tasks of this name: shop.mail.*")] = "*",
) -> int:
    """Move waiting messages to another queue, in their order and with their priority, as if they were sent anew.

    What workers have taken stays with them. None is lost, whenever this is killed; on RabbitMQ one may be there twice.

    Examples: [bold]celeryfleet queues move mail low --task 'shop.news.*'[/] ·
    [bold]celeryfleet queues move dead mail[/]
    """
    session: Session = context.obj
    moved: int | None = None
    with interruptible() as interrupted:

        def on_progress(now: int) -> None:
            nonlocal moved
            moved = now
            if interrupted():
                raise KeyboardInterrupt

        try:
            moved = moved_to(session, source, target, count, task, on_progress)
        finally:
            if moved is not None:
                say(f"moved {counted(moved, 'message')} from {source} to {target}.", sys.stderr)
    if moved and not session.plan.routing.readers([target]):
        say(f"warning: no pool reads {target}.", sys.stderr)
    return Exit.OK


@group.command()
def drain(
    context: typer.Context,
    queue: _Queue,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Wait so long, then exit 124.")
    ] = None,
) -> int:
    """Wait until a queue is empty and what workers took from it is done.

    Exit code 3 as soon as that cannot come about: it is paused, or nobody reads it.

    Examples: [bold]celeryfleet queues drain mail --timeout 600[/]
    """
    from celeryfleet.client.outcome import Progress
    from celeryfleet.render.progress import progress_bar

    session: Session = context.obj
    session.require_broker()
    _know(session, queue)
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    total = 0
    with progress_bar(f"{queue} empties") as draw:
        while True:
            with session.connect() as client:
                status = lean.collect(client)
            left = _left(session, status, queue)
            if not left:
                break
            _can_empty(status, queue, left)
            total = max(total, left)
            draw(Progress(total - left, total, 0))
            if time.monotonic() >= deadline:
                what = f"{counted(left, 'message')} of {queue} {'is' if left == 1 else 'are'} not done."
                raise FleetError(what, hint=f"See why: celeryfleet why {queue}", code=Exit.TIMEOUT)
            time.sleep(min(_LOOK, max(0.0, deadline - time.monotonic())))
    say(f"{queue} is empty.", sys.stderr)
    return Exit.OK


@group.command()
def purge(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="QUEUE")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> int:
    """Drop what waits in queues; what workers have taken is done.

    Examples: [bold]celeryfleet queues purge mail[/] · [bold]celeryfleet queues purge mail low -y[/]
    """
    from celeryfleet.client.broker import purge as drop

    session: Session = context.obj
    for name in names:
        _know(session, name)
    session.require_broker()
    if not yes:
        _ask(session, names)
    dropped = drop(session.plan, names)
    if as_json:
        say(json.dumps({"schema_version": 1, "dropped": dropped}))
    else:
        say(f"dropped {counted(dropped, 'message')}.", sys.stderr)
    return Exit.OK


@group.command()
def dead(context: typer.Context, as_json: AsJson = False) -> int:
    """List the queues of dead letters: those named by x-dead-letter-exchange, and that of parked tasks.

    `queues peek` shows what is in one, `queues move` puts it back; parked tasks go back by `retry`.

    Examples: [bold]celeryfleet queues dead[/]
    """
    from celeryfleet.client import in_hand
    from celeryfleet.render import messages as draw

    session: Session = context.obj
    session.require_broker()
    found = in_hand.dead(session.plan, {queue.name: queue.ready or 0 for queue in insight.found(session).queues})
    return show(as_json, draw.dead_document(found), partial(draw.dead_lines, found))


# --- What the commands share ------------------------------------------------------------------------------


def peeked(session: Session, queue: str, count: int) -> list[Message]:
    """Return the messages of a queue that are taken next. Raises FleetError."""
    from celeryfleet.client import in_hand

    session.require_broker()
    _know(session, queue, anywhere=True)
    return in_hand.peek(session.plan, queue, count)


def moved_to(
    session: Session,
    source: str,
    target: str,
    count: int | None,
    task: str,
    on_progress: Callable[[int], object] = lambda moved: None,
) -> int:
    """Move waiting messages to another queue; return how many. Raises FleetError."""
    from celeryfleet.client import in_hand

    session.require_broker()
    _know(session, target)
    _know(session, source, anywhere=True)
    if source == target:
        raise FleetError(f"{source} and {target} are one queue.")

    def choose(one: Message) -> str | None:
        return target if fnmatchcase(one.task, task) else None

    return len(in_hand.move(session.plan, source, choose, count, task != "*", on_progress))


def _know(session: Session, name: str, anywhere: bool = False) -> None:
    """Raise FleetError, with a guess, for a queue that is not the fleet's, nor, `anywhere`, one with messages."""
    from celeryfleet.routing.queue import unknown

    known = [*(queue.name for queue in session.plan.queues), session.plan.parked]
    if name not in known and not (anywhere and _depth(session, name)):
        raise unknown(name, known)


def _depth(session: Session, name: str) -> int:
    """Count what waits in any queue of the broker's."""
    from celeryfleet.supervise.decide.state import FleetState
    from celeryfleet.supervise.decide.target import Target
    from celeryfleet.supervise.status import backlog

    other = {"name": name, "exchange": "", "exchange_type": "direct", "routing_key": name}
    asked = backlog(Target.of(session.plan), FleetState()).but(queues=(other,))
    depths, _ = lean.depths_of(asked)
    return int(depths.get(name, {}).get("ready") or 0)


def _left(session: Session, status: Status, name: str) -> int:
    """Count what waits in a queue and what workers have of it; what was acknowledged early runs unseen by a broker."""
    queue = next((queue for queue in status.queues if queue.name == name), None)
    if queue is None:
        return 0  # nothing is parked
    return (queue.ready or 0) + max(queue.unacked or 0, _held(session, status, name, queue.unacked is None))


def _held(session: Session, status: Status, name: str, guess: bool) -> int:
    """Count what workers have of a queue; without a ledger that is written, by a `guess`, all that its readers have."""
    from celeryfleet.ledger.entry import RUNNING, SCHEDULED, TAKEN

    try:
        with session.ledger() as ledger:
            if not session.unwritten:
                return sum(entry.queue == name for entry in ledger.held(TAKEN, SCHEDULED, RUNNING))
    except FleetError:
        pass
    return guess and sum(worker.reserved for pool in status.pools if name in pool.queues for worker in pool.workers)


def _can_empty(status: Status, name: str, left: int) -> None:
    """Raise FleetError where a queue will not empty by itself."""
    from celeryfleet.render.tables import idle

    pools = [pool for pool in status.pools if name in pool.queues]
    if name in status.paused or not any(pool.want for pool in pools):
        what = f"{counted(left, 'message')} of {name} will not be taken."
        raise FleetError(what, hint="\n".join(idle(name, status)), code=Exit.NOT_READY)


def _ask(session: Session, names: Iterable[str]) -> None:
    """Have the user say yes."""
    waits = {queue.name: queue.ready or 0 for queue in insight.found(session).queues}
    shown = ", ".join(f"{counted(waits.get(name, 0), 'message')} of {name}" for name in names)
    if not sys.stdin.isatty():
        raise FleetError(f"this would drop {shown}, and nobody can be asked.", hint="With -y it is done.")
    typer.confirm(f"Drop {shown}?", abort=True, err=True)
