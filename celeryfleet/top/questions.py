"""What the live screen asks and explains in front of itself."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen
from textual.widgets import Static

from celeryfleet.text import tamed, written

KEYS = """\
Tab       from one table to the other
↑ ↓       choose a row; also j k, PgUp PgDn, Home End
/         filter by words in the names of pools, workers, tasks and queues
s         sort the table by its next column
l         logs of the pool or worker; again: of all
Esc       no filter, the logs of all

+ -       a worker more or less in the pool, until the next `up`
w         why: how the queue stands, or the task that the worker runs
p         pause the queue, or resume it
r         restart the pool
q         quit"""


class Question(ModalScreen[bool]):
    """Ask whether something is to be done."""

    BINDINGS = [
        Binding("y,enter", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Static(f"{self._text}\n\ny yes    n no", classes="box", markup=False)


class Notice(ModalScreen[None]):
    """Tell something, in lines as `say` takes them."""

    BINDINGS = [Binding("escape,q,enter,space,question_mark,w", "dismiss", "close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the lines."""
        yield Static(Text.from_ansi(written(tamed(self._text))), classes="box")
