"""The values of an expression and what may be reckoned with them, within bounds."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

from celeryfleet.client.faults import ComplaintError
from celeryfleet.client.steps import Call, Chain, Chord, Group, Map, Value

#: how many nodes, items and hundreds of characters one expression may cost
WORK = 100_000
#: bits of the largest integer
BITS = 256
#: characters of the longest text put together
LETTERS = 10_000

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Budget:
    """The work an expression may still cost."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        """Take some; raises ComplaintError when there is none left."""
        self.left -= work
        if self.left < 0:
            raise ComplaintError(
                "This is too much for one expression.", "Send many tasks with `celeryfleet send --count`."
            )


def calculate(kind: ast.operator, left: object, right: object) -> int | float | str:
    """Do one operation on two numbers, or join two texts."""
    work = _ARITHMETIC.get(type(kind))
    if isinstance(kind, ast.Add) and isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > LETTERS:
            raise ComplaintError(f"A text may have {LETTERS} characters.")
        return left + right
    if work is None or not isinstance(left, int | float) or not isinstance(right, int | float):
        raise ComplaintError(f"{sort_of(left)} and {sort_of(right).lower()} cannot be combined so; only numbers can.")
    if isinstance(kind, ast.Pow) and isinstance(left, int) and left.bit_length() * abs(right) > BITS:
        raise ComplaintError("This number is too large.")
    try:
        return checked(work(left, right))
    except ArithmeticError as error:
        raise ComplaintError(f"This cannot be reckoned: {error}.") from None


def checked(number: object) -> int | float:
    """Return a number that JSON can carry and nobody minds; raises ComplaintError."""
    if isinstance(number, float) and math.isfinite(number):
        return number
    if isinstance(number, int) and number.bit_length() <= BITS:
        return number
    raise ComplaintError("This number is too large, or none.")


def compare(kind: ast.cmpop, left: object, right: object) -> bool:
    """Compare two plain values, or look one up in a list."""
    if isinstance(kind, ast.In | ast.NotIn) and isinstance(right, tuple | range) and _is_plain(left):
        found = any(_is_plain(item) and item == left for item in right)
        return found == isinstance(kind, ast.In)
    work = _COMPARE.get(type(kind))
    if work is None or not _is_plain(left) or not _is_plain(right):
        raise ComplaintError(f"{sort_of(left)} and {sort_of(right).lower()} cannot be compared so.")
    try:
        return bool(work(left, right))
    except TypeError:
        raise ComplaintError(f"{sort_of(left)} and {sort_of(right).lower()} cannot be compared so.") from None


def truth(value: object) -> bool:
    """Tell whether a plain value counts as true."""
    if not _is_plain(value):
        raise ComplaintError(f"{sort_of(value)} is neither true nor false.")
    return bool(value)


def items(value: object, budget: Budget) -> tuple[Any, ...]:
    """Return the items of a list or a range, paid for."""
    if not isinstance(value, tuple | range):
        raise ComplaintError(f"A list or a range belongs here, not {sort_of(value).lower()}.")
    try:
        budget.spend(len(value))
    except OverflowError:
        budget.spend(WORK)
    return tuple(value)


def frozen(value: object, budget: Budget) -> Value:
    """Return an argument in JSON's types, paid for by its whole size; raises ComplaintError."""
    budget.spend(1)
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            budget.spend(len(value) // 100)
            return value
        case tuple() | range():
            return tuple(frozen(item, budget) for item in items(value, budget))
        case dict():
            return {key: frozen(item, budget) for key, item in value.items()}
        case _:
            raise ComplaintError(f"{sort_of(value)} cannot be an argument.", _ARGUMENT_HINT)


_ARGUMENT_HINT = "A result goes from step to step by itself: `add.s(2, 2) | mul.s(8)`."


def bounds(values: Iterable[object]) -> range:
    """Return `range(*values)`; raises ComplaintError."""
    given = tuple(values)
    numbers = [number for number in given if isinstance(number, int)]
    if not 1 <= len(given) <= 3 or len(numbers) < len(given):
        raise ComplaintError("range() takes one to three whole numbers.")
    try:
        return range(*numbers)
    except ValueError as error:
        raise ComplaintError(f"{error}.") from None


def sort_of(value: object) -> str:
    """Say what sort of thing a value is, as the start of a sentence."""
    match value:
        case None | bool():
            return str(value)
        case int() | float():
            return "A number"
        case str():
            return "A text"
        case tuple() | range():
            return "A list"
        case dict():
            return "A mapping"
        case Call() | Map() | Group() | Chain() | Chord():
            return "A signature"
        case _:
            return str(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
