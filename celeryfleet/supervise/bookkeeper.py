"""Writes what the workers tell into the ledger, in a thread of its own: a slow disk must keep nobody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from celeryfleet.plan.values import LedgerPlan

if TYPE_CHECKING:
    from celeryfleet.ledger.store import Store
    from celeryfleet.worker_protocol import Ran

    _Rows = tuple[str, tuple[object, ...]]
    _Work = Callable[[Store], object]
    _Item = _Rows | _Work | asyncio.Future[None] | None

#: messages of workers that wait to be written at most
_MOST = 2000
#: seconds between two looks at what is too old or too much, and after one that found more than is removed at once
_TRIM, _TRIM_ON = 30.0, 0.2


class Bookkeeper:
    """The ledger of a running fleet."""

    def __init__(self, plan: LedgerPlan, say: Callable[[str], None], tell_anew: Callable[[], None], anew: bool) -> None:
        self.plan = plan
        #: some of what workers told is not written: what they are said to hold they may hold no more
        self._gap = anew
        #: to be called in the loop's thread
        self._say, self._tell_anew = say, tell_anew
        self._loop = asyncio.get_running_loop()
        #: rows of workers, other work, who waits for it, or None for the end
        self._told: SimpleQueue[_Item] = SimpleQueue()
        #: why nothing can be written; empty if it can
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def tell(self, worker: str, rows: tuple[object, ...]) -> None:
        """Have rows of a worker written soon; what comes faster than the disk takes it is left out."""
        if self._told.qsize() < _MOST:
            self._told.put((worker, rows))
        else:
            self._gap = True
            self._complain("the disk is too slow for it")

    def gone(self, worker: str, ran: Iterable[Ran]) -> None:
        """Have it written that a worker is gone, and what ran in it."""
        now, tasks = int(time.time() * 1000), tuple(ran)
        self._told.put(lambda store: store.gone(worker, tasks, now))

    async def written(self) -> None:
        """Wait until all that was told before is written, or can't be."""
        done = self._loop.create_future()
        self._told.put(done)
        await done

    def close(self) -> None:
        """Write what is left, and end."""
        self._told.put(None)
        self._thread.join()

    # --- In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        import sqlite3  # it takes milliseconds that a start has not

        from celeryfleet.ledger.store import Store

        store: Store | None = None
        look_at = time.monotonic()
        last: _Item | tuple[()] = ()
        while last is not None:
            rows, last = self._next(max(0.0, look_at - time.monotonic()))
            try:
                if store is None:
                    store = Store(self.plan.file, self.plan.keep, self.plan.max_size)
                    if store.discarded:
                        self._call(self._say, f"the ledger {self.plan.file} begins anew: {store.discarded}")
                if self._gap and self._told.qsize() < _MOST // 2:
                    store.abandon()
                    self._gap = False
                    self._call(self._tell_anew)
                if rows and (odd := store.write(rows)):
                    self._call(self._say, f"{odd} rows that workers told the ledger make no sense")
                if callable(last):
                    last(store)
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + (_TRIM_ON if store.trim(int(time.time() * 1000)) else _TRIM)
                if rows and self.trouble:
                    self._call(self._complain, "")
            except (OSError, sqlite3.Error, ValueError, OverflowError) as error:
                self._gap = True
                self._call(self._complain, str(error))
                look_at = time.monotonic() + _TRIM
            if isinstance(last, asyncio.Future):
                self._call(_settle, last)
        if store is not None:
            store.close()  # before another opens the file: who closes any descriptor of it drops the locks of all

    def _next(self, patience: float) -> tuple[list[_Rows], _Item | tuple[()]]:
        """Wait for work; return rows of workers, and the first other work that comes after them; `()` is none."""
        rows: list[_Rows] = []
        try:
            while True:
                found = self._told.get(timeout=patience) if not rows else self._told.get_nowait()
                if not isinstance(found, tuple):
                    return rows, found
                rows.append(found)
        except Empty:
            return rows, ()

    def _call(self, what: Callable[..., object], *values: object) -> None:
        """Call something in the loop's thread, unless the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *values)

    def _complain(self, why: str) -> None:
        """Say once why tasks are missing from the ledger, and when they are no more."""
        if why != self.trouble:
            self.trouble = why
            how = f"can't be written: {why}; what becomes of tasks is not kept" if why else "is written again"
            self._say(f"the ledger {self.plan.file} {how}")


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # else whoever waited is gone
        waiter.set_result(None)
