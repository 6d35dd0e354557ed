"""Draws where tasks go and why: one decision in full, or a table of many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from celeryfleet.client.names import short_names
from celeryfleet.errors import FleetError
from celeryfleet.render.grid import grid, wrapped
from celeryfleet.render.paint import AMBER, BOLD, DIM, paint
from celeryfleet.routing.table import headers_text
from celeryfleet.text import clean, columns, listed

if TYPE_CHECKING:
    from celeryfleet.render.paint import Span
    from celeryfleet.routing.resolve import Decision
    from celeryfleet.routing.table import RoutingTable

#: routes passed over that are named without --verbose
_SHOWN = 4
_COLUMNS = ("TASK", "QUEUE", "EXCHANGE", "PRIORITY", "ROUTE", "POOLS")
_NOTHING: Span = ("–", DIM)


def decision_lines(
    decision: Decision,
    table: RoutingTable,
    file: str,
    workers: list[str] | None,
    paused: list[str],
    verbose: bool,
    color: bool,
    width: int,
) -> Iterator[str]:
    """Write one decision; `workers` are those that take it now, None: no fleet runs; `paused` are queues of it."""
    target = ", ".join(decision.queues)
    shown = paint(clean(target), BOLD, color) if target else paint(f"nowhere: {table.fate}", AMBER, color)
    yield f"{clean(decision.task)} → {shown}"
    last = ""
    for label, text in _facts(decision, table, file, workers, paused, verbose):
        yield from wrapped(clean(text), (f"  {'' if label == last else label:<10}", DIM), color, width)
        last = label


def _facts(
    decision: Decision, table: RoutingTable, file: str, workers: list[str] | None, paused: list[str], verbose: bool
) -> Iterator[tuple[str, str]]:
    if decision.rule:
        yield "rule", f"{file}:{decision.rule.line} {decision.rule.text}"
        _, _, besides = decision.because.partition("; ")
        if besides:
            yield "besides", besides
    else:
        yield "rule", f"none: {decision.because.removeprefix('no route matches: ')}"
    yield "exchange", _exchange(decision)
    if decision.wire_priority is not None:
        first = ", where Redis has 0 first" if table.broker == "redis" else ""
        said = "none, so it runs last" if decision.priority is None else f"{decision.priority} of 9, and 9 runs first"
        yield "priority", f"{said} ({decision.wire_priority} on the wire{first})"
    nobody = "none reads it: its tasks wait" if decision.queues else "none gets it"
    yield "pools", ", ".join(decision.pools) or (nobody if table.pools else "none in this file")
    if workers is not None:
        held = f"none: {listed(paused)} {'is' if len(paused) == 1 else 'are'} paused. Go on: celeryfleet resume"
        yield "workers", ", ".join(workers) or (" ".join([held, *paused]) if paused else "none is ready")
    yield from (("passed", text) for text in _passed(decision, file, verbose))


def _exchange(decision: Decision) -> str:
    lost = not decision.queues
    if not decision.exchange:
        return "the broker's own, with no queue's name" if lost else "the broker's own, straight to the queue"
    if decision.exchange_type == "headers":
        by, unbound = headers_text(decision.headers) or "no headers given", "no queue of it wants such a message"
    else:
        by = f"key {decision.routing_key}" if decision.routing_key else "no key"
        unbound = "no queue is bound to it by that key"
    return f"{decision.exchange} ({decision.exchange_type}), {by}{f'; {unbound}' if lost else ''}"


def _passed(decision: Decision, file: str, verbose: bool) -> Iterator[str]:
    """Tell of the routes passed over: those that match in any case, and else the first few."""
    passed = list(dict.fromkeys(decision.passed_over))
    few = passed
    if not verbose and len(passed) > _SHOWN + 1:
        few = [one for n, one in enumerate(passed) if n < _SHOWN or one.why.startswith("it matches")]
    yield from (f"{file}:{one.line} {one.why}" for one in few)
    if len(passed) > len(few):
        yield f"… and {len(passed) - len(few)} more; --verbose names them"


def decision_table(
    found: Mapping[str, Decision | FleetError], table: RoutingTable, file: str, color: bool, width: int
) -> Iterator[str]:
    """Write a line for each task: no column that says nothing, and short names where full ones are too long."""
    rows = [_cells(name, one, table, file) for name, one in found.items()]
    kept = [
        n for n, title in enumerate(_COLUMNS) if title in ("TASK", "QUEUE") or any(row[n] != _NOTHING for row in rows)
    ]
    needed = sum(max([len(_COLUMNS[n]), *(columns(row[n][0]) for row in rows)]) + 2 for n in kept) - 2
    if width and needed > width:
        short = _short(found)
        rows = [[(clean(short[name]), ""), *row[1:]] for name, row in zip(found, rows, strict=True)]
    return grid([_COLUMNS[n] for n in kept], [[row[n] for n in kept] for row in rows], color, width)


def _short(names: Iterable[str]) -> dict[str, str]:
    """Shorten names, but for those with a namespace: it is what `celeryfleet.routers.namespace` goes by."""
    return {name: name if ":" in name else short for name, short in short_names(list(names)).items()}


def _cells(name: str, found: Decision | FleetError, table: RoutingTable, file: str) -> list[Span]:
    if isinstance(found, FleetError):
        return [(clean(name), ""), ("?", AMBER), _NOTHING, _NOTHING, ("it fails", AMBER), _NOTHING]
    if found.rule:
        rule = (f"{file}:{found.rule.line}", "")
    else:
        rule = ("default" if found.because.startswith("no route") else "its code", DIM)
    straight = found.exchange_type == "direct" and found.queue is not None
    missed = ("NO_ROUTE" if table.gives_back else "lost", AMBER)
    return [
        (clean(name), ""),
        (clean(", ".join(found.queues)), "") if found.queues else missed,
        _NOTHING if straight else (clean(f"{found.exchange} {found.routing_key}".strip()), ""),
        _NOTHING if found.priority is None else (str(found.priority), ""),
        rule,
        (", ".join(found.pools), "") if found.pools else ("nobody", AMBER),
    ]
