from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from celeryfleet.client.bulk.jsonl import SHOWN, Lines, resume
from celeryfleet.errors import FleetError


def lines(task: str | None = "shop.add") -> Lines:
    """Read lines of a fleet that has the task shop.add, which takes two arguments, and the queue mail."""

    def resolve(word: str) -> str:
        if not "shop.add".endswith(word):
            raise FleetError(f"no {word}.")
        return "shop.add"

    def check(name: str, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        if len(args) + len(kwargs) != 2:
            raise FleetError("two arguments.")

    def check_queue(queue: str) -> None:
        if queue != "mail":
            raise FleetError(f"no queue {queue}.")

    return Lines("f", task, resolve, check, check_queue)


def wrong(*texts: bytes) -> list[str]:
    return [str(problem) for problem in lines().checked(texts).problems]


def test_right_lines_are_counted_and_the_first_of_each_task_and_queue_is_kept() -> None:
    texts = [b'\xef\xbb\xbf{"args": [1, 2]}\r\n', b"\n", b'{"args": [3, 4], "task": "add", "queue": null}', b"  "]
    texts.append(b'{"kwargs": {"x": 1, "y": 2}, "queue": "mail", "eta": "2030-01-01T00:00:00+01:00"}')
    found = lines().checked(texts)
    assert (found.count, found.problems) == (3, [])
    assert list(found.first) == [("shop.add", None), ("shop.add", "mail")]
    items = list(lines().items(texts))
    assert [item.get("args") for item in items] == [[1, 2], [3, 4], []]
    assert items[2]["eta"].isoformat() == items[2]["eta"].astimezone().isoformat()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff", "f:1: this is not UTF-8."),
        (b'{"args": [1, 2}', "f:1: this is no JSON: Expecting ',' delimiter (column 15)."),
        (b"[" * 100_000, "f:1: this is no JSON that can be read"),
        (b"3", "f:1: this is a number."),
        (b'{"kwarg": {}}', 'f:1: There is no "kwarg". Did you mean "kwargs"?'),
        (b'{"kwargs": []}', 'f:1: "kwargs" is a mapping such as {"x": 4}, not list.'),
        (b'{"args": [1]}', "f:1: two arguments."),
        (b'{"task": "mul"}', "f:1: no mul."),
        (b'{"task": ""}', "f:1: \"task\" is a name, not ''."),
        (b'{"queue": "low"}', "f:1: no queue low."),
        (b'{"queue": 3}', "f:1: queue is a text, not a number."),
        (b'{"priority": "9"}', "f:1: A priority is a whole number from 0 to 9, and 9 runs first."),
        (b'{"priority": true}', "f:1: A priority is a whole number from 0 to 9, and 9 runs first."),
        (b'{"countdown": "3"}', "f:1: countdown is a number of seconds, not '3'."),
        (b'{"countdown": Infinity}', "f:1: this is no JSON that can be read: Infinity is no number of JSON's."),
        (b'{"args": [NaN]}', "f:1: this is no JSON that can be read: NaN is no number of JSON's."),
        (b'{"expires": -1}', "f:1: expires is a number of seconds, not -1."),
        (b'{"expires": "soon"}', 'f:1: expires is no time: "soon".'),
        (b'{"eta": 3}', "f:1: eta is a time, not a number."),
        (b'{"eta": "2030-01-01", "countdown": 1}', 'f:1: "countdown" and "eta" exclude each other.'),
        (b'{"headers": {"task": 1}}', 'f:1: The header "task" is one of Celery\'s own.'),
    ],
)
def test_a_wrong_line_is_told_with_its_number(text: bytes, said: str) -> None:
    (problem,) = wrong(text)
    assert problem.startswith(said)


def test_wrong_lines_beyond_a_screenful_are_counted() -> None:
    told = wrong(*[b"x"] * (SHOWN + 5))
    assert len(told) == SHOWN + 1
    assert told[-1] == "f: 5 more lines are wrong."


def test_a_line_without_a_task_needs_one_for_all() -> None:
    (problem,) = lines(task=None).checked([b"{}"]).problems
    assert "no task is named" in problem.what


def test_how_to_go_on_is_told_in_lines_of_the_file_which_may_be_empty() -> None:
    file = io.BytesIO(b'\n{"args": [1, 2]}\n\n{}\n{}\n{}\n')  # the tasks are lines 2, 4, 5 and 6
    assert resume(file, "f", 0) == "Go on from line 2: tail -n +2 f | celeryfleet send … --from -"
    assert resume(file, "f", 3, unsure=2) == (
        "Lines 4 to 5 may be sent or not.\nGo on from line 6: tail -n +6 f | celeryfleet send … --from -"
    )
    assert resume(file, "f", 4, refused=(1,)) == "Refused: line 4."
    assert resume(file, "f", 4, refused=(0, 2)) == "Refused: lines 2, 5."
