"""What `alerts:` may say: of what somebody is to be told, from when on, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import fields, units
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.fields import Section, choice, key
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import quoted, truth
from celeryfleet.text import listed

#: what an alert can be about → what its `over` is, if it has one
OF_QUEUES = {"oldest_age": "a duration, such as 30s", "backlog_growing": "a number of messages, such as 100"}
OF_POOLS = {"worker_failed": "", "worker_stuck": "", "failure_rate": "a share below 100%, such as 10%"}
KINDS = {**OF_QUEUES, **OF_POOLS, "no_beat": ""}


def _over(at: Cursor) -> tuple[str, float]:
    """Read a duration, a number of messages or a share, as what it is in the words of KINDS and its value."""
    found = fields.word(at).strip()
    if re.fullmatch("[0-9]{1,2}([.][0-9]{1,6})?%", found):
        return OF_POOLS["failure_rate"], float(found[:-1]) / 100
    if re.fullmatch("[0-9]{1,12}", found):
        return OF_QUEUES["backlog_growing"], int(found)
    try:
        return OF_QUEUES["oldest_age"], units.duration(found)
    except ValueError:
        raise at.refuse(f"must be {listed(filter(None, KINDS.values()), 'or')}, but it is {at.shown}") from None


def _webhook(at: Cursor) -> str:
    """Read an URL, which is a secret: it is never shown."""
    found = fields.word(at)
    try:
        parts = urlsplit(found)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not found.isascii() or any(c.isspace() or not c.isprintable() for c in found):
        raise at.refuse("is no URL of a webhook", 'Write webhook: "${HOOK}", whose value begins with https://')
    return found


@dataclass(frozen=True, kw_only=True)
class Alert(Section):
    """Something that somebody is told of once when it begins, and once when it is over."""

    when: str = key(choice(*KINDS), example="Write when: worker_failed")
    #: the only one that it is about; None: all
    queue: str | None = key(fields.word, None)
    pool: str | None = key(fields.word, None)
    #: what it is, and seconds, messages or a share
    over: tuple[str, float] | None = key(_over, None)
    #: seconds for which it must have been so, or over which it is measured; None: the default of its kind
    for_: float | None = key(fields.duration, None)
    #: gets the event as JSON
    command: tuple[str, ...] = key(fields.words, ())
    #: an URL, with its credentials
    webhook: str | None = key(_webhook, None)
    format: Literal["json", "slack"] = key(choice("json", "slack"), "json")

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Find keys that do not go with what it is about, and an alert that tells nobody."""
        wanted = KINDS[self.when]
        for name, kinds in (("queue", OF_QUEUES), ("pool", OF_POOLS)):
            if getattr(self, name) is not None and self.when not in kinds:
                yield at[name].refuse(f"does not go with when: {self.when}", f"It goes with {listed(kinds)}.")
        if self.over is not None and self.over[0] != wanted:
            yield at["over"].refuse(f"must be {wanted}" if wanted else f"does not go with when: {self.when}")
        if self.over is None and self.when == "failure_rate":
            yield at.refuse("does not say from which share on.", "Write over: 10%")
        if self.for_ == 0 and self.when in ("backlog_growing", "failure_rate"):
            yield at["for"].refuse("must be more than nothing: it is the time over which it is measured")
        if bool(self.command) == (self.webhook is not None):
            what = "tells two: command and webhook." if self.command else "tells nobody."
            yield at.refuse(
                what, 'Give it webhook: "${HOOK}" or command: [./alert]; a second alert may have the other.'
            )
        if self.format != "json" and self.webhook is None:
            yield at["format"].refuse("goes with a webhook")


def problems(root: Cursor) -> Iterator[Problem]:
    """Find alerts about what there is not; that of a queue is found with all that names queues."""
    pools = [pool.name for pool in root["pools"]]
    for alert in root["alerts"].items():
        kind, pool, queue = alert["when"].text, alert["pool"].text, alert["queue"].text
        if pool and pool not in pools:
            hint = did_you_mean(pool, pools) or (f"The pools are {listed(pools)}." if pools else "")
            yield Problem(
                f"{alert.subject} is about the unknown pool {quoted(pool)}.", str(alert["pool"].node.mark), hint
            )
        about = [one for one in root["queues"] if not queue or one.name == queue]
        aged = alert["over"].written or any(one["max_age"].written for one in about)
        if kind == "oldest_age" and about and not aged:
            hint = "Write over: 30s, or give the queue max_age."
            yield Problem(f"{alert.subject} does not say from which age on.", str(alert.key), hint)
        if kind == "no_beat" and (not root["beat"].written or truth(root["beat"].text) is False):
            what = f"{alert.subject} is about a beat that the fleet does not have."
            yield Problem(what, str(alert.key), "Write beat: true")
