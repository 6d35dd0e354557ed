"""What a plan's checks and explanations need to know of the user's app, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AppFacts:
    """The app as it is without the fleet."""

    #: registered tasks by their full names, sorted → what a task's own code says of how it is sent: queue, exchange,
    #: routing_key, priority (as on the wire), expires, time_limit… (`Task._get_exec_options`), without what is None
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: whether its own code calls `celeryfleet.install(app)`, as producers outside the fleet need it
    installs: bool = False
    #: settings the app makes itself (not Celery's defaults), by name
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: registered tasks → what their own code says of how they are run: acks_late, default_retry_delay (seconds);
    #: without what is Celery's default
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
