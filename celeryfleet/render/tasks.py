"""Lists tasks: how each is called, where it goes, and what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from celeryfleet.render.grid import grid, wrapped
from celeryfleet.render.paint import AMBER, DIM
from celeryfleet.text import columns, visible

if TYPE_CHECKING:
    from celeryfleet.client.inspect import TaskInfo
    from celeryfleet.render.paint import Span

_TITLES = ("TASK", "QUEUE", "NAME", "SUMMARY")


def task_lines(
    tasks: Sequence[TaskInfo], queues: Mapping[str, Sequence[str]], color: bool, width: int
) -> Iterator[str]:
    """Write a line for each task; where they are wider than the terminal, what it does stands below, and its name.

    No name is cut: it is there to be copied.
    """
    rows = [_row(task, ", ".join(queues[task.name])) for task in tasks]
    shown = next(n for n in (4, 3, 2) if n == 2 or not width or _width(rows, n) <= width)
    lines: list[list[Span] | str] = []
    for task, row in zip(tasks, rows, strict=True):
        lines.append([(visible(_called(task)), ""), row[1]] if shown == 2 else row[:shown])
        below = [visible(f"{task.name}{task.signature}")] if shown == 2 else []
        for text in [*below, *([visible(task.summary)] if shown < 4 and task.summary else [])]:
            lines += wrapped(text, ("   ", ""), color, width)
    return grid(_TITLES[:shown], lines, color, 0)


def _called(task: TaskInfo) -> str:
    return task.aliases[0] if task.aliases else task.short


def _row(task: TaskInfo, queue: str) -> list[Span]:
    target = (visible(queue), "") if queue else ("nowhere", AMBER)
    return [
        (visible(f"{_called(task)}{task.signature}"), ""),
        target,
        (visible(task.name), DIM),
        (visible(task.summary), ""),
    ]


def _width(rows: Sequence[Sequence[Span]], shown: int) -> int:
    """Return the columns that so many cells of each row take."""
    widths = [max([len(title), *(columns(row[at][0]) for row in rows)]) for at, title in enumerate(_TITLES[:shown])]
    return sum(widths) + 2 * (shown - 1)
