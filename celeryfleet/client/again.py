"""Sends tasks of the ledger again: the same task, arguments, queue and headers, under a new id that is linked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celeryfleet.app import SENT_AT
from celeryfleet.client.amqp_queue import publish
from celeryfleet.client.broker import attempt, opened
from celeryfleet.client.messages import fresh
from celeryfleet.errors import Exit, FleetError
from celeryfleet.ledger.message import body_of
from celeryfleet.redis_client import BrokerError
from celeryfleet.text import counted

if TYPE_CHECKING:
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.ledger.read import Ledger
    from celeryfleet.plan.values import Plan

#: headers that begin anew: the tries, when it was due, and until when it was wanted
_ANEW = {"retries": 0, "eta": None, "expires": None}


def refusal(entry: Entry, again: bool) -> str:
    """Say why a task is not sent again; empty if it is. `again` allows what was sent again before."""
    if entry.retried_as is not None and not again:
        return f"it was sent again as {entry.retried_as}; --again does it once more"
    if entry.message is None:
        return "its message was not kept: that is done for tasks that fail or last, up to 64 KiB"
    if json.loads(entry.message)["hidden"]:
        return "some of its arguments were hidden, as `ledger: {hide: …}` says: send it anew"
    return ""


def send_again(plan: Plan, ledger: Ledger, entries: Iterable[Entry], again: bool = False) -> list[tuple[Entry, str]]:
    """Send tasks that nothing speaks against, each once whoever else does so now; return them with their new ids.

    Each is noted before it is sent, and that is taken back where the broker refuses it. If we are killed in between, or
    the connection breaks, it may not have come, and `again` is how to send it. Raises FleetError.
    """
    sent: list[tuple[Entry, str]] = []
    with opened(plan.broker.url, plan.settings) as connection:
        channel, trouble = attempt(connection, lambda connection: connection.channel())
        if trouble:
            raise BrokerError(plan.broker.shown, trouble)
        for entry in entries:
            new = str(uuid4())
            if not ledger.claim(entry.id, new, again):
                continue  # somebody else was faster
            try:
                _publish(channel, entry, new, len(sent))
            except FleetError:
                ledger.unclaim(entry)
                raise
            except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
                what = f"{entry.task} ({entry.id}) may not have been sent to {entry.queue}: {error}."
                hint = f"{counted(len(sent), 'task', 'was', 'were')} sent before it; --again sends this one anyway."
                raise FleetError(what, hint=hint, code=Exit.BROKER) from error
            sent.append((entry, new))
    return sent


def _publish(channel: Any, entry: Entry, new: str, before: int) -> None:
    whole = json.loads(entry.message or "")
    headers = {**fresh(whole["headers"]), **_ANEW, "id": new, SENT_AT: time.time()}
    if headers.get("root_id") == entry.id:
        headers["root_id"] = new
    properties = {name: value for name, value in whole["properties"].items() if name != "priority"}
    message = channel.prepare_message(
        body_of(whole),
        priority=whole["properties"].get("priority"),
        content_type=whole["type"],
        content_encoding=whole["encoding"],
        headers=headers,
        properties={**properties, "correlation_id": new},
    )
    # To its queue, not by its exchange: that may have led to several.
    done = f"{counted(before, 'task', 'was', 'were')} sent before."
    publish(channel, message, entry.queue, done)
