"""Writes the ledger: a bounded SQLite file, by one process alone.

`held` has the tasks that workers hold or that come again, by id. `ended` is only appended to, and cut at its front: an
index of random ids would cost ten times what a row does, and a look through half a million rows takes 50 ms. `again`
says what was sent again (see retry.py).
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet import private
from celeryfleet.ledger.entry import HELD, LOST, RETRYING, RUNNING, TOLD, UNKNOWN, WAITING, shaped

if TYPE_CHECKING:
    from celeryfleet.worker_protocol import Ran

#: of the tables; a file of another one is not read
VERSION = 2
#: the columns of both tables
COLUMNS = ("worker", *TOLD)
#: rows removed at once: more would keep those that wait to be written
_CUT = 10_000
#: kibibytes of pages in memory
_CACHE = 2000
_STATE = TOLD.index("state")
_LIST = ", ".join(COLUMNS)
_TABLES = f"""
CREATE TABLE held ({_LIST}, PRIMARY KEY (id));
CREATE TABLE ended ({_LIST});
CREATE TABLE again (id PRIMARY KEY, retried_as, at);
PRAGMA user_version = {VERSION};
"""
_VALUES = f"VALUES ({', '.join('?' * len(COLUMNS))})"
#: what a try that has failed says, which is kept while there is a next one
_SAID = ("max_retries", "error")
#: the next try of a task may be told of before what led to it
_HOLD = (
    f"INSERT INTO held {_VALUES} ON CONFLICT (id) DO UPDATE SET"
    f" {', '.join(f'{name} = excluded.{name}' for name in COLUMNS if name not in ('id', *_SAID))}"
    f", {', '.join(f'{name} = coalesce(excluded.{name}, held.{name})' for name in _SAID)}"
    f" WHERE excluded.state <> '{RETRYING}' OR held.retries < excluded.retries"
)


class Store:
    """The file, opened for writing."""

    def __init__(self, path: str, keep: float, max_size: int) -> None:
        """Open the file, or begin it anew where it is damaged or of another version. Raises OSError, sqlite3.Error.

        `keep` is seconds, `max_size` bytes.
        """
        self.keep, self.max_size = keep, max_size
        #: why it was begun anew; empty if it was not
        self.discarded = ""
        try:
            self._db = _opened(path)
        except sqlite3.OperationalError:  # it is locked, or the disk is full: nothing is wrong with the file
            raise
        except sqlite3.DatabaseError as error:
            self.discarded = str(error)
            for name in (path, f"{path}-wal", f"{path}-shm"):
                Path(name).unlink(missing_ok=True)
            self._db = _opened(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def abandon(self) -> None:
        """Say of all that is held that nobody knows: an earlier supervisor ended without its workers."""
        self._db.execute(f"UPDATE held SET state = '{UNKNOWN}' WHERE state NOT IN ('{RETRYING}', '{WAITING}')")

    def write(self, told: Iterable[tuple[str, Sequence[Any]]]) -> int:
        """Write what workers tell: (worker, rows of `TOLD`), oldest first; return how many rows made no sense."""
        held, ended, count, known = {}, [], 0, 0
        for worker, rows in told:
            for row in rows:
                count += 1
                if isinstance(row, list) and shaped(tuple(map(type, row))):
                    known += 1
                    held[row[0]] = [worker, *row] if row[_STATE] in HELD else None
                    if held[row[0]] is None:
                        ended.append([worker, *row])
        with self._transaction():
            self._db.executemany(f"INSERT INTO ended {_VALUES}", ended)
            self._db.executemany("DELETE FROM held WHERE id = ?", ((key,) for key, row in held.items() if row is None))
            self._db.executemany(_HOLD, filter(None, held.values()))
        return count - known

    def gone(self, worker: str, ran: Sequence[Ran], now: int) -> None:
        """Take note that a worker is gone, and that these tasks ran in it; `now` is unix milliseconds.

        Of those that ran, what was acknowledged is lost; of what was told to run and did not, the end was not told.
        """
        own = f"worker = ? AND state NOT IN ('{RETRYING}', '{UNKNOWN}')"
        ids = [(one.id, worker) for one in ran]
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO held (id, task, worker, queue, state, retries, late)"
                " VALUES (?, ?, ?, '', '', 0, ?)",
                [(one.id, one.task, worker, int(one.late)) for one in ran],  # what was not told of them
            )
            how = f"CASE late WHEN 0 THEN '{LOST}' ELSE '{WAITING}' END"
            self._db.executemany(f"UPDATE held SET state = {how} WHERE id = ? AND {own}", ids)
            how = f"CASE state WHEN '{RUNNING}' THEN '{UNKNOWN}' ELSE '{WAITING}' END"
            self._db.execute(f"UPDATE held SET state = {how} WHERE {own} AND state <> '{LOST}'", (worker,))
            lost = _LIST.replace(" ended,", f" {now},").replace(" error,", " 'its worker ended while it ran',")
            self._db.execute(f"INSERT INTO ended SELECT {lost} FROM held WHERE state = '{LOST}'")
            self._db.execute(f"DELETE FROM held WHERE state = '{LOST}'")

    def trim(self, now: int) -> bool:
        """Remove some of what is too old or too much, and tell whether there is more; `now` is unix milliseconds."""
        oldest = now - int(self.keep * 1000)
        self._db.execute(
            "DELETE FROM held WHERE max(coalesce(sent, 0), coalesce(received, 0), coalesce(eta, 0)) < ?", (oldest,)
        )
        self._db.execute("DELETE FROM again WHERE at < ?", (oldest,))
        ends = "SELECT (SELECT min(rowid) FROM ended), (SELECT max(rowid) FROM ended)"  # both at once would read all
        first, last = (found or 0 for found in self._db.execute(ends).fetchone())
        cut, size = min(first + _CUT, last + 1), self.size
        if size > self.max_size:  # rows of 64 KiB: ten thousand of them would be all that there is
            cut = min(cut, first + math.ceil((last + 1 - first) * (1 - self.max_size / size)))
        aged = self._db.execute(
            "SELECT coalesce(ended, 0) < ? FROM ended WHERE rowid = ?", (oldest, cut - 1)
        ).fetchone()
        if (aged and aged[0]) or size > self.max_size:
            self._db.execute("DELETE FROM ended WHERE rowid < ?", (cut,))
            return bool(cut <= last)
        self._db.execute("DELETE FROM ended WHERE rowid < ? AND ended < ?", (cut, oldest))
        return False

    @property
    def size(self) -> int:
        """Return the bytes that are in use; the file keeps those that were, for what is to come."""
        pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGES)
        return int((pages - free) * size)

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite has done so by itself after some errors
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


_PAGES = ("page_count", "freelist_count", "page_size")


def _opened(path: str) -> sqlite3.Connection:
    os.close(private.opened(path, os.O_RDWR))
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        db.execute(f"PRAGMA cache_size = -{_CACHE}")
        # What is written survives our end; after the machine's own end a damaged file is begun anew.
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = WAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables:
            db.executescript(_TABLES)
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}")
        elif (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        db.close()
        raise
    return db
