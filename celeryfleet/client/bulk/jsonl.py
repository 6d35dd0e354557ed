"""Reads tasks from lines of JSON, and says of every wrong line what is wrong, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import IO, Any

from celeryfleet.client.bulk.items import OPTIONS, read
from celeryfleet.client.options import checked
from celeryfleet.client.values import kind_of
from celeryfleet.client.words import read_json
from celeryfleet.errors import FleetError, Problem

#: problems that are shown one by one
SHOWN = 20
_EXAMPLE = 'A line is an object such as {"args": [4, 4]}.'


@dataclass(slots=True)
class Found:
    """What a file holds."""

    #: tasks
    count: int = 0
    #: the first item of each task and queue: (full name, queue or None) → the item
    first: dict[tuple[str, str | None], dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Lines:
    """Reads the lines of one file."""

    def __init__(
        self,
        name: str,
        task: str | None,
        resolve: Callable[[str], str],
        check: Callable[[str, list[Any], Mapping[str, Any]], None],
        check_queue: Callable[[str], None],
    ) -> None:
        """Take the file's name, the task of lines that name none, and what finds tasks and checks arguments and queues.

        The functions raise FleetError.
        """
        self._name = name
        self._task = task
        self._check = check
        self._check_queue = check_queue

        @cache
        def resolved(word: str) -> str | FleetError:
            try:
                return resolve(word)
            except FleetError as error:
                return error

        self._resolved = resolved

    def checked(self, lines: Iterable[bytes]) -> Found:
        """Read all lines, and find all that is wrong."""
        found, wrong = Found(), 0
        for number, line in _numbered(lines):
            try:
                item = self._item(line)
                self._check(item["task"], item["args"], item["kwargs"])
            except FleetError as error:
                wrong += 1
                if wrong <= SHOWN:
                    problem = error.problems[0]
                    found.problems.append(Problem(problem.what, f"{self._name}:{number}", problem.hint))
                continue
            found.count += 1
            found.first.setdefault((item["task"], item.get("queue")), item)
        if wrong > SHOWN:
            found.problems.append(Problem(f"{wrong - SHOWN} more lines are wrong.", self._name))
        return found

    def items(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Read lines that were found right, as items of a bulk."""
        for _, line in _numbered(lines):
            yield self._item(line)

    def _item(self, line: bytes) -> dict[str, Any]:
        written = {key: value for key, value in _object(line).items() if value is not None}  # null: it is not there
        args, kwargs, own = read(written)
        options = checked({name: own[name] for name in OPTIONS if name in own}, None)
        if "countdown" in options and "eta" in options:
            raise FleetError('"countdown" and "eta" exclude each other.')
        if "queue" in options:
            self._check_queue(options["queue"])
        return {"task": self._named(own.get("task", self._task)), "args": list(args), "kwargs": kwargs, **options}

    def _named(self, task: Any) -> str:
        if task is None:
            raise FleetError("no task is named.", hint='Say "task" in the line, or TASK for all: send TASK --from …')
        if not isinstance(task, str) or not task:
            raise FleetError(f'"task" is a name, not {kind_of(task).lower() if task else repr(task)}.')
        found = self._resolved(task)
        if isinstance(found, FleetError):
            raise found
        return found


def resume(lines: IO[bytes], name: str, sent: int, unsure: int = 0, refused: Sequence[int] = ()) -> str:
    """Say how to go on with a file of which so many tasks were sent; `refused` are numbers of tasks from 0.

    `unsure` of them, the last ones, may be sent or not.
    """
    lines.seek(0)
    numbers = dict(enumerate(number for number, _ in _numbered(lines)))  # blank lines are no tasks
    texts = []
    if refused:
        shown = [str(numbers[task]) for task in refused[:10]]
        more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        texts.append(f"Refused: {'lines' if len(refused) > 1 else 'line'} {', '.join(shown)}{more}.")
    if unsure:
        texts.append(f"Lines {numbers[sent - unsure]} to {numbers[sent - 1]} may be sent or not.")
    if sent in numbers:
        texts.append(f"Go on from line {numbers[sent]}: tail -n +{numbers[sent]} {name} | celeryfleet send … --from -")
    return "\n".join(texts)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number lines from 1, and leave out empty ones."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield number, text


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = read_json(line.rstrip().decode())  # else an end that is missing is told of the next line
    except UnicodeDecodeError:
        raise FleetError("this is not UTF-8.", hint=_EXAMPLE) from None
    except json.JSONDecodeError as error:
        raise FleetError(f"this is no JSON: {error.msg} (column {error.colno}).", hint=_EXAMPLE) from None
    except ValueError as error:
        raise FleetError(f"this is no JSON that can be read: {error}.", hint=_EXAMPLE) from None
    if not isinstance(value, dict):
        raise FleetError(f"this is {kind_of(value).lower()}.", hint=_EXAMPLE)
    return value
