"""What another host may know of the ledger of this one: what tasks are and how they ended, never their arguments."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import ENDED, MOST, FindTasks, Known
from celeryfleet.ledger.entry import RUNNING, Entry, shaped

if TYPE_CHECKING:
    from collections.abc import Iterable

#: of a task that has ended: its name, its queue, when it came (unix ms), and the seconds that it ran
Row: TypeAlias = tuple[str, str, int, float | None]
#: what is told of a message that is kept: whole, and without some of its arguments
_HIDDEN = ('{"hidden": false}', '{"hidden": true}')
#: characters of an error, and of what is asked for; stars in a glob, each of which takes time
_LONG, _WORD, _STARS = 2000, 255, 4


def known(file: str, asked: FindTasks) -> Known:
    """Answer out of the ledger. Raises FleetError."""
    from celeryfleet.ledger.read import Ledger  # it takes milliseconds that a start has not

    if len(asked.id) > _WORD or len(asked.task) > _WORD or asked.task.count("*") > _STARS:
        raise FleetError("that is too long to look for.")
    with Ledger(file) as ledger:
        if asked.state == "ended":
            return Known(_rows(ledger.held()), ended=tuple(ledger.recent(asked.since, ENDED)))
        running = ledger.held(RUNNING)
        if asked.id:
            one = ledger.named(asked.id)
            found = [one] if one else []
        else:
            found = running if asked.state == RUNNING else ledger.failures(asked.since, asked.task)
        return Known(_rows(found), _rows(running))


def _rows(entries: Iterable[Entry]) -> tuple[tuple[object, ...], ...]:
    told = [
        replace(one, error=one.error and one.error[:_LONG], traceback=None, message=_kept(one.message))
        for one in entries
    ]
    return tuple(astuple(one) for one in told[-MOST:])


def _kept(message: str | None) -> str | None:
    """Say of a message no more than what `retry` asks of it."""
    return message and _HIDDEN[bool(json.loads(message)["hidden"])]


def entries(rows: Iterable[tuple[object, ...]], host: str) -> list[Entry]:
    """Read rows that another host has told, whose workers are named with it; what is none is left out."""
    return [
        Entry(f"{row[0]}@{host}", *row[1:])  # type: ignore[arg-type]
        for row in rows
        if shaped(tuple(map(type, row[1:-1])))
        and type(row[0]) is str
        and isinstance(row[-1], str | None)
        and row[-2] in (None, *_HIDDEN)
    ]


def ended(rows: Iterable[tuple[object, ...]]) -> list[Row]:
    """Read what another host has told of tasks that have ended; what is none is left out."""
    known = ((str, str, int, float), (str, str, int, int), (str, str, int, type(None)))
    return [row for row in rows if tuple(map(type, row)) in known]  # type: ignore[misc]
