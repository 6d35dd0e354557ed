"""What is shown on stderr while something is waited for: a bar, or a spinner; where there is no terminal, nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from celeryfleet.text import visible

if TYPE_CHECKING:
    from celeryfleet.client.outcome import Progress


@contextmanager
def progress_bar(text: str, stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Give what is to be called with each step forward; it draws a bar that counts failures too."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda progress: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("[red]{task.fields[failed]}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=Console(file=stream)) as shown:
        task = shown.add_task(visible(text), total=None, failed="")

        def on_progress(progress: Progress) -> None:
            failed = f"{progress.failed} failed" if progress.failed else ""
            shown.update(task, completed=progress.done, total=progress.total, failed=failed)

        yield on_progress


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner beside the text while the body runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(visible(text))):
        yield
