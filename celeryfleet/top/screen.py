"""The live screen: looks at the fleet each second, shows it, and asks the supervisor for what the keys say."""

from __future__ import annotations

import asyncio
import signal
from typing import ClassVar, Literal, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer, Input

from celeryfleet.errors import FleetError
from celeryfleet.history import History, Moment
from celeryfleet.logs.read import Follower
from celeryfleet.protocol import Pause, PoolStatus, Restart, Scale, Status
from celeryfleet.records import Record
from celeryfleet.text import counted, tamed
from celeryfleet.top.listing import Lines, Table
from celeryfleet.top.log import Log
from celeryfleet.top.pages import QUEUE_ORDERS, WORKER_ORDERS, head, queues, workers
from celeryfleet.top.questions import KEYS, Notice, Question

#: seconds between two looks, and how many workers make it one more
PAUSE, _MANY = 1.0, 200


class Fleet(Protocol):
    """What the screen shows and changes; each of these may block, and raise FleetError."""

    def look(self) -> Moment:
        """Say how the fleet is now, running or not."""

    def do(self, request: Record) -> None:
        """Have the supervisor do something."""

    def logs(self, of: str) -> Follower:
        """Follow the logs of a pool or a worker; empty: all."""

    def why(self, what: str) -> list[str]:
        """Say how a queue stands, or where a task of this id is and why it is not further."""


class Top(App[None]):
    """The live screen."""

    CSS_PATH = "screen.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (150, "-wide")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", priority=True),  # what is typed next goes to the field
        Binding("s", "sort", "sort"),
        Binding("l", "logs", "logs"),
        Binding("w", "why", "why"),
        Binding("plus,equals_sign", "scale(1)", "scale", key_display="+ -"),
        Binding("minus", "scale(-1)", "scale", show=False),
        Binding("p", "pause", "pause"),
        Binding("r", "restart", "restart"),
        Binding("escape", "clear", "clear", show=False),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    def __init__(self, fleet: Fleet, first: Moment) -> None:
        super().__init__(ansi_color=True)  # from the beginning, or NO_COLOR would take colours for ours
        self._fleet = fleet
        self._history = History(first)
        self._order = {"workers": WORKER_ORDERS[0], "queues": QUEUE_ORDERS[0]}
        #: why the fleet could not be looked at
        self._trouble = ""
        self._head = Lines("head")
        self._queue_table, self._worker_table = Table("queues"), Table("workers")
        self._tail = Log("log", fleet.logs)
        self._filter = Input(id="filter", placeholder="words in names of pools, workers, tasks and queues")
        #: held by who looks or changes something
        self._turn = asyncio.Lock()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield self._head
        yield Container(self._queue_table, self._worker_table, id="body")
        yield self._tail
        yield self._filter
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.theme = next(name for name in ("ansi-dark", "textual-ansi") if name in self.available_themes)
        self._worker_table.focus()
        self._tail.follow("")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.run_worker(self._watch())

    async def _watch(self) -> None:
        """Look at the fleet for ever."""
        while True:
            async with self._turn:
                await self._look()
            self._tail.read()
            await asyncio.sleep(PAUSE + sum(len(pool.workers) for pool in self._status.pools) / _MANY)

    async def _look(self) -> None:
        try:
            self._history.add(await asyncio.to_thread(self._fleet.look))
            self._trouble = ""
        except FleetError as error:
            self._trouble = str(error)
        self._draw()

    def _draw(self) -> None:
        """Show what is known."""
        lines = head(self._history, self._trouble, self.size.width)
        self._head.show(lines)
        self._head.styles.height = len(lines)
        for table, page in ((self._queue_table, queues), (self._worker_table, workers)):
            made = page(self._history, self._order[str(table.id)], self._filter.value, table.room)
            table.show(made.titles, made.rows, made.keys)

    def on_table_resized(self) -> None:
        """Fit the tables to the screen."""
        self._draw()

    # --- What is looked at --------------------------------------------------------------------------------

    @property
    def _status(self) -> Status:
        return self._history.latest.status

    @property
    def _table(self) -> Table:
        """The table that is looked at."""
        return self._queue_table if self.focused is self._queue_table else self._worker_table

    @property
    def _chosen(self) -> tuple[str, str]:
        """The kind and the name of what is chosen: pool, worker or queue."""
        kind, _, name = self._table.chosen.partition(":")
        return kind, name

    @property
    def _pool(self) -> PoolStatus | None:
        kind, name = self._chosen
        for pool in self._status.pools:
            if kind != "queue" and (pool.name == name or any(worker.name == name for worker in pool.workers)):
                return pool
        self._say("Choose a pool or a worker first (Tab goes to the other table).")
        return None

    def action_filter(self) -> None:
        """Ask for the words to filter by; not from behind a question."""
        if len(self.screen_stack) == 1:
            self._filter.display = True
            self.set_focus(self._filter)

    def on_input_changed(self) -> None:
        """Filter while it is typed."""
        self._draw()

    def on_input_submitted(self) -> None:
        """Go back to the table."""
        self._filter.display = False
        self._worker_table.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        self._filter.value = ""
        self.on_input_submitted()
        if self._tail.of:
            self._tail.follow("")

    def action_sort(self) -> None:
        """Sort the table by its next column."""
        name = str(self._table.id)
        orders = QUEUE_ORDERS if name == "queues" else WORKER_ORDERS
        self._order[name] = orders[(orders.index(self._order[name]) + 1) % len(orders)]
        self._draw()

    def action_logs(self) -> None:
        """Show the logs of what is chosen, on half of the screen; again: of all."""
        kind, name = self._chosen
        if kind == "queue":
            self._say("A queue has no log: choose a pool or a worker.")
        else:
            self._tail.follow("" if name == self._tail.of else name)

    def action_why(self) -> None:
        """Say how the chosen queue stands, or the task that the chosen worker runs."""
        kind, name = self._chosen
        of = (
            name
            if kind == "queue"
            else next((one.id for one in self._history.latest.running if one.worker == name), "")
        )
        if of:
            self.run_worker(self._why(of))
        else:
            self._say("Choose a queue, or a worker that runs a task.")

    async def _why(self, of: str) -> None:
        try:
            self.push_screen(Notice("\n".join(await asyncio.to_thread(self._fleet.why, of))))
        except FleetError as error:
            self._say(str(error), "error")

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Notice(KEYS))

    # --- What is changed ----------------------------------------------------------------------------------

    def action_scale(self, by: int) -> None:
        """Have a worker more or less in the pool that is chosen."""
        if (pool := self._pool) is not None:
            self.run_worker(self._scale(pool.name, by))

    async def _scale(self, name: str, by: int) -> None:
        async with self._turn:  # so that each key counts from what the one before has made
            number = by + next((pool.want for pool in self._status.pools if pool.name == name), 0)
            if number > 0:
                await self._do(Scale({name: number}), f"{name}: {counted(number, 'worker')} wanted")
        if number == 0:
            asked = f"Stop all workers of {name}?\nWhat waits for them stays in its queues."
            await self._ask(asked, Scale({name: 0}), f"{name}: no workers wanted")

    def action_restart(self) -> None:
        """Replace the workers of the pool that is chosen."""
        if (pool := self._pool) is not None:
            asked = f"Restart {pool.name}?\nEach of its workers finishes its tasks first."
            self.run_worker(self._ask(asked, Restart((pool.name,)), f"{pool.name} restarts"))

    def action_pause(self) -> None:
        """Pause the queue that is chosen, or resume it."""
        kind, name = self._chosen
        if kind != "queue" or name == self._status.backlog.parked:
            self._say("Choose a queue of the fleet first (Tab goes to the other table).")
        else:
            self.run_worker(self._pause(name))

    async def _pause(self, name: str) -> None:
        async with self._turn:
            paused = {*self._status.paused} ^ {name}
            await self._do(Pause(tuple(sorted(paused))), f"{name} is {'paused' if name in paused else 'resumed'}")

    async def _ask(self, question: str, request: Record, said: str) -> None:
        if await self.push_screen_wait(Question(tamed(question))):
            async with self._turn:
                await self._do(request, said)

    async def _do(self, request: Record, said: str) -> None:
        """Have the supervisor do something, and look at once what becomes of it; by who holds the turn."""
        try:
            await asyncio.to_thread(self._fleet.do, request)
        except FleetError as error:
            self._say(str(error), "error")
        else:
            self._say(said)
        await self._look()

    def _say(self, text: str, severity: Literal["information", "error"] = "information") -> None:
        self.notify(tamed(text), severity=severity, markup=False)
