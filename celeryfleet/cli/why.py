"""The command that says where a task is, and why it is not further."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.output import show
from celeryfleet.cli.usage import AsJson, an_id
from celeryfleet.errors import Exit
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.client.standing import Answer


def why(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ID|TASK|QUEUE", help="An id, or its beginning; a task; a queue.", parser=an_id)
    ],
    as_json: AsJson = False,
    stack: Annotated[bool, typer.Option("--stack", help="Of a task that runs: where its process is.")] = False,
) -> int:
    """Say where a task is, and why it is not further; or how a task's messages or a queue stand.

    Exit code 1 if nothing is known of it.

    Examples: [bold]celeryfleet why 4352a8ac-f45d-4bc4-a897-86f0a3653fec[/] · [bold]celeryfleet why shop.mail.send[/] ·
    [bold]celeryfleet why mail[/]
    """
    from celeryfleet.ledger.entry import UNKNOWN
    from celeryfleet.render import why as draw

    answer = answered(context.obj, what)
    frames = _stack(context.obj, answer) if stack else []
    document = {**draw.document(answer), **({"stack": frames} if stack else {})}
    show(as_json, document, partial(draw.lines, answer, frames))
    return Exit.FAILURE if answer.state == UNKNOWN else Exit.OK


def answered(session: Session, what: str) -> Answer:
    """Answer of a queue, of a task by its name, or of one by its id, whichever is meant."""
    from celeryfleet.cli import gather
    from celeryfleet.client.diagnose import diagnose
    from celeryfleet.client.standing import of_queue
    from celeryfleet.ledger.entry import UNKNOWN

    plan = session.followed
    queues = [*(queue.name for queue in plan.queues), plan.parked]
    if what in queues:
        with gather.opened(session) as (ledger, lack):
            return of_queue(gather.view(session, ledger, lack), what)
    if gather.UUID.fullmatch(what):
        return diagnose(gather.facts(session, what))
    names = gather.task_names(session)
    name = _task(session, what, names)
    if name:
        return gather.task(session, name)
    answer = diagnose(gather.facts(session, gather.whole_id(session, what)))
    return _guessed(answer, what, [*queues, *names]) if answer.state == UNKNOWN else answer


def _task(session: Session, word: str, names: Sequence[str]) -> str:
    """Return the full name of the task that is meant, or the glob; empty: it is no task's name."""
    from celeryfleet.cli.sending import aliases
    from celeryfleet.client.names import resolve_name
    from celeryfleet.client.values import ComplaintError

    if not {"*", "?", "["}.isdisjoint(word):
        return word
    try:
        return resolve_name(word, names, aliases(session))
    except ComplaintError as error:
        if "is the end of" in str(error):
            raise
        return ""


def _guessed(answer: Answer, word: str, known: Sequence[str]) -> Answer:
    """Say that nothing is called so, and what may have been meant."""
    from celeryfleet.client.names import nearest

    ends = [re.split("[.:]", name)[-1] for name in known]
    hint = nearest(word, {*known, *ends}).strip()
    because = (f'no queue, no task and no id that is known is called "{word}"', *answer.because[1:])
    return replace(answer, because=because, hints=(hint,) if hint else answer.hints)


def _stack(session: Session, answer: Answer) -> list[str]:
    """Return where the process is that runs a task. Raises FleetError."""
    from pathlib import Path

    from celeryfleet.cli.stack import stack_of

    if answer.pid is None or answer.worker is None:
        what = "it is not known which process runs it" if answer.state == "running" else "it does not run"
        say(f"no stack: {what}.", sys.stderr)
        return []
    name, _, host = answer.worker.partition("@")
    if host:
        say(f"no stack: it runs on {host}, where `celeryfleet why {answer.id} --stack` tells.", sys.stderr)
        return []
    log = Path(session.followed.state_dir) / "logs" / f"{name}.log"
    return stack_of(log, answer.pid, answer.worker_pid or answer.pid)
