"""Outcomes → the tables that are printed and the text of CHAOS.md; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from chaos.run import DRAIN, RECOVERY, Outcome
from chaos.schedule import Kind

METHOD = f"""\
Each broker gets a fleet of its own: 5 queues, 4 pools (prefork with 1 and with 2 processes, threads, solo), and bursts
of tasks that end at once, take long or are due later, 70 % of them acknowledged late. One fault follows the other: the
next one waits until the fleet is ready and a task sent after the fault has begun in each queue. That is *recovered*, in
seconds from the fault, or from the end of what lasts (CONT, a full disk that is emptied, a server of ours that answers
again). After {RECOVERY:g} s it counts as stuck.

Each task writes a line into a file when it begins and when it ends. What counts is that file, and what the broker had
confirmed to the producer. There are {DRAIN:g} s at most to drain. Then

- *lost* is what is neither done nor in the broker, *left* what is not done, but in the broker: neither may be;
- an early acknowledged task that runs at a kill has to be *cut short*; one that is killed between its acknowledgement
  and its first line is *not begun*;
- *doubled* is done more than once: at-least-once delivery allows it;
- *stray* is what a fleet to which nothing has happened does not leave."""


def markdown(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """Write the whole file."""
    blocks = [
        "# Chaos",
        "Written by `python -m chaos`.",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "\n".join(table(outcomes)),
        "## Seconds to recover",
        "\n".join(recoveries(outcomes)),
        "## How it is done",
        METHOD,
    ]
    notes = [f"- {outcome.broker}: {note}" for outcome in outcomes for note in (*outcome.notes, *outcome.failures())]
    return "\n\n".join([*blocks, *(["## Notes", "\n".join(notes)] if notes else [])]) + "\n"


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Write what became of the tasks, a column a broker."""
    yield f"| | {' | '.join(outcome.broker for outcome in outcomes)} |"
    yield f"|---|{'--:|' * len(outcomes)}"
    columns = [dict(_rows(outcome)) for outcome in outcomes]
    for row in columns[0]:
        yield f"| {row} | {' | '.join(column.get(row, '-') for column in columns)} |"


def recoveries(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Write how often each fault came, and p50 and p99 of the seconds until the fleet had recovered from it."""
    yield f"| fault | {' | '.join(f'{outcome.broker} | p50 | p99' for outcome in outcomes)} |"
    yield f"|---|{'--:|--:|--:|' * len(outcomes)}"
    for kind in Kind:
        if any(outcome.faults[kind] for outcome in outcomes):
            cells = [cell for outcome in outcomes for cell in _recovery(outcome, kind)]
            yield f"| {kind} | {' | '.join(cells)} |"


def _rows(outcome: Outcome) -> Iterator[tuple[str, str]]:
    verdict = outcome.verdict
    yield "seed", str(outcome.seed)
    yield "faults", str(outcome.faults.total())
    taken = [seconds for kind in outcome.recoveries.values() for seconds in kind]
    yield "recovered, p50, s", _seconds(taken, 0.5)
    yield "recovered, p99, s", _seconds(taken, 0.99)
    yield "stuck", str(len(outcome.stuck))
    if verdict is not None:
        yield "tasks sent", str(verdict.sent)
        yield "done", str(verdict.done)
        yield "late acks: **lost**", str(len(verdict.lost))
        yield "left in the broker", str(len(verdict.left))
        yield "late acks: doubled", str(len(verdict.doubled_late))
        yield "early acks: cut short", str(len(verdict.cut_short))
        yield "early acks: not begun", str(len(verdict.not_begun))
        yield "early acks: doubled", str(len(verdict.doubled_early))
    yield "sends that failed", str(outcome.unsure)
    yield "drain, s", f"{outcome.drain:.1f}"
    yield "`down`, s", f"{outcome.down:.1f}"
    yield "processes left", str(len(outcome.orphans))
    yield "stray names in the broker", _names(outcome.stray_keys)
    yield "stray files", _names(outcome.stray_files)


def _recovery(outcome: Outcome, kind: Kind) -> tuple[str, str, str]:
    taken = outcome.recoveries.get(kind, [])
    return str(outcome.faults[kind]), _seconds(taken, 0.5), _seconds(taken, 0.99)


def _seconds(values: Sequence[float], part: float) -> str:
    """Return the value that so great a part of all does not exceed."""
    return f"{sorted(values)[ceil(len(values) * part) - 1]:.2f}" if values else "-"


def _names(found: Counter[str]) -> str:
    return ", ".join(f"{name} × {count}" for name, count in sorted(found.items())) or "0"
