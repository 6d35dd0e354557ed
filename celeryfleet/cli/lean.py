"""`status`, `ps` and `health` of a running fleet, without anything that takes long to import."""

from __future__ import annotations

import sys
import time

from celeryfleet.cli import report
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from celeryfleet.cli.report import Report


def health(client: Any, pool: str = "") -> tuple[bool, str]:
    """Ask the supervisor whether everything wanted is ready; say so in one line."""
    answer = client.ask("health")
    pools = answer["pools"]
    if pool and pool not in pools:
        raise FleetError(f'there is no pool "{pool}".', hint=f"The pools are {', '.join(pools)}.")
    lacking = [
        f"{name}: {ready} of {want} ready"
        for name, (want, ready) in pools.items()
        if pool in ("", name) and ready < want
    ]
    if lacking:
        return False, "; ".join(lacking)
    if not pool and not answer["ready"]:
        return False, f"{answer['fleet']} is {answer['state']}"
    want = sum(want for name, (want, _) in pools.items() if pool in ("", name))
    return True, f"{pool or answer['fleet']} is ready: {want} of {counted(want, 'worker')}"


def collect(client: Any) -> Report:
    """Ask the supervisor and the broker how the fleet is."""
    status = client.ask("status")["status"]
    if status["broker"]["kind"] != "redis":
        from celeryfleet.client.broker import measure_by_declaring

        return report.report(status, *measure_by_declaring(status))
    from celeryfleet.depths import measure
    from celeryfleet.redis_client import BrokerError

    try:
        return report.report(status, measure(status, time.time()))
    except BrokerError as error:
        return report.report(status, None, str(error))


def show_status(client: Any, command: str, as_json: bool) -> int:
    """Print `status` or `ps`; the exit code is 0 whatever the state (that is `health`'s to say)."""
    show(collect(client), command, as_json)
    return int(Exit.OK)


def show(found: Report, command: str, as_json: bool) -> None:
    """Print a report as a table or as JSON."""
    if as_json:
        import json

        print(json.dumps(report.document(found, command), indent=2))
        return
    from celeryfleet.render import tables as table
    from celeryfleet.render.paint import screen

    color, width = screen(sys.stdout)
    if command == "queues":
        print(table.queues(found, color, width), end="")
    elif command == "ps":
        print(table.ps(found, color, width), end="")
    else:
        print(table.status(found, time.time(), color, width), end="")
