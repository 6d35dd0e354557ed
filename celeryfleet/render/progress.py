"""What a canvas shows on stderr while it runs, its bar, and its picture; on no terminal, no bar and no colour."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from celeryfleet.client.outcome import GOOD, READY, Progress, Record
from celeryfleet.client.picture import draw
from celeryfleet.client.steps import Leaf, Step
from celeryfleet.render.paint import DIM, GREEN, RED, paint


@contextmanager
def progress_bar(text: str, stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Give what `client.canvas.wait` calls with each step forward; it draws a bar that counts failures too."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda progress: None
        return
    from rich import progress as bars
    from rich.console import Console

    console = Console(file=stream)
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("[red]{task.fields[failed]}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=console) as shown:
        task = shown.add_task(text, total=None, failed="")

        def on_progress(progress: Progress) -> None:
            failed = f"{progress.failed} failed" if progress.failed else ""
            shown.update(task, completed=progress.done, total=progress.total, failed=failed)

        yield on_progress


def picture(step: Step, records: Mapping[str, Record] | None = None, colour: bool = False) -> str:
    """Draw a canvas; with records, each task has a mark: ✓ done, ✗ failed, · not run."""
    if records is None:
        return draw(step)
    return draw(step, mark=lambda leaf: f"{_mark(leaf, records, colour)} ")


def _mark(leaf: Leaf, records: Mapping[str, Record], colour: bool) -> str:
    record = records.get(leaf.id)
    if record is None or record.state not in READY:
        return paint("·", DIM, colour)
    if record.state in GOOD:
        return paint("✓", GREEN, colour)
    return paint("✗", RED, colour)
