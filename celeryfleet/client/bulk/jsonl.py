"""Reads tasks from lines of JSON, and says of every wrong line what is wrong, before anything is sent."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from celeryfleet.client.bulk.items import KEYS, known
from celeryfleet.client.options import headers, priority
from celeryfleet.errors import FleetError, Problem

T = TypeVar("T")

#: problems that are told one by one
TOLD = 20
_EXAMPLE = 'A line is an object such as {"args": [4, 4]}.'
_OF_TIME = 'It is a text such as "2030-01-31T12:00:00".'


@dataclass(slots=True)
class Found:
    """What a file holds."""

    #: tasks
    count: int = 0
    #: the first item of each task and queue: (full name, queue or None) → the item
    first: dict[tuple[str, str | None], dict[str, Any]] = field(default_factory=dict)
    #: wrong lines beyond those that are told
    more: int = 0
    problems: list[Problem] = field(default_factory=list)

    def note(self, problem: Problem) -> None:
        """Keep a problem, if there are not too many."""
        if len(self.problems) < TOLD:
            self.problems.append(problem)
        else:
            self.more += 1


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
        self._resolve = _remembered(resolve)
        self._check = check
        self._check_queue = _remembered(check_queue)

    def checked(self, lines: Iterable[bytes]) -> Found:
        """Read all lines, and find all that is wrong."""
        found = Found()
        for number, line in _numbered(lines):
            try:
                item = self._item(line)
                self._check(item["task"], item.get("args", []), item.get("kwargs", {}))
            except FleetError as error:
                problem = error.problems[0]
                found.note(Problem(problem.what, f"{self._name}:{number}", problem.hint))
                continue
            found.count += 1
            found.first.setdefault((item["task"], item.get("queue")), item)
        if found.more:
            found.problems.append(Problem(f"{found.more} more lines are wrong.", self._name))
        return found

    def items(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Read lines that were found right, as items of a bulk."""
        for _, line in _numbered(lines):
            yield self._item(line)

    def _item(self, line: bytes) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for key, value in _object(line).items():
            reader = _READERS.get(key)
            if reader is None:
                raise FleetError(f'there is no "{key}".', hint=known(key))
            if value is not None:  # as programs write what is not there
                item[key] = reader(key, value)
        if "countdown" in item and "eta" in item:
            raise FleetError('"countdown" and "eta" exclude each other.')
        item["task"] = self._named(item.get("task"))
        if "queue" in item:
            self._check_queue(item["queue"])
        return item

    def _named(self, task: str | None) -> str:
        wanted = task or self._task
        if not wanted:
            raise FleetError("no task is named.", hint='Say "task" in the line, or TASK for all: send TASK --from …')
        return self._resolve(wanted)


def resume(lines: IO[bytes], name: str, sent: int, unsure: int = 0, refused: Sequence[int] = ()) -> str:
    """Say how to go on with a file of which so many tasks were sent; `refused` are numbers of tasks from 0.

    `unsure` of them, the last ones, may be sent or not.
    """
    lines.seek(0)
    numbers = dict(enumerate(number for number, _ in _numbered(lines)))  # blank lines are no tasks
    told = []
    if refused:
        shown = [str(numbers[task]) for task in refused[:10]]
        more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        told.append(f"Refused: {'lines' if len(refused) > 1 else 'line'} {', '.join(shown)}{more}.")
    if unsure:
        told.append(f"Lines {numbers[sent - unsure]} to {numbers[sent - 1]} may be sent or not.")
    if sent in numbers:
        told.append(f"Go on from line {numbers[sent]}: tail -n +{numbers[sent]} {name} | celeryfleet send … --from -")
    return "\n".join(told)


def _remembered(ask: Callable[[str], T]) -> Callable[[str], T]:
    """Ask once for each word, and give the same answer, or raise the same error, for all lines that have it."""
    known: dict[str, T | FleetError] = {}

    def answer(word: str) -> T:
        if word not in known:
            try:
                known[word] = ask(word)
            except FleetError as error:
                known[word] = error
        found = known[word]
        if isinstance(found, FleetError):
            raise found
        return found

    return answer


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number lines from 1, and leave out empty ones."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield number, text


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.rstrip())  # else an end that is missing is told of the next line
    except UnicodeDecodeError:
        raise FleetError("this is not UTF-8.", hint=_EXAMPLE) from None
    except json.JSONDecodeError as error:
        raise FleetError(f"this is no JSON: {error.msg} (column {error.colno}).", hint=_EXAMPLE) from None
    except (ValueError, RecursionError) as error:
        raise FleetError(f"this is no JSON that can be read: {error}.", hint=_EXAMPLE) from None
    if not isinstance(value, dict):
        raise FleetError(f"this is {_type_name(value)}.", hint=_EXAMPLE)
    return value


# --- Values -----------------------------------------------------------------------------------------------


def _type_name(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _list(key: str, value: Any) -> Any:
    if not isinstance(value, list):
        raise FleetError(f'"{key}" is a list such as [4, 4], not {_type_name(value)}.')
    return value


def _mapping(key: str, value: Any) -> Any:
    if not isinstance(value, dict):
        raise FleetError(f'"{key}" is an object such as {{"x": 4}}, not {_type_name(value)}.')
    return value


def _text(key: str, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise FleetError(f'"{key}" is a name, not {_type_name(value) if value != "" else "nothing"}.')
    return value


def _priority(key: str, value: Any) -> Any:
    return priority(value)


def _headers(key: str, value: Any) -> Any:
    return headers(_mapping(key, value))


def _seconds(key: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise FleetError(f'"{key}" is a number of seconds, not {json.dumps(value)[:40]}.')
    return value


def _time(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise FleetError(f'"{key}" is a time, not {_type_name(value)}.', hint=_OF_TIME)
    try:
        return datetime.datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise FleetError(f'"{key}" is no time: {value[:40]}.', hint=_OF_TIME) from None


def _expires(key: str, value: Any) -> Any:
    return _time(key, value) if isinstance(value, str) else _seconds(key, value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "args": _list,
    "kwargs": _mapping,
    "task": _text,
    "queue": _text,
    "priority": _priority,
    "countdown": _seconds,
    "eta": _time,
    "expires": _expires,
    "headers": _headers,
}
assert set(_READERS) == set(KEYS)
