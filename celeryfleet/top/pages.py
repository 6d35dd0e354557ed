"""What the live screen shows, as lines of text in the colours of `status`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.history import History, sparkline
from celeryfleet.ledger.entry import Entry
from celeryfleet.protocol import PoolStatus, QueueStatus, WorkerStatus
from celeryfleet.render.grid import across, grid
from celeryfleet.render.paint import AMBER, BOLD, CYAN, DIM, GREEN, RED
from celeryfleet.render.tables import STATES, headline, hints, late
from celeryfleet.text import age, clean, size

if TYPE_CHECKING:
    from celeryfleet.render.paint import Span

_WORKERS = ("WORKER", "STATE", "TASK", "FOR", "DONE/S", "DONE", "FAILED", "RESTARTS", "MEMORY", "UPTIME", "PID")
_QUEUES = ("QUEUE", "READY", "UNACKED", "OLDEST", "IN/S", "OUT/S", "CONSUMERS", "TREND")
#: what each table can be sorted by; the first: the order of fleet.yaml
WORKER_ORDERS = ("WORKER", "FOR", "DONE/S", "DONE", "FAILED", "MEMORY")
QUEUE_ORDERS = ("QUEUE", "READY", "OLDEST", "IN/S", "OUT/S")
#: lines of advice under the headline
_ADVICE = 3
#: columns that a queue takes beside its trend, about
_BESIDE = 70


@dataclass(frozen=True)
class Page:
    """A table: its titles, its rows, and what each of them is about, such as worker:web-1."""

    titles: str
    rows: tuple[str, ...]
    keys: tuple[str, ...]


def speed(rate: float) -> str:
    """Write how often something happens per second: 0.3, 12, 3,450."""
    return f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:,.0f}"


#: how numbers are written, where it is not 1,234
_WRITTEN: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("OLDEST", "FOR", "UPTIME"), age),
    **dict.fromkeys(("IN/S", "OUT/S", "DONE/S"), speed),
    "MEMORY": size,
    "PID": str,
}
#: styles of workers' numbers that are not 0
_STYLES = {"FAILED": RED, "RESTARTS": AMBER, "PID": DIM}


@dataclass(frozen=True)
class _Row:
    key: str
    #: by the titles of their columns, as are the others
    words: dict[str, Span]
    numbers: dict[str, float | None]
    styles: dict[str, str]

    def cell(self, title: str) -> Span:
        if title in self.words:
            return self.words[title]
        value = self.numbers.get(title)
        if value is None:
            return "", ""
        return _WRITTEN.get(title, "{:,}".format)(value), self.styles.get(title, "") if value else DIM

    def has(self, words: str) -> bool:
        text = " ".join(text for text, _ in self.words.values()).lower()
        return all(word in text for word in words.lower().split())


def head(history: History, trouble: str, width: int) -> list[str]:
    """Say how the fleet is, what it does, what is wrong with it, and why it cannot be looked at, if so."""
    report, running = history.latest.status, history.latest.running
    waits = sum(queue.ready or 0 for queue in report.queues)
    active = sum(worker.active for pool in report.pools for worker in pool.workers)
    parts: list[Span] = [
        (f"{speed(history.done('all') or 0.0)} tasks/s", BOLD),
        (sparkline(history.speeds(), 20), CYAN),
        (f"{max(active, len(running)):,} running", ""),
        (f"{waits:,} waiting", ""),
    ]
    wrong = [(trouble, RED)] if trouble else []
    wrong += [(line, AMBER) for note in report.notes for line in note.splitlines()]
    if report.reason and report.state != "down" and not report.notes:
        wrong.append((report.reason.partition("\n")[0], AMBER))
    wrong += [(f"→ {line}", "") for line in hints(report)]
    advice = [across([(clean(text), style)], True, width) for text, style in wrong[:_ADVICE]]
    return [*headline(report, True, width), across(parts, True, width), *advice]


def workers(history: History, order: str, words: str, width: int) -> Page:
    """List the pools that hold any of these words, and their workers, which are sorted within each pool."""
    running: dict[str, list[Entry]] = {}
    for task in history.latest.running:
        running.setdefault(task.worker, []).append(task)
    pools: list[tuple[_Row, list[_Row]]] = []
    for pool in history.latest.status.pools:
        members = [_worker(history, worker, running.get(worker.name, [])) for worker in pool.workers]
        pools.append((_pool(history, pool, members), members))
    by, rows = _by(order), list[_Row]()
    for head_row, members in sorted(pools, key=lambda pair: by(pair[0])):
        kept = members if head_row.has(words) else [row for row in members if row.has(words)]
        if kept or head_row.has(words):
            rows += [head_row, *sorted(kept, key=by)]
    return _page(_WORKERS, rows, order, "TASK", width)


def queues(history: History, order: str, words: str, width: int) -> Page:
    """List the queues whose names hold these words."""
    rows = [_queue(history, queue, width) for queue in history.latest.status.queues]
    return _page(_QUEUES, sorted((row for row in rows if row.has(words)), key=_by(order)), order, "", width)


def _page(titles: tuple[str, ...], rows: list[_Row], order: str, rest: str, width: int) -> Page:
    named = [f"{title}▾" if title == order and title != titles[0] else title for title in titles]
    top, *lines = grid(named, [[row.cell(title) for title in titles] for row in rows], True, width, rest)
    return Page(top, tuple(lines), tuple(row.key for row in rows))


def _by(order: str) -> Callable[[_Row], float]:
    """Put the largest number of a column first; what is no number leaves rows where they are."""
    return lambda row: -(row.numbers.get(order) or 0.0)


def _pool(history: History, pool: PoolStatus, members: list[_Row]) -> _Row:
    summed = ("DONE", "FAILED", "RESTARTS", "MEMORY")
    known = {title: [value for row in members if (value := row.numbers[title]) is not None] for title in summed}
    numbers: dict[str, float | None] = {title: sum(values) if values else None for title, values in known.items()}
    numbers["DONE/S"] = history.done(f"pool:{pool.name}")
    kind = f"{', '.join(pool.queues)}  {pool.implementation} × {pool.concurrency}"
    counts = (f"{pool.ready}/{pool.want}", GREEN if pool.ready >= pool.want else AMBER)
    words = {"WORKER": (clean(pool.name), BOLD), "STATE": counts, "TASK": (clean(kind), DIM)}
    return _Row(f"pool:{pool.name}", words, numbers, _STYLES)


def _worker(history: History, worker: WorkerStatus, running: list[Entry]) -> _Row:
    sign, style = STATES[worker.state]
    if worker.state == "ready" and worker.cause:
        style = AMBER
    doing: Span = ("", "")
    if worker.cause and (worker.state != "ready" or not running):
        doing = (clean(worker.cause.partition("\n")[0]), AMBER)
    elif running:
        more = f" +{len(running) - 1}" if len(running) > 1 else ""
        doing = (clean(running[0].task) + more, "")
    numbers: dict[str, float | None] = {
        "FOR": history.latest.at - (running[0].started or 0) / 1000 if running else None,
        "DONE/S": history.done(f"worker:{worker.name}"),
        "DONE": worker.processed,
        "FAILED": worker.failed,
        "RESTARTS": worker.restarts,
        "MEMORY": history.memory.get(worker.pid),
        "UPTIME": worker.uptime_s if worker.pid else None,
        "PID": worker.pid,
    }
    words = {"WORKER": (f"  {sign} {clean(worker.name)}", style), "STATE": (worker.state, style), "TASK": doing}
    return _Row(f"worker:{worker.name}", words, numbers, _STYLES)


def _queue(history: History, queue: QueueStatus, width: int) -> _Row:
    paused = queue.name in history.latest.status.paused
    into, out = history.traffic(queue.name)
    numbers: dict[str, float | None] = {
        "READY": queue.ready,
        "UNACKED": queue.unacked,
        "OLDEST": queue.oldest_age_s,
        "IN/S": into,
        "OUT/S": out,
        "CONSUMERS": queue.consumers,
    }
    deserted = bool(queue.ready) and not queue.consumers
    room = max(8, width - _BESIDE)
    trend = (sparkline(history.waiting(queue.name), room).rjust(room), AMBER if late(queue) else CYAN)
    name = (f"{clean(queue.name)}{' (paused)' if paused else ''}", AMBER if paused else "")
    styles = {"OLDEST": AMBER if late(queue) else "", "READY": RED if deserted else ""}
    return _Row(f"queue:{queue.name}", {"QUEUE": name, "TREND": trend}, numbers, styles)
