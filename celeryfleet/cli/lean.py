"""`status`, `ps` and `health` of a running fleet, without anything that takes long to import."""

from __future__ import annotations

import socket
import sys
import time

from celeryfleet.errors import Exit
from celeryfleet.protocol import GetStatus, QueueStatus, Status
from celeryfleet.records import public
from celeryfleet.text import counted, say

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping

    from celeryfleet.depths import Depth
    from celeryfleet.protocol import Backlog
    from celeryfleet.supervise.control_client import Client


def collect(client: Client, exact: bool = True) -> Status:
    """Ask the supervisor how the fleet is, and the broker what waits."""
    status = client.ask(GetStatus(exact), Status)
    return without_broker(*with_depths(status))


def with_depths(status: Status) -> tuple[Status, str]:
    """Fill in what waits in the queues; return also why the broker can't be reached, if so."""
    depths, trouble = depths_of(status.backlog)
    if trouble:
        return status, trouble
    parked = status.backlog.parked
    shown = (*status.queues, QueueStatus(parked)) if depths.get(parked, {}).get("ready") else status.queues
    return status.but(queues=tuple(queue.but(**depths.get(queue.name, {})) for queue in shown)), ""


def depths_of(backlog: Backlog) -> tuple[dict[str, Depth], str]:
    """Ask the broker what waits; return also why that can't be known, if so."""
    if backlog.transport == "redis":
        from celeryfleet.depths import measure
        from celeryfleet.redis_client import BrokerError

        try:
            return measure(backlog, time.time()), ""
        except BrokerError as error:
            return {}, str(error)
    from celeryfleet.client.broker import measure_by_declaring

    found, trouble = measure_by_declaring(backlog)
    return found or {}, trouble


def without_broker(status: Status, trouble: str) -> Status:
    """Judge a fleet by what its supervisor says and by whether the broker answers us; `trouble` says why not, if so."""
    if not trouble:
        return status
    reason = f"the broker cannot be reached: {trouble}"
    return status.but(
        state="degraded" if status.state == "ready" else status.state,
        reason=status.reason or reason,
        broker=status.broker.but(state="down", trouble=trouble),
        pools=tuple(pool.but(reason=pool.reason or reason) for pool in status.pools),
    )


def unreachable(url: str, transport: str, settings: Mapping[str, object]) -> str:
    """Say why a broker does not answer; empty if it does. `settings` are Celery's."""
    if transport != "redis":
        from celeryfleet.client.broker import reach

        return reach(url, settings)
    if _pongs(url):
        return ""
    from celeryfleet.redis_client import BrokerError, connect

    try:
        connect(url, settings=settings).close()
    except BrokerError as error:
        return type(error.reason)(error)  # a Refusal stays one
    return ""


def _pongs(url: str) -> bool:
    """Tell whether a server on a unix socket, such as the fleet's own, answers; spares 4 ms of reading its URL."""
    path = url.removeprefix("redis+socket://").partition("?")[0]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(path)
            sock.sendall(b"PING\r\n")
            return sock.recv(16) == b"+PONG\r\n"
        except (OSError, ValueError):  # another kind of URL, or a server that does not answer: who asks on says why
            return False


def health(client: Client, pool: str = "") -> tuple[bool, str]:
    """Say in one line whether everything wanted is ready, in one pool or in all, or why it is not."""
    status = client.ask(GetStatus(exact=False), Status)
    backlog: Backlog = status.backlog
    status = without_broker(status, unreachable(backlog.url, backlog.transport, backlog.settings))
    pools = [found for found in status.pools if pool in ("", found.name)]
    if pool and not pools:
        from celeryfleet.fleetfile.suggest import unknown

        raise unknown("pool", pool, (found.name for found in status.pools))
    reason = pools[0].reason if pool else status.reason
    if reason:
        return False, reason
    want = sum(found.want for found in pools)
    return True, f"{pool or status.fleet} is ready: {want} of {counted(want, 'worker')}"


def show(found: Status, command: str, as_json: bool) -> None:
    """Print `status`, `ps` or `queues` as a table or as JSON."""
    if as_json:
        import json

        say(json.dumps(document(found, command), indent=2))
        return
    from celeryfleet.render import tables as table
    from celeryfleet.render.paint import screen

    color, width = screen(sys.stdout)
    if command == "queues":
        say(table.queues(found, color, width), end="")
    elif command == "ps":
        say(table.ps(found, color, width), end="")
    else:
        say(table.status(found, time.time(), color, width), end="")


def document(found: Status, command: str = "status") -> dict[str, object]:
    """Return what `status`, `ps` or `queues` prints as JSON, to the letter of its schema, version 1."""
    whole = {"schema_version": 1, **shown(found)}
    if command == "status":
        return whole
    if command == "queues":
        return {key: whole[key] for key in ("schema_version", "fleet", "queues")}
    workers = [{"name": one.name, "pool": pool.name, **public(one)} for pool in found.pools for one in pool.workers]
    return {"schema_version": 1, "fleet": found.fleet, "workers": workers}


def shown(found: Status) -> dict[str, object]:
    """Return what is shown of a fleet, with its alerts if any is on."""
    return {**public(found), **({"alerts": [public(alert) for alert in found.alerts]} if found.alerts else {})}


def answer(client: Client, command: str, word: str = "") -> int:
    """Do one of the three commands, with `--json` or the pool that `health` is asked of; return the exit code."""
    if command != "health":
        show(collect(client), command, word == "--json")
        return int(Exit.OK)
    ready, text = health(client, word)
    say(text, file=sys.stdout if ready else sys.stderr)
    return int(Exit.OK if ready else Exit.NOT_READY)
