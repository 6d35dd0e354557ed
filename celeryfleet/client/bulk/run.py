"""One bulk from its first item to its last: batches, ids, and an exact account of what was sent when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from celeryfleet.client.bulk.ids import BLOCK, Ids
from celeryfleet.client.bulk.items import Args, Item, Kwargs, read
from celeryfleet.client.bulk.publishers import BatchError, BatchPublisher, Repeat
from celeryfleet.client.bulk.shapes import Shape, Shapes
from celeryfleet.client.bulk.template import Template
from celeryfleet.client.publish import publishing, shown_url
from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celery import Celery

#: messages of a batch: as many as there are ids in a block
BATCH = BLOCK
#: bytes of a batch, about
SIZE = 1 << 20
#: seconds that a message may lie in an unfinished batch while items are long in coming
AGE = 0.5


@dataclass(frozen=True, slots=True)
class Bulk:
    """What was sent."""

    #: items, and so messages
    sent: int
    seconds: float
    #: the id of each item's task, in order; they take no memory, however many there are
    ids: Ids
    #: messages by queue, or by exchange where that decides
    queues: Mapping[str, int]
    #: why Celery had to make each message, which is slower; empty: they were copied
    reason: str = ""

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds if self.seconds else 0.0


class BulkError(FleetError):
    """Not everything was sent; says how much was."""

    def __init__(self, what: str, hint: str = "", code: Exit = Exit.USAGE) -> None:
        super().__init__(what, hint=hint, code=code)
        #: how many items are surely sent: the first ones, but for those in `refused`
        self.sent = 0
        #: how many of those that follow may be sent or not
        self.unsure = 0
        #: numbers, from 0, of items that the broker has refused
        self.refused: tuple[int, ...] = ()
        #: number of the first item that was not tried
        self.next = 0
        #: ids of the items before `next`
        self.ids = Ids()


class _ItemError(Exception):
    """An item is wrong."""


class _SourceError(Exception):
    """The iterable itself has raised something."""


class Run:
    """One call of `bulk`."""

    def __init__(
        self, app: Celery, publisher: BatchPublisher, shapes: Shapes, on_progress: Callable[[int], None]
    ) -> None:
        self._app = app
        self._publisher = publisher
        self._shapes = shapes
        self._on_progress = on_progress
        self.ids = Ids()
        self._tags = Ids()
        #: items that were read, and those that are surely sent; between them lie the batch under way and that in hand
        self.count = 0
        self.settled = 0
        self._under_way = 0
        self._in_hand = 0
        #: of the batch in hand: time.monotonic() and time.time() at its first message, and shapes that hold a moment
        self._began = 0.0
        self._now = 0.0
        self._timed: list[Shape] = []
        #: messages by queue
        self.queues: dict[str, int] = {}
        #: why Celery had to make each message of some shape
        self.reason = ""

    def each(self, iterable: Iterable[Item]) -> None:
        """Publish all items. Raises BulkError, and what the iterable raises."""
        with self._accounted():
            for item in _guarded(iterable):
                self._one(item)
                if self._in_hand >= BATCH or self._publisher.size >= SIZE or time.monotonic() - self._began > AGE:
                    self._send()

    def same(self, item: Item, left: int) -> None:
        """Publish an item over and over: the first of each batch as any other, the rest with its arguments."""
        latest: Template | None = None
        with self._accounted():
            while left > 0:
                shape = self._one(item)
                left -= 1
                if shape.copy is not None and shape.template is not None:
                    if latest is not shape.template:
                        latest = shape.template
                        repeat = self._publisher.repeater(latest, latest.encode(*read(item)[:2]))
                    left -= self._repeat(latest, repeat, left)
                if self._in_hand >= BATCH or self._publisher.size >= SIZE:
                    self._send()

    # --- Messages -----------------------------------------------------------------------------------------

    def _one(self, item: Item) -> Shape:
        try:
            args, kwargs, own = read(item)
            shape = self._shapes.of(own)
            number, place = divmod(self.count, BLOCK)
            task_id = self.ids.block(number)[place]
            if not self._in_hand:
                self._began, self._now = time.monotonic(), time.time()
            if shape.copy is None or shape.template is None:
                self._make(shape, args, kwargs, task_id)
            else:
                shape.check(args, kwargs)
                shape.copy(shape.template.encode(args, kwargs), task_id, self._tags.block(number)[place], self._now)
                self._add(shape.template.made.queue, 1)
            return shape
        except Exception as error:
            raise _ItemError from error

    def _make(self, shape: Shape, args: Args, kwargs: Kwargs, task_id: str) -> None:
        """Have Celery make a message."""
        with publishing(self._app) if not shape.known else nullcontext():  # its queues are declared with the first
            chosen, made = self._publisher.make(partial(shape.publish, self._app, args, kwargs, task_id))
        self._now = time.time()
        if chosen != task_id:  # by an `apply_async` of the task's own
            self.ids.replace(self.count, chosen)
        shape.learn(self._app, self._publisher, made)
        self.reason = self.reason or shape.reason
        if shape.copy is not None and shape.template is not None and shape.template.timed:
            self._timed.append(shape)
        self._add(made[0].queue if made else "", 1)

    def _repeat(self, template: Template, repeat: Repeat, left: int) -> int:
        """Add as many copies with the same arguments as the batch may have; return how many."""
        number, place = divmod(self.count, BLOCK)
        count = min(left, BATCH - self._in_hand, BLOCK - place, 1 + SIZE // template.weight)
        within = slice(place, place + count)
        repeat(self.ids.block(number)[within], self._tags.block(number)[within], self._now)
        self._add(template.made.queue, count)
        return count

    def _add(self, queue: str, count: int) -> None:
        self.count += count
        self._in_hand += count
        if queue:
            self.queues[queue] = self.queues.get(queue, 0) + count

    # --- Batches ------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Hand the batch over, as soon as the broker has the one before."""
        self._settle()
        self._under_way, self._in_hand = self._in_hand, 0
        for shape in self._timed:
            shape.copy = None  # the moments in it are out of date
        self._timed = []
        self._publisher.send()

    def _settle(self) -> None:
        self._publisher.settle()
        if self._under_way:
            self.settled += self._under_way
            self._under_way = 0
            self._on_progress(self.settled)

    # --- What goes wrong ----------------------------------------------------------------------------------

    @contextmanager
    def _accounted(self) -> Iterator[None]:
        """Send what is left in the end, also before what is wrong, and then say how much that is."""
        try:
            wrong: BaseException | None = None
            try:
                yield
            except (_ItemError, _SourceError) as error:
                wrong = error
            self._send()
            self._settle()
        except BatchError as error:
            raise self._failed(error) from error.__cause__
        finally:
            self.ids.limit(self.count)
        if isinstance(wrong, _SourceError) and wrong.__cause__ is not None:
            wrong.__cause__.add_note(f"celeryfleet.bulk has sent the {self.settled} items before this.")
            raise wrong.__cause__
        if wrong is not None:
            raise self._wrong(wrong.__cause__) from wrong.__cause__

    def _wrong(self, error: BaseException | None) -> BulkError:
        """Say which item cannot be sent."""
        problem = error.problems[0] if isinstance(error, FleetError) else None
        what = problem.what if problem else f"{type(error).__name__}: {error}"
        code = error.code if isinstance(error, FleetError) else Exit.USAGE
        before = f"The {self.settled:,} items before it are sent." if self.settled else ""
        hint = "\n".join(filter(None, (problem.hint if problem else "", before)))
        return self._told(BulkError(f"Item {self.count} cannot be sent: {what}", hint, code), self.settled, 0, ())

    def _failed(self, error: BatchError) -> BulkError:
        """Say what became of the batch that has failed, and of all before."""
        self.ids.limit(self.count)
        batch = self.ids[self.settled : self.settled + self._under_way]
        refused = tuple(self.settled + place for place, task_id in enumerate(batch) if task_id in error.refused)
        unsure = self._under_way if error.unsure else 0
        where = shown_url(self._app.conf.broker_write_url)
        if refused:
            sent, tried = self.settled + len(batch) - len(refused), self.settled + len(batch)
            what = f"The broker {where} refused {len(refused)} messages, that of item {refused[0]} first: {error.what}."
        else:
            sent, tried = self.settled, self.settled + unsure
            what = f"The broker {where} took no more: {error.what}."
        told = f"{sent:,} of the items are surely sent"
        told += f", and of the {unsure} after them nobody can tell." if unsure else "."
        return self._told(BulkError(f"{what} {told}", error.hint, error.code), sent, unsure, refused, tried)

    def _told(
        self, error: BulkError, sent: int, unsure: int, refused: tuple[int, ...], tried: int | None = None
    ) -> BulkError:
        error.sent, error.unsure, error.refused = sent, unsure, refused
        error.next = sent if tried is None else tried
        error.ids = self.ids
        error.ids.limit(error.next)
        return error


def _guarded(iterable: Iterable[Item]) -> Iterator[Item]:
    try:
        yield from iterable
    except Exception as error:
        raise _SourceError from error
