"""Reads the ledger, while it is written or afterwards."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from celeryfleet import trust
from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import FAILED, HELD, LOST, RETRYING, Entry
from celeryfleet.ledger.store import COLUMNS, VERSION
from celeryfleet.text import clean

_ENTRY = ", ".join(f"t.{column}" for column in COLUMNS)
_FROM = f"SELECT {_ENTRY}, again.retried_as FROM {{}} AS t LEFT JOIN again USING (id)"
#: milliseconds by which rows may stand in another order than their tasks ended
_DISORDER = 10_000


class Brief(NamedTuple):
    """What is counted of a task; times are unix milliseconds."""

    id: str
    task: str
    queue: str
    state: str
    retries: int
    sent: int | None
    eta: int | None
    received: int | None
    started: int | None
    runtime: int | None
    error: str | None


class Ledger:
    """The file, opened for reading, and for noting what was sent again."""

    def __init__(self, path: str) -> None:
        """Open the file; one that is not there is empty. Raises FleetError where it can't be read."""
        file = Path(path)
        try:
            if file.exists() and not trust.believed(file.lstat().st_uid):
                raise FleetError(f"{path} is of {trust.named(file.lstat().st_uid)}: it is not believed.")
            self._db = sqlite3.connect(path if file.exists() else ":memory:", timeout=5.0, isolation_level=None)
            if self._db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                self._db.close()
                self._db = sqlite3.connect(":memory:")
        except (OSError, sqlite3.Error) as error:
            raise FleetError(f"the ledger {path} cannot be read: {error}.") from None
        self._path = path
        self._empty = not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find(self, task_id: str) -> Entry | None:
        """Return what is known of a task now: what a worker holds goes before what has ended."""
        held = self._entries("held", "WHERE t.id = ?", task_id)
        if held and held[0].state != RETRYING:
            return held[0]
        ended = self._entries("ended", "WHERE t.id = ? ORDER BY t.rowid DESC LIMIT 1", task_id)
        if held and not (ended and ended[0].retries >= held[0].retries):  # else the next try is over already
            return held[0]
        return ended[0] if ended else None

    def canvas(self, one: Entry, most: int) -> list[Entry]:
        """Return the tasks that belong to one's canvas, each once: those of its root, of its group, and of theirs.

        Only what a worker has had is known, and about `most` of it are returned, the latest.
        """
        known: dict[str, Entry] = {}
        roots, groups, before = {one.root or one.id}, {one.group_id}, 0
        while before < len(roots) + len(groups) and len(known) < most:
            before = len(roots) + len(groups)
            some, more = [", ".join("?" * len(each)) for each in (roots, groups)]
            where = f"WHERE t.id IN ({some}) OR t.root IN ({some}) OR t.group_id IN ({more})"
            where += " ORDER BY t.rowid DESC LIMIT ?"
            values = (*roots, *roots, *groups, most)
            for entry in (*self._entries("held", where, *values), *self._entries("ended", where, *values)):
                if entry.id not in known or known[entry.id].retries < entry.retries:
                    known[entry.id] = entry
            roots |= {each.root or each.id for each in known.values()}
            groups |= {each.group_id for each in known.values()}
        return sorted(known.values(), key=lambda each: (each.received or 0, each.id))

    def related(self, task_id: str) -> list[Entry]:
        """Return the tasks of a group, or those whose messages name an id, as one of a canvas does that comes later."""
        where = "WHERE (instr(t.message, ?) OR t.group_id = ?) AND t.id <> ? ORDER BY t.rowid DESC"
        known: dict[str, Entry] = {}
        for entry in (*self._entries("held", where, *[task_id] * 3), *self._entries("ended", where, *[task_id] * 3)):
            known.setdefault(entry.id, entry)
        return list(known.values())

    def named(self, text: str) -> Entry | None:
        """Return what is known of the task of an id, or of how one begins. Raises FleetError where several do."""
        found = self.find(text)
        ids = [] if found else self.starting_with(text)
        if len(ids) > 1:
            raise FleetError(f"several tasks begin with {clean(text)}: {', '.join(map(clean, ids))}.")
        return self.find(ids[0]) if ids else found

    def starting_with(self, task_id: str) -> list[str]:
        """Return the ids that start so: a part that a user has copied; ten at most."""
        if self._empty or not task_id:
            return []
        sql = " UNION ".join(f"SELECT id FROM {table} WHERE substr(id, 1, ?) = ?" for table in ("held", "ended"))
        return [row[0] for row in self._rows(f"{sql} LIMIT 10", *(len(task_id), task_id) * 2)]

    def held(self, *states: str) -> list[Entry]:
        """Return the tasks that workers hold or that come again, in these states or in any, oldest first."""
        wanted = states or tuple(sorted(HELD))
        where = f"WHERE t.state IN ({', '.join('?' * len(wanted))}) ORDER BY coalesce(t.started, t.received)"
        return self._entries("held", where, *wanted)

    def ended(self, since: float, *states: str, task: str = "*", limit: int = -1) -> list[Entry]:
        """Return the tasks that have ended since then (unix seconds), in these states or in any, latest first."""
        at = int(since * 1000)
        where = "WHERE t.rowid >= ? AND t.ended >= ? AND t.task GLOB ?"
        if states:
            where += f" AND t.state IN ({', '.join('?' * len(states))})"
        where += " ORDER BY t.rowid DESC LIMIT ?"
        return self._entries("ended", where, self._first(at), at, _glob(task), *states, limit)

    def failures(self, since: float, task: str = "*") -> list[Entry]:
        """Return the tasks that have failed or were lost since then and did not come again, oldest first."""
        at = int(since * 1000)
        wrong = f"state IN ('{FAILED}', '{LOST}')"
        ids = f"SELECT id FROM ended WHERE rowid >= ? AND {wrong}"
        where = (
            f"WHERE t.rowid IN (SELECT max(rowid) FROM ended WHERE rowid >= ? AND id IN ({ids}) GROUP BY id)"
            f" AND t.{wrong} AND t.ended >= ? AND t.task GLOB ? AND t.id NOT IN (SELECT id FROM held) ORDER BY t.ended"
        )
        first = self._first(at)
        return self._entries("ended", where, first, first, at, _glob(task))

    def rates(self, seconds: float, now: float | None = None) -> dict[str, float]:
        """Return how many tasks a second have ended of late, by queue, since the first of them began."""
        until = (time.time() if now is None else now) * 1000
        at = int(until - seconds * 1000)
        began = "min(coalesce(started, ended))"
        sql = f"SELECT queue, count(*), {began} FROM ended WHERE rowid >= ? AND ended >= ? GROUP BY queue"
        found = self._rows(sql, self._first(at), at)
        return {queue: 1000 * count / max(1000, until - max(at, first)) for queue, count, first in found}

    def times(self, since: float) -> Iterator[tuple[str, str, str, float | None, float | None]]:
        """Yield task, queue, state, seconds waited and seconds run of all that has ended since then (unix seconds)."""
        at = int(since * 1000)
        sql = (
            "SELECT task, queue, state, (started - max(sent, coalesce(eta, 0))) / 1000.0, runtime / 1000.0"
            " FROM ended WHERE rowid >= ? AND ended >= ?"
        )
        yield from self._rows(sql, self._first(at), at)

    def since(self, row: int | None, most: int) -> tuple[int, list[Brief], list[Brief]]:
        """Return the last row that was read, the tasks that ended after `row`, and those that are held at that moment.

        At most so many are read at once; None: only what is held. A file that has begun anew is read from its start.
        """
        brief = f"SELECT {', '.join(Brief._fields)} FROM"
        self._db.execute("BEGIN")
        try:
            last = next(self._rows("SELECT coalesce(max(rowid), 0) FROM ended"), (0,))[0]
            first = last if row is None else row if row <= last else 0
            last = min(last, first + most)
            ended = self._rows(f"{brief} ended WHERE rowid > ? AND rowid <= ?", first, last)
            held = self._rows(f"{brief} held")
            return last, [*map(Brief._make, ended)], [*map(Brief._make, held)]
        finally:
            self._db.execute("COMMIT")

    def recent(self, since: float, most: int) -> Iterator[tuple[str, str, int, float | None]]:
        """Yield task, queue, when it was sent or might begin (unix ms) and seconds run of what has ended, latest first.

        The seconds are those that its process was taken by it; of what ended since then the latest `most` are told.
        """
        at = int(since * 1000)
        sql = (
            "SELECT task, queue, max(coalesce(sent, received), coalesce(eta, 0)), (ended - started) / 1000.0"
            " FROM ended WHERE rowid >= ? AND ended >= ? ORDER BY rowid DESC LIMIT ?"
        )
        yield from self._rows(sql, self._first(at), at, most)

    def counts(self, since: float, step: int, queue: str = "") -> Iterator[tuple[int, int, int]]:
        """Yield how many tasks have ended, and how many of them badly, in each step of so many seconds that had any."""
        at = int(since * 1000)
        sql = (
            f"SELECT (ended - ?) / ? AS step, count(*), sum(state IN ('{FAILED}', '{LOST}')) FROM ended"
            " WHERE rowid >= ? AND ended >= ? AND ? IN ('', queue) GROUP BY step"
        )
        yield from self._rows(sql, at, step * 1000, self._first(at), at, queue)

    def samples(
        self, since: float, step: int, queue: str, most: int
    ) -> Iterator[tuple[int, float | None, float | None]]:
        """Yield the step, seconds waited and seconds run of tasks that have ended: all, or evenly about `most`."""
        at = int(since * 1000)
        first = self._first(at)
        last = next(self._rows("SELECT max(rowid) FROM ended"), (None,))[0] or 0
        sql = (
            "SELECT (ended - ?) / ?, (started - max(sent, coalesce(eta, 0))) / 1000.0, runtime / 1000.0 FROM ended"
            " WHERE rowid >= ? AND ended >= ? AND rowid % ? = 0 AND ? IN ('', queue)"
        )
        yield from self._rows(sql, at, step * 1000, first, at, max(1, (last - first) // most), queue)

    # --- What is sent again -------------------------------------------------------------------------------

    def claim(self, task_id: str, retried_as: str, again: bool = False) -> bool:
        """Note that a task is about to be sent again under another id; False if it was before, unless `again`."""
        how = "REPLACE" if again else "IGNORE"
        values = (task_id, retried_as, int(time.time() * 1000))
        with self._opened():
            return self._db.execute(f"INSERT OR {how} INTO again VALUES (?, ?, ?)", values).rowcount == 1

    def unclaim(self, entry: Entry) -> None:
        """Take that back: it could not be sent, and is what it was before."""
        if entry.retried_as is not None:
            self.claim(entry.id, entry.retried_as, again=True)
            return
        with self._opened():
            self._db.execute("DELETE FROM again WHERE id = ?", (entry.id,))

    def retry_of(self, task_id: str) -> str | None:
        """Return the id of the task that was sent again as this one."""
        found = list(self._rows("SELECT id FROM again WHERE retried_as = ?", task_id))
        return str(found[0][0]) if found else None

    # --- Rows ---------------------------------------------------------------------------------------------

    def _entries(self, table: str, where: str, *values: Any) -> list[Entry]:
        return [Entry(*row) for row in self._rows(f"{_FROM.format(table)} {where}", *values)]

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        if not self._empty:
            with self._opened():
                yield from self._db.execute(sql, values)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        """Raise FleetError where the file is damaged, or what is noted in it can't be written."""
        try:
            yield
        except sqlite3.Error as error:
            hint = "A damaged one is begun anew when the fleet is started: celeryfleet down, celeryfleet up -d"
            raise FleetError(f"the ledger {self._path} cannot be used: {error}.", hint=hint) from None

    def _first(self, at: int) -> int:
        """Find the first row of `ended` that can be so late, by halving: rows are appended as tasks end."""
        ends = "SELECT (SELECT min(rowid) FROM ended), (SELECT max(rowid) FROM ended)"  # both at once would read all
        low, high = (found or 0 for found in next(self._rows(ends), (0, 0)))
        while low < high:
            middle = (low + high) // 2
            (ended,) = next(self._rows("SELECT ended FROM ended WHERE rowid >= ? ORDER BY rowid LIMIT 1", middle))
            low, high = (middle + 1, high) if (ended or 0) < at - _DISORDER else (low, middle)
        return int(low)


def _glob(pattern: str) -> str:
    """Write a glob of Python's as SQLite has it."""
    return pattern.replace("[!", "[^")
