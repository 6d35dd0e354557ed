"""The fleet's status as text for people, without rich, whose import would take longer than all the rest.

Pure: takes a report, gives lines; knows no supervisor and no broker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from celeryfleet.render.grid import (
    AMBER,
    BOLD,
    CYAN,
    DIM,
    GREEN,
    RED,
    clean,
    grid,
    length,
    middle,
    pieces,
    wrapped,
)

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import Any, TextIO

    from celeryfleet.cli.report import Report
    from celeryfleet.render.grid import Cell, Row

#: sign and style of a state, of workers, fleets and brokers
_STATES = {
    "ready": ("●", GREEN),
    "up": ("●", GREEN),
    "starting": ("◌", CYAN),
    "stopping": ("◌", CYAN),
    "backoff": ("↻", AMBER),
    "stuck": ("!", RED),
    "degraded": ("!", AMBER),
    "failed": ("✗", RED),
    "down": ("○", RED),
    "stopped": ("○", DIM),
}
_WORKERS = ("WORKER", "STATE", "PID", "UPTIME", "RESTARTS", "ACTIVE", "DONE", "FAILED", "MEMORY")
_QUEUES = ("QUEUE", "READY", "UNACKED", "OLDEST", "CONSUMERS")
_PROCESSES = ("PROCESS", "PID", "STATE", "UPTIME", "MEMORY", "QUEUES")
#: lines of a failed worker's log
_LOG = 6
_NOTHING = "-"
#: of a terminal that does not know its width
_COLUMNS = 80


def status(report: Report, now: float, color: bool, width: int) -> str:
    """Render `status`: the headline, the workers by pool, the queues, and what to do about what is wrong.

    `now` is unix seconds; `width` is columns, 0 for as many as it takes.
    """
    lines = [*_headline(report, color, width)]
    for note in report["notes"]:
        for line in note.splitlines():
            lines += wrapped(clean(line), ("!", AMBER), color, width)
    if report["state"] != "down":
        lines += ["", *grid(_WORKERS, list(_pool_rows(report, now)), color, width)]
    if report["queues"] and (report["state"] != "down" or report["broker"]["state"] == "up"):
        lines += ["", *grid(_QUEUES, [(_queue_cells(queue), False) for queue in report["queues"]], color, width)]
    advice = list(hints(report))
    if advice:
        lines += ["", *(line for text in advice for line in wrapped(text, ("→", CYAN), color, width))]
    return "\n".join(lines) + "\n"


def ps(report: Report, color: bool, width: int) -> str:
    """Render `ps`: one line for each process of the fleet that is known by name."""
    supervisor = report["supervisor"]
    rows: list[Row] = []
    if supervisor["pid"] is not None:
        first = [("supervisor", ""), (str(supervisor["pid"]), ""), ("up", GREEN)]
        rows.append(([*first, (span(supervisor["uptime_s"]), ""), (_NOTHING, DIM), ("", "")], False))
    for pool in report["pools"]:
        for worker in pool["workers"]:
            cells = [
                (worker["name"], ""),
                _known(worker["pid"]),
                (worker["state"], _STATES[worker["state"]][1]),
                (span(worker["uptime_s"]) if worker["pid"] else _NOTHING, "" if worker["pid"] else DIM),
                _known(worker["rss_bytes"], memory),
                (",".join(pool["queues"]), DIM),
            ]
            rows.append((cells, False))
    if not rows:
        return f"{report['fleet']} is {report['state']}\n"
    return "\n".join(grid(_PROCESSES, rows, color, width)) + "\n"


def queues(report: Report, color: bool, width: int) -> str:
    """Render `queues`: the queues alone."""
    return "\n".join(grid(_QUEUES, [(_queue_cells(queue), False) for queue in report["queues"]], color, width)) + "\n"


def hints(report: Report) -> Iterator[str]:
    """Say what to do next about each thing that is wrong; nothing where all is well."""
    if report["state"] == "down":
        yield "Nothing runs. Start the fleet: celeryfleet up -d --wait"
        return
    if report["broker"]["trouble"]:
        yield f"The broker cannot be reached: {report['broker']['trouble']}."
    states = {state: _pools_with(report, state) for state in ("failed", "backoff", "stuck")}
    if failed := " ".join(states["failed"]):
        yield f"See why: celeryfleet logs {failed} -n 50. Mended? celeryfleet restart {failed}"
    elif backoff := " ".join(states["backoff"]):
        yield f"See why: celeryfleet logs {backoff} -n 50. It is tried again by itself."
    if report["state"] in ("stopping", "starting"):
        return
    for queue in report["queues"]:
        if queue["ready"] and not queue["consumers"]:
            yield from _idle(queue["name"], report)
        elif _late(queue):
            pool = next((pool for pool in report["pools"] if queue["name"] in pool["queues"]), None)
            more = f" More workers: celeryfleet scale {pool['name']}={pool['want'] + 1}" if pool else ""
            late = f"waits {span(queue['oldest_age_s'])}, longer than max_age {span(queue['max_age'])}."
            yield f"The oldest message of {queue['name']} {late}{more}"


def screen(stream: TextIO, environ: Mapping[str, str]) -> tuple[bool, int]:
    """Tell whether to colour, and how wide a stream is; not a terminal: plain, and as wide as it takes."""
    wanted = environ.get("COLUMNS", "")
    if not stream.isatty():
        return False, int(wanted) if wanted.isdecimal() else 0
    columns = int(wanted) if wanted.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb", columns or _COLUMNS


def span(seconds: float | None) -> str:
    """Write a length of time in at most two units: 8s, 3m12s, 1h05m, 2d03h."""
    if seconds is None:
        return _NOTHING
    whole = max(0, int(seconds))
    for unit, size, part, small in (("d", 86400, 3600, "h"), ("h", 3600, 60, "m"), ("m", 60, 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{small}"
    return f"{whole}s"


def memory(size: int) -> str:
    """Write bytes in the unit that leaves two or three digits."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"


def _headline(report: Report, color: bool, width: int) -> Iterator[str]:
    state = report["state"]
    sign, style = _STATES[state]
    want = sum(pool["want"] for pool in report["pools"])
    ready = sum(pool["ready"] for pool in report["pools"])
    parts = [(report["fleet"], BOLD), (f"{sign} {state}", style)]
    if report["supervisor"]["uptime_s"] is not None:
        parts.append((f"up {span(report['supervisor']['uptime_s'])}", ""))
        parts.append((f"{ready} of {want} workers ready", ""))
    broker = report["broker"]
    sign, style = _STATES[broker["state"]]
    tail = [("broker", DIM), (clean(broker["label"]), ""), (f"{sign} {broker['state']}", style)]
    if not broker["shown"]:
        tail = []
    if width and length(parts) + length(tail) + 2 > width:
        yield pieces(parts, color, width)
        tail[1] = (middle(tail[1][0], width - length([tail[0], tail[2]]) - 2), "")
        yield pieces(tail, color, width)
    else:
        yield pieces([*parts, *tail], color, width)


def _pool_rows(report: Report, now: float) -> Iterator[Row]:
    for pool in report["pools"]:
        style = GREEN if pool["ready"] >= pool["want"] else AMBER
        kind = f"{pool['kind']} x {pool['concurrency']}"
        counts = (f"{pool['ready']}/{pool['want']}", style)
        yield [(pool["name"], BOLD), counts, (", ".join(pool["queues"]), ""), (kind, DIM)], True
        for worker in pool["workers"]:
            yield _worker_cells(worker), False
            yield from _trouble(worker, now)


def _worker_cells(worker: Mapping[str, Any]) -> list[Cell]:
    sign, style = _STATES[worker["state"]]
    alive = worker["pid"] is not None
    return [
        (f"  {sign} {worker['name']}", style),
        (worker["state"], style),
        _known(worker["pid"]),
        (span(worker["uptime_s"]), "") if alive else (_NOTHING, DIM),
        (f"{worker['restarts']:,}", AMBER if worker["restarts"] else DIM),
        (f"{worker['active']:,}", "" if worker["active"] else DIM),
        (f"{worker['processed']:,}", "" if worker["processed"] else DIM),
        (f"{worker['failed']:,}", RED if worker["failed"] else DIM),
        _known(worker["rss_bytes"], memory),
    ]


def _trouble(worker: Mapping[str, Any], now: float) -> Iterator[Row]:
    """Say why a worker is not ready, and what a failed one said last."""
    if worker["state"] == "ready":
        return
    last = worker["last_exit"]
    if worker.get("cause"):
        first, _, _ = worker["cause"].partition("\n")  # an app that fails to import is told in full above the table
        yield [(f"      {clean(first)}", "")], True
    if last and last["reason"] not in worker.get("cause", ""):
        yield [(f"      last exit {span(now - last['at'])} ago: {clean(last['reason'])}", "")], True
    if last and worker["state"] in ("failed", "backoff"):
        for line in last["log"][-_LOG if worker["state"] == "failed" else -1 :]:
            yield [(f"      │ {clean(line)}", DIM)], True


def _queue_cells(queue: Mapping[str, Any]) -> list[Cell]:
    missing = bool(queue["ready"]) and not queue["consumers"]
    return [
        (queue["name"], ""),
        _count(queue["ready"]),
        _count(queue["unacked"]),
        (span(queue["oldest_age_s"]), AMBER if _late(queue) else "" if queue["ready"] else DIM),
        (str(queue["consumers"]), RED if missing else ""),
    ]


def _known(value: int | None, write: Any = str) -> Cell:
    return (_NOTHING, DIM) if value is None else (write(value), "")


def _count(value: int | None) -> Cell:
    return (_NOTHING, DIM) if value is None else (f"{value:,}", "" if value else DIM)


def _late(queue: Mapping[str, Any]) -> bool:
    age, limit = queue["oldest_age_s"], queue.get("max_age")
    return age is not None and limit is not None and age > limit


def _pools_with(report: Report, state: str) -> list[str]:
    return [pool["name"] for pool in report["pools"] if any(w["state"] == state for w in pool["workers"])]


def _idle(queue: str, report: Report) -> Iterator[str]:
    pools = [pool for pool in report["pools"] if queue in pool["queues"]]
    if queue in report.get("paused", ()):
        yield f"{queue} is paused. Go on: celeryfleet resume {queue}"
    elif not pools:
        yield f"No pool reads {queue}: name it in a pool's queues in fleet.yaml, then celeryfleet up"
    elif all(pool["want"] == 0 for pool in pools):
        yield f"{queue} waits for a worker: celeryfleet scale {pools[0]['name']}=1"
    elif not any(worker["state"] == "failed" for pool in pools for worker in pool["workers"]):
        yield f"{queue} has messages, and no worker that reads it is ready."
