"""What the web page shows of a fleet and has it do: documents of JSON, made by what the commands call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from celeryfleet.cli import failed, fleet, hosts, queues
from celeryfleet.cli.insight import found
from celeryfleet.cli.session import Session
from celeryfleet.cli.top import PATIENCE, Live
from celeryfleet.cli.why import answered
from celeryfleet.client.again import refusal
from celeryfleet.errors import FleetError
from celeryfleet.ledger.entry import HELD
from celeryfleet.protocol import Restart, Scale
from celeryfleet.web import documents
from celeryfleet.web.charts import Charts
from celeryfleet.web.fleet import Fleet

if TYPE_CHECKING:
    from celeryfleet.protocol import Status

#: rows of a list, messages of a queue, and ids of one request at most
_ROWS, _PEEKED, _IDS = 200, 50, 1000
#: characters of an id that is looked for by its beginning, at least, and of a number at most
_BEGINNING, _DIGITS = 4, 9

Asked = Mapping[str, Any]
Document = dict[str, Any]


class _Quiet(Session):
    """A session of a process that lives on: it imports nobody's code."""

    def app(self) -> Any:
        """Raise FleetError."""
        raise FleetError("the page looks for no results, since it imports no app: `celeryfleet result` does.")


class Page(Live):
    """A fleet as the web page sees it. All may raise FleetError, or sqlite3.Error where the ledger is broken."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._charts = Charts()
        self._read: tuple[float, ...] = ()

    @property
    def session(self) -> Session:
        """The session; another one after fleet.yaml has changed."""
        from celeryfleet.fleetfile.load import override_of

        known = self._session
        files = (known.path, override_of(known.path), *known.env_files)
        read = tuple(file.stat().st_mtime if file.exists() else 0.0 for file in files)
        if read != self._read:
            self._session = _Quiet(known.file, known.env_files, known.profiles, host=known.host)
            self._read = read
        return self._session

    def fleet(self) -> Fleet:
        """Return what the page's server asks."""
        looks = (self.topology, self.tasks, self.task, self.queue, self.failed, self.chart)
        actions = (self.scale, self.restart, self.pause, self.resume, self.retry, self.revoke, self.move)
        ledger = self.session.followed.ledger
        return Fleet(
            status=self.status,
            look=self.look,
            logs=self.logs,
            looks={one.__name__: one for one in looks},
            actions={one.__name__: one for one in actions},
            ledger_file=ledger.file if ledger else None,
            hosts=lambda: hosts.seen(self.session)[0],
        )

    def status(self) -> Status:
        """Say how it is now, without waking its workers."""
        return found(self.session, exact=False, timeout=PATIENCE)

    # --- What is shown ------------------------------------------------------------------------------------

    def topology(self, _: Asked) -> Document:
        """Say which tasks go to which queues, and which pools read those; and how each host is."""
        from celeryfleet.render.graph.survey import survey

        session = self.session
        each = [documents.host(one) for one in hosts.seen(session, self.status())[0]]
        return {**survey(session.fleet, session.plan).to_json(), "hosts": each}

    def tasks(self, asked: Asked) -> Document:
        """List tasks, the latest first: those whose id begins so, else those of a name, which are held or over."""
        find, state = asked.get("find", "").strip(), asked.get("state", "")
        glob = find if set("*?[") & set(find) else f"*{find}*"
        with self.session.ledger() as ledger:
            ids = ledger.starting_with(find) if len(find) >= _BEGINNING else []
            known = [one for each in ids if (one := ledger.find(each))]
            if not known:
                held = [] if state and state not in HELD else ledger.held(*([state] if state else []))
                known = [one for one in held if fnmatchcase(one.task, glob)][::-1]
                if state not in HELD:
                    known += ledger.ended(0, *([state] if state else []), task=glob, limit=_ROWS)
        return {"tasks": [documents.row(one) for one in known[:_ROWS]], "most": _ROWS}

    def task(self, asked: Asked) -> Document:
        """Say all that is known of a task: where it is and why it is not further, and what the ledger has of it."""
        what, kept = asked.get("id", ""), Document(task=None)
        if self.session.followed.ledger is not None:
            with self.session.ledger() as ledger:
                if entry := ledger.named(what):
                    canvas, what = documents.canvas(ledger.canvas(entry, _ROWS)), entry.id
                    kept = {"task": documents.task(entry), "refusal": refusal(entry, False), "canvas": canvas}
                    kept["retry_of"] = ledger.retry_of(entry.id)
        return {"why": documents.answer(answered(self.session, what)), **kept}

    def queue(self, asked: Asked) -> Document:
        """Say how a queue stands, and what is taken from it next; why that can't be seen, if so."""
        name, now = asked.get("name", ""), time.time()
        why = documents.answer(answered(self.session, name))
        try:
            messages = queues.peeked(self.session, name, _PEEKED)
        except FleetError as error:
            return {"why": why, "messages": [], "unseen": str(error)}
        return {"why": why, "messages": [documents.message(one, now) for one in messages]}

    def failed(self, asked: Asked) -> Document:
        """List what went wrong, the latest first."""
        wrong = failed.went_wrong(self.session, _since(asked), _text(asked, "task", "*"))
        return {"tasks": wrong[: -_ROWS - 1 : -1], "count": len(wrong)}

    def chart(self, asked: Asked) -> Document:
        """Count tasks, and how long they waited and ran, over some minutes or a day."""
        with self.session.ledger() as ledger:
            return self._charts.chart(ledger, asked.get("span", "15m"), asked.get("queue", ""), time.time())

    # --- What is done -------------------------------------------------------------------------------------

    def scale(self, asked: Asked) -> None:
        """Have a pool have so many workers."""
        self.do(Scale({_text(asked, "pool"): _number(asked, "replicas")}))

    def restart(self, asked: Asked) -> None:
        """Replace the workers of a pool, each after its tasks."""
        self.do(Restart((_text(asked, "pool"),)))

    def pause(self, asked: Asked) -> None:
        """Have workers leave a queue alone."""
        fleet.set_paused(self.session, [_text(asked, "queue")], True)

    def resume(self, asked: Asked) -> None:
        """Have workers read a queue again."""
        fleet.set_paused(self.session, [_text(asked, "queue")], False)

    def retry(self, asked: Asked) -> Document:
        """Send tasks again, by their ids or all that `failed` lists."""
        ids, since = asked.get("ids"), 0.0
        if ids is None:
            since = _since(asked)
        elif not isinstance(ids, list) or len(ids) > _IDS:
            raise FleetError(f"a list of up to {_IDS} ids is needed.")
        wanted = None if ids is None else [str(each) for each in ids]
        sent, refused, moved = failed.retried(self.session, wanted, since, _text(asked, "task", "*"))
        return {"sent": len(sent) + len(moved), "refused": [why for _, why in refused]}

    def revoke(self, asked: Asked) -> Document:
        """Have a task thrown away, and ended if it runs; say what becomes of it."""
        terminate = asked.get("terminate") is True
        over, going = failed.revoked(self.session, [_text(asked, "id")], terminate)
        if over:
            return {"said": f"it is over: {over[0].state}."}
        [(each, one)] = going.items()
        return {"said": failed.on_revoked(each, one, terminate) or "it is revoked."}

    def move(self, asked: Asked) -> Document:
        """Move waiting messages to another queue; say how many."""
        count = None if asked.get("count") is None else _number(asked, "count")
        source, target = _text(asked, "queue"), _text(asked, "to")
        return {"moved": queues.moved_to(self.session, source, target, count, _text(asked, "task", "*"))}


def _text(asked: Asked, name: str, default: str = "") -> str:
    given = asked.get(name) or default
    if not isinstance(given, str) or not given:
        raise FleetError(f"a {name} is needed.")
    return given


def _number(asked: Asked, name: str) -> int:
    text = str(asked.get(name))
    if not text.isdecimal() or len(text) > _DIGITS:
        raise FleetError(f"{name} is a whole number from 0 on.")
    return int(text)


def _since(asked: Asked) -> float:
    return time.time() - 3600 * _number({"hours": 24, **asked}, "hours")
