"""One bulk from its first item to its last: batches, ids, and an exact account of what was sent when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from operator import length_hint
from typing import TYPE_CHECKING

from celeryfleet.client.bulk.ids import BLOCK, Ids
from celeryfleet.client.bulk.items import Args, Item, Kwargs, read
from celeryfleet.client.bulk.publishers import BatchError, BatchPublisher, Repeat
from celeryfleet.client.bulk.shapes import Shape, Shapes
from celeryfleet.client.bulk.template import Template
from celeryfleet.client.publish import publishing, shown_url
from celeryfleet.client.seam import bind
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
    #: why Celery had to build each message, which is slower; empty: they were copied
    reason: str = ""

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds if self.seconds else 0.0


class BulkError(FleetError):
    """Not everything was sent; says how much was."""

    def __init__(
        self,
        what: str,
        hint: str = "",
        code: Exit = Exit.USAGE,
        sent: int = 0,
        unsure: int = 0,
        refused: Sequence[int] = (),
        ids: Ids | None = None,
    ) -> None:
        super().__init__(what, hint=hint, code=code)
        #: how many items are surely sent: the first ones, but for those in `refused`
        self.sent = sent
        #: how many of those that follow may be sent or not
        self.unsure = unsure
        #: numbers, from 0, of items that the broker has refused
        self.refused = tuple(refused)
        #: number of the first item that was not tried
        self.next = sent + unsure + len(refused)
        #: ids of the items before `next`
        self.ids = Ids() if ids is None else ids
        self.ids.limit(self.next)


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
        #: the template of an item that is repeated, and what adds copies of that
        self._repeater: tuple[Template | None, Repeat] = (None, lambda ids, tags, sent: None)
        #: messages by queue
        self.queues: dict[str, int] = {}
        #: why Celery had to build each message of some shape
        self.reason = ""

    def each(self, iterable: Iterable[Item]) -> None:
        """Publish all items. Raises BulkError, and what the iterable raises."""
        with self._accounted():
            for item in _guarded(iterable):
                shape = self._one(item)
                if isinstance(iterable, repeat) and shape.template is not None and shape.copy is not None:
                    self._repeat(item, shape.template, iterable)
                if self._in_hand >= BATCH or self._publisher.size >= SIZE or time.monotonic() - self._began > AGE:
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
                self._build(shape, args, kwargs, task_id)
            else:
                if shape.task is not None:
                    bind(shape.task, args, kwargs)
                shape.copy(shape.template.encode(args, kwargs), task_id, self._tags.block(number)[place], self._now)
                self._add(shape.template.message.queue, 1)
            return shape
        except Exception as error:
            raise _ItemError from error

    def _build(self, shape: Shape, args: Args, kwargs: Kwargs, task_id: str) -> None:
        """Have Celery build a message."""
        with publishing(self._app) if not shape.known else nullcontext():  # its queues are declared with the first
            chosen, built = self._publisher.build(partial(shape.publish, self._app, args, kwargs, task_id))
        self._now = time.time()
        if chosen != task_id:  # by an `apply_async` of the task's own
            self.ids.replace(self.count, chosen)
        if self._publisher.rebound:
            self._shapes.forget()
            self._publisher.rebound = False
        shape.learn(self._app, self._publisher, built)
        self.reason = self.reason or shape.reason
        if shape.copy is not None and shape.template is not None and shape.template.timed:
            self._timed.append(shape)
        self._add(built[0].queue if built else "", 1)

    def _repeat(self, item: Item, template: Template, rest: repeat[Item]) -> None:
        """Add as many copies with the same arguments as are left and the batch may have."""
        if self._repeater[0] is not template:
            args, kwargs, _ = read(item)
            self._repeater = template, self._publisher.repeater(template, template.encode(args, kwargs))
        number, place = divmod(self.count, BLOCK)
        count = min(length_hint(rest), BATCH - self._in_hand, BLOCK - place, 1 + SIZE // template.weight)
        within = slice(place, place + count)
        self._repeater[1](self.ids.block(number)[within], self._tags.block(number)[within], self._now)
        self._add(template.message.queue, count)
        next(islice(rest, count, count), None)  # passes over them

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
        wrong: Exception | None = None
        try:
            try:
                yield
            except (_ItemError, _SourceError) as error:
                wrong = error
            self._send()
            self._settle()
        except BatchError as error:
            raise self._failed(error) from error.__cause__
        self.ids.limit(self.count)
        cause = wrong and wrong.__cause__
        if cause is None:
            return
        if isinstance(wrong, _SourceError):
            cause.add_note(f"celeryfleet.bulk has sent the {self.settled} items before this.")
            raise cause
        raise self._wrong(cause) from cause

    def _wrong(self, error: BaseException) -> BulkError:
        """Say which item cannot be sent."""
        fault = error if isinstance(error, FleetError) else FleetError(f"{type(error).__name__}: {error}")
        before = f"The {self.settled:,} items before it are sent." if self.settled else ""
        hint = "\n".join(filter(None, (fault.problems[0].hint, before)))
        what = f"Item {self.count} cannot be sent: {fault.problems[0].what}"
        return BulkError(what, hint, fault.code, self.settled, ids=self.ids)

    def _failed(self, error: BatchError) -> BulkError:
        """Say what became of the batch that has failed, and of all before."""
        fault = error.problems[0]
        self.ids.limit(self.count)
        tried = range(self.settled, self.settled + self._under_way)
        refused = [place for place in tried if self.ids[place] in error.refused]
        unsure = len(tried) if error.unsure else 0
        where = shown_url(self._app.conf.broker_write_url)
        if refused:
            sent = tried.stop - len(refused)
            what = f"The broker {where} refused {len(refused)} messages, that of item {refused[0]} first: {fault.what}."
        else:
            sent, what = self.settled, f"The broker {where} took no more: {fault.what}."
        what += f" {sent:,} of the items are surely sent"
        what += f", and of the {unsure} after them nobody can tell." if unsure else "."
        return BulkError(what, fault.hint, error.code, sent, unsure, refused, self.ids)


def _guarded(iterable: Iterable[Item]) -> Iterator[Item]:
    try:
        yield from iterable
    except Exception as error:
        raise _SourceError from error
