"""What `beat:` may say: which tasks are sent when, and by which scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from celeryfleet.fleetfile import fields, names
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.fields import Section, arguments, key, list_of, mapping_of, section


@dataclass(frozen=True, kw_only=True)
class Entry(Section):
    """A task that beat sends; exactly one of crontab and every is set."""

    task: str = key(names.task, example="Write task: shop.tasks.report")
    #: minute, hour, day of month, month, day of week
    crontab: str | None = key(names.crontab, None)
    #: seconds between two
    every: float | None = key(fields.span, None)
    args: tuple[Any, ...] = key(list_of(fields.free), ())
    kwargs: dict[str, Any] = key(arguments, {})
    #: of `apply_async`: queue, priority, expires…
    options: dict[str, Any] = key(arguments, {})

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Find a task that has no schedule, or two."""
        if self.crontab is not None and self.every is not None:
            yield at["every"].refuse("cannot stand beside crontab", "Keep one of them.")
        if self.crontab is None and self.every is None:
            yield at.refuse("does not say when.", 'Give it crontab: "0 3 * * *" or every: 10m')


def _lease(at: Cursor) -> float:
    seconds = fields.span(at)
    if seconds < 3:
        raise at.refuse(f"must be 3s or more, but it is {at.shown}")
    return seconds


@dataclass(frozen=True, kw_only=True)
class Beat(Section):
    """The one `celery beat` of the fleet."""

    #: one of `apps`, whose schedule it is; None: the only one
    app: str | None = key(fields.word, None)
    #: in place of the app's own; empty: the app's
    schedule: dict[str, Entry] = key(mapping_of(section(Entry)), {})
    #: path of a class, or a name that a package gives it, such as django; None: the app's
    scheduler: str | None = key(names.module, None)
    #: seconds after which it looks at its schedule again at the latest; None: the app's
    max_interval: float | None = key(fields.span, None)
    #: seconds after which another host takes over at the latest, on a broker that hosts may share
    lease: float = key(_lease, 15.0)
