"""What the page's server asks of a fleet. The command line hands it in: here nobody knows sessions or sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.history import Moment
    from celeryfleet.hosts.messages import HostStatus
    from celeryfleet.logs.read import Follower
    from celeryfleet.protocol import Status


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet, running or not. Each call blocks, and may raise FleetError."""

    #: how it is now, without waking its workers; and with what they run
    status: Callable[[], Status]
    look: Callable[[], Moment]
    #: the logs of a pool or a worker; empty: all
    logs: Callable[[str], Follower]
    #: what may be looked at and done, by its name: what is asked → a document of JSON
    looks: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]
    actions: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]]
    #: None: it keeps none
    ledger_file: str | None
    #: each of its hosts, as they have reported
    hosts: Callable[[], Sequence[HostStatus]] = tuple
