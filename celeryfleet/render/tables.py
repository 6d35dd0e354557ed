"""The fleet's status as text for people, without rich, whose import would take longer than all the rest.

Pure: takes a report, gives lines; knows no supervisor and no broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from celeryfleet.hosts.messages import state_of
from celeryfleet.protocol import read_elsewhere
from celeryfleet.render.grid import across, cell, grid, wrapped
from celeryfleet.render.paint import AMBER, BOLD, CYAN, DIM, GREEN, RED
from celeryfleet.text import age, clean, columns, counted, duration, middle, size

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from celeryfleet.hosts.messages import HostStatus
    from celeryfleet.protocol import PoolStatus, QueueStatus, Status, WorkerStatus
    from celeryfleet.render.paint import Span


#: sign and style of a state, of workers, fleets and brokers
STATES = {
    "ready": ("●", GREEN),
    "up": ("●", GREEN),
    "standby": ("○", DIM),
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
_HOSTS = ("HOST", "STATE", "HEARD", "READY", "POOLS")
_PROCESSES = ("PROCESS", "PID", "STATE", "UPTIME", "MEMORY", "QUEUES")
#: lines of a failed worker's log
_LOG = 6


def status(report: Status, now: float, color: bool, width: int, height: int = 0) -> str:
    """Render `status`: the headline, the workers by pool, the queues, and what to do about what is wrong.

    `now` is unix seconds; `width` is columns and `height` lines, 0 for as many as it takes. Where they are too few,
    workers that are well are left out, and what then is still too much at the end.
    """
    lines = _status(report, now, color, width)
    if height and len(lines) > height:
        lines = _status(report, now, color, width, len(lines) - height)
    if height and len(lines) > height:
        lines[height - 1 :] = [f"… {counted(len(lines) - height + 1, 'more line')}: celeryfleet status"]
    return "\n".join(lines) + "\n"


def _status(report: Status, now: float, color: bool, width: int, folded: int = 0) -> list[str]:
    """Return the lines of `status`, without some workers that are well."""
    lines = [*headline(report, color, width)]
    for note in report.notes:
        for line in note.splitlines():
            lines += wrapped(clean(line), ("!", AMBER), color, width)
    if report.state != "down":
        lines += ["", *grid(_WORKERS, list(_workers(report, now, color, width, folded)), color, width)]
    if report.queues and (report.state != "down" or report.broker.state == "up"):
        lines += ["", *_queues(report, color, width)]
    advice = [line for text in hints(report) for line in wrapped(text, ("→", CYAN), color, width)]
    return [*lines, *([""] if advice else []), *advice]


def ps(report: Status, color: bool, width: int) -> str:
    """Render `ps`: one line for each process of the fleet that is known by name."""
    supervisor = report.supervisor
    rows: list[list[Span] | str] = []
    if supervisor.pid is not None:
        uptime, pid = cell(supervisor.uptime_s, age), cell(supervisor.pid)
        rows.append([("supervisor", ""), pid, ("up", GREEN), uptime, cell(None), ("", "")])
    for pool in report.pools:
        for worker in pool.workers:
            state = (worker.state, STATES[worker.state][1])
            rest = cell(worker.rss_bytes, size), (",".join(pool.queues), DIM)
            rows.append([(worker.name, ""), cell(worker.pid), state, _uptime(worker), *rest])
    if not rows:
        return f"{report.fleet} is {report.state}\n"
    return "\n".join(grid(_PROCESSES, rows, color, width)) + "\n"


def hosts(found: Iterable[HostStatus], color: bool, width: int) -> str:
    """Render the hosts of a fleet: how each is, and how old its report is."""
    rows: list[list[Span] | str] = []
    for host in found:
        pools = host.status.pools if host.status else ()
        want, ready = sum(pool.want for pool in pools), sum(pool.ready for pool in pools)
        state = state_of(host)
        style = STATES[state][1] if state in STATES else RED
        counts = (f"{ready}/{want}", GREEN if ready >= want else AMBER) if state in STATES else ("-", DIM)
        names = ", ".join(clean(pool.name) for pool in pools)
        here = [(" (this one)", DIM)] if host.here else []
        told = ("now", DIM) if host.here else cell(host.age_s, age, "" if state in STATES else RED)
        rows.append(
            [(clean(host.name) + "".join(text for text, _ in here), BOLD), (state, style), told, counts, (names, "")]
        )
    return "\n".join(grid(_HOSTS, rows, color, width)) + "\n"


def queues(report: Status, color: bool, width: int) -> str:
    """Render `queues`: the queues alone."""
    return "\n".join(_queues(report, color, width)) + "\n"


def hints(report: Status) -> Iterator[str]:
    """Say what to do next about each thing that is wrong; nothing where all is well."""
    if report.state == "down":
        yield "Nothing runs. Start the fleet: celeryfleet up -d --wait"
        return
    if report.broker.trouble:
        yield f"The broker cannot be reached: {report.broker.trouble}."
    states = {state: _pools_with(report, state) for state in ("failed", "backoff", "stuck")}
    if failed := " ".join(states["failed"]):
        yield f"See why: celeryfleet logs {failed} -n 50. Mended? celeryfleet restart {failed}"
    elif backoff := " ".join(states["backoff"]):
        yield f"See why: celeryfleet logs {backoff} -n 50. It is tried again by itself."
    if report.state in ("stopping", "starting"):
        return
    for queue in report.queues:
        if queue.ready and not queue.consumers:
            yield from idle(queue.name, report)
        elif late(queue):
            pool = next((pool for pool in report.pools if queue.name in pool.queues), None)
            more = f" More workers: celeryfleet scale {pool.name}={pool.want + 1}" if pool else ""
            waited = f"waits {age(queue.oldest_age_s or 0)}, longer than max_age {duration(queue.max_age or 0)}."
            yield f"The oldest message of {queue.name} {waited}{more}"


def headline(report: Status, color: bool, width: int) -> Iterator[str]:
    """Say in a line or two how a fleet and its broker are."""
    sign, style = STATES[report.state]
    want, ready = sum(pool.want for pool in report.pools), sum(pool.ready for pool in report.pools)
    parts = [(report.fleet, BOLD), (f"{sign} {report.state}", style)]
    if report.supervisor.uptime_s is not None:
        parts.append((f"up {age(report.supervisor.uptime_s)}", ""))
        parts.append((f"{ready} of {want} workers ready", ""))
    broker = report.broker
    if not broker.url:
        yield across(parts, color, width)
        return
    sign, style = STATES[broker.state]
    label, state = clean("embedded" if broker.embedded else broker.url), f"{sign} {broker.state}"
    whole = [*parts, ("broker", DIM), (label, ""), (state, style)]
    if width and sum(columns(text) + 2 for text, _ in whole) - 2 > width:
        yield across(parts, color, width)
        whole = [("broker", DIM), (middle(label, width - columns(state) - len("broker") - 4), ""), (state, style)]
    yield across(whole, color, width)


def _workers(report: Status, now: float, color: bool, width: int, folded: int) -> Iterator[list[Span] | str]:
    hidden = _hidden(report.pools, folded)
    for pool in report.pools:
        counts = (f"{pool.ready}/{pool.want}", GREEN if pool.ready >= pool.want else AMBER)
        kind = (f"{pool.implementation} x {pool.concurrency}", DIM)
        left = [worker for worker in pool.workers if worker.name in hidden]
        told = [(f"{len(left)} not shown", DIM)] if left else []
        yield across([(pool.name, BOLD), counts, *told, (", ".join(pool.queues), ""), kind], color, width)
        for worker in pool.workers:
            if worker.name in hidden:
                continue
            sign, style = STATES[worker.state]
            if worker.state == "ready" and worker.cause:
                style = AMBER
            yield [
                (f"  {sign} {worker.name}", style),
                (worker.state, style),
                cell(worker.pid),
                _uptime(worker),
                _count(worker.restarts, AMBER),
                _count(worker.active),
                _count(worker.processed),
                _count(worker.failed, RED),
                cell(worker.rss_bytes, size),
            ]
            for text, style in _trouble(worker, now):
                yield across([(f"      {text}", style)], color, width)


def _hidden(pools: Iterable[PoolStatus], count: int) -> set[str]:
    """Name so many workers to leave out: of those that are well, the last ones of the largest pools."""
    well = [[worker.name for worker in pool.workers if worker.state == "ready" and not worker.cause] for pool in pools]
    hidden: set[str] = set()
    while len(hidden) < count and any(well):
        hidden.add(max(well, key=len).pop())
    return hidden


def _trouble(worker: WorkerStatus, now: float) -> Iterator[Span]:
    """Say why a worker is not ready, and what a failed one said last."""
    if worker.state == "ready":
        if worker.cause:
            yield clean(worker.cause), AMBER
        return
    last, cause = worker.last_exit, worker.cause
    if cause:
        yield clean(cause.partition("\n")[0]), ""  # an app that fails to import is told in full above the table
    if last and last.reason not in cause:
        yield f"last exit {age(now - last.at)} ago: {clean(last.reason)}", ""
    if last and worker.state in ("failed", "backoff"):
        for line in last.log[-_LOG if worker.state == "failed" else -1 :]:
            yield f"│ {clean(line)}", DIM


def _queues(report: Status, color: bool, width: int) -> Iterator[str]:
    rows = [
        [
            (queue.name, ""),
            _count(queue.ready),
            _count(queue.unacked),
            cell(queue.oldest_age_s, age, AMBER if late(queue) else "" if queue.ready else DIM),
            ("paused", AMBER)
            if queue.name in report.paused
            else (str(queue.consumers), RED if queue.ready and not queue.consumers else ""),
        ]
        for queue in report.queues
    ]
    return grid(_QUEUES, rows, color, width)


def _count(value: int | None, style: str = "") -> Span:
    return cell(value, "{:,}".format, style if value else DIM)


def _uptime(worker: WorkerStatus) -> Span:
    return cell(worker.uptime_s if worker.pid else None, age)


def late(queue: QueueStatus) -> bool:
    """Tell whether its oldest message waits for longer than its `max_age`."""
    oldest, limit = queue.oldest_age_s, queue.max_age
    return oldest is not None and limit is not None and oldest > limit


def _pools_with(report: Status, state: str) -> list[str]:
    return [pool.name for pool in report.pools if any(w.state == state for w in pool.workers)]


def idle(queue: str, report: Status) -> Iterator[str]:
    """Say why nobody takes messages from a queue, and what to do."""
    pools = [pool for pool in report.pools if queue in pool.queues]
    others = read_elsewhere(report, queue)
    if others and not pools:
        yield f"{queue} is read on {others[0]}. See: celeryfleet status --all"
    elif queue == report.backlog.parked:
        yield "Tasks that end or hang their workers are set aside. See: celeryfleet failed"
    elif queue in report.paused:
        by = f" by {report.paused_by[queue]}" if queue in report.paused_by else ""
        yield f"{queue} is paused{by}. Go on: celeryfleet resume {queue}"
    elif not pools:
        yield f"No running pool reads {queue}: celeryfleet up, once a pool names it in its queues"
    elif all(pool.want == 0 for pool in pools):
        yield f"{queue} waits for a worker: celeryfleet scale {pools[0].name}=1"
    elif not any(worker.state == "failed" for pool in pools for worker in pool.workers):
        yield f"{queue} has messages, and no worker that reads it is ready."
