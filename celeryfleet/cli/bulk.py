"""What `send` does with many tasks: --count and --from, with a bar, and with an account of what was sent."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from celeryfleet.cli.interrupts import interruptible
from celeryfleet.cli.sending import refuse_unread, resolved
from celeryfleet.errors import Exit, FleetError, Problem
from celeryfleet.text import counted, say

if TYPE_CHECKING:
    from celeryfleet.cli.sending import Wanted
    from celeryfleet.cli.session import Session
    from celeryfleet.client.bulk import Bulk, BulkError
    from celeryfleet.client.options import Options

#: (items sent or tried, what went wrong) → how to go on
Resume: TypeAlias = "Callable[[int, BulkError | None], str]"
#: bytes of standard input that are kept in memory
_IN_MEMORY = 8 << 20


def send_count(
    app: Any, task: str, args: list[Any], kwargs: dict[str, Any], options: Options, count: int, as_json: bool
) -> int:
    """Send the same task `count` times."""
    _check(app, task, args, kwargs)

    def resume(sent: int, error: BulkError | None) -> str:
        return f"Go on with --count {count - sent}." if sent < count else ""

    return _send(app, task, repeat({"args": args, "kwargs": kwargs}, count), options, count, resume, as_json)


def send_file(session: Session, task: str | None, source: Path, options: Options, force: bool, as_json: bool) -> int:
    """Send a task for each line of a file, once every line is known to be right."""
    from celeryfleet.client.bulk import jsonl
    from celeryfleet.client.publish import check_queue

    name = "stdin" if str(source) == "-" else str(source)
    with _opened(source) as file:
        session.require_broker()
        app = session.app()
        find = partial(resolved, session, app, force=force)
        lines = jsonl.Lines(name, task, find, partial(_check, app), partial(check_queue, app))
        if options.queue is not None:
            check_queue(app, options.queue)
        found = lines.checked(file)
        if found.problems:
            raise FleetError.of([*found.problems, Problem("nothing was sent.")])
        refuse_unread(session, app, (_wanted(item, options) for item in found.first.values()), force)

        def resume(sent: int, error: BulkError | None) -> str:
            return jsonl.resume(file, name, sent, error.unsure if error else 0, error.refused if error else ())

        file.seek(0)
        return _send(app, None, lines.items(file), options, found.count, resume, as_json)


def _check(app: Any, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise FleetError for arguments that a task cannot take, if the app has it."""
    from celeryfleet.client.send import check_arguments

    if task in app.tasks:
        check_arguments(app.tasks[task], args, kwargs)


def _wanted(item: Mapping[str, Any], options: Options) -> Wanted:
    own = {key: item[key] for key in ("queue", "headers") if item.get(key)}
    return item["task"], item["args"], item["kwargs"], {**options.target, **own}


@contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """Open a file that is read twice; what can be read once only, such as standard input, is put aside first."""
    try:
        file = sys.stdin.buffer if str(source) == "-" else source.open("rb")
    except OSError as error:
        raise FleetError(f"{source} cannot be read: {error.strerror}.") from None
    with file:
        if str(source) != "-" and file.seekable():
            yield file
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as kept:
            shutil.copyfileobj(file, kept)
            kept.seek(0)
            yield kept


# --- Sending ----------------------------------------------------------------------------------------------


def _send(
    app: Any, task: str | None, items: Iterable[Any], options: Options, total: int, resume: Resume, as_json: bool
) -> int:
    """Send them all, and print a summary. Raises FleetError that says how to go on."""
    from celeryfleet.client.bulk import BulkError, bulk
    from celeryfleet.client.outcome import Progress
    from celeryfleet.render.progress import progress_bar

    sent = 0
    with progress_bar("sending") as draw, interruptible() as interrupted:

        def on_progress(now: int) -> None:
            nonlocal sent
            sent = now
            draw(Progress(now, 0, total))
            if interrupted():
                raise KeyboardInterrupt

        try:
            done = bulk(app, task, items, on_progress, **options.given())
        except BulkError as error:
            problem = error.problems[0]
            hint = "\n".join(filter(None, (problem.hint, resume(error.next, error))))
            raise FleetError(problem.what, hint=hint, code=error.code) from error
        except KeyboardInterrupt:
            least = "" if interrupted() else "at least "  # it stops between two batches, or where it hangs
            say(f"interrupted: {least}{sent:,} of {total:,} tasks are sent. {resume(sent, None)}", sys.stderr)
            raise
    _show(done, as_json)
    return Exit.OK


def _show(done: Bulk, as_json: bool) -> None:
    if as_json:
        figures = {"seconds": round(done.seconds, 3), "per_second": round(done.per_second, 1)}
        say(json.dumps({"schema_version": 1, "sent": done.sent, **figures}))
        return
    where = "".join(f" to {name}" for name in done.queues)
    if len(done.queues) > 1:
        where = f": {', '.join(f'{count:,} to {name}' for name, count in done.queues.items())}"
    say(f"sent {counted(done.sent, 'task')} in {done.seconds:.2f} s ({done.per_second:,.0f} a second){where}")
    if done.reason and done.sent > 1:
        say(f"Celery made each message by itself, which is slower: {done.reason}.", sys.stderr)
