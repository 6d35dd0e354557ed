"""The values of a canvas expression and what may be computed with them, within a budget; makes no signature."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from celeryfleet.errors import FleetError

#: how many nodes, items and hundreds of characters one expression may cost
WORK = 300_000
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


class ComplaintError(FleetError):
    """Something is wrong with a value; whoever knows its place in a text says that, too."""

    def __init__(self, what: str, hint: str = "", keyword: str = "") -> None:
        super().__init__(what, hint=hint.strip())
        #: the keyword argument that is to blame, if one is
        self.keyword = keyword


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name."""

    tasks: Collection[str]
    #: full names by alias
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: None: any queue will do
    queues: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task that no signature has been made of yet."""

    name: str
    #: as it was written
    written: str

    def __str__(self) -> str:
        return f"The task {self.written}"


@dataclass(frozen=True, slots=True)
class Launched:
    """What an expression asks for: a step after `.delay()`, `.apply_async()`, `()` or `.get()`; nothing may follow."""

    step: Any
    #: seconds, from `.get(timeout=…)`
    timeout: float | None = None

    def __str__(self) -> str:
        return "What has been sent already"


class Budget:
    """The work an expression may still cost; all is paid for before it is made."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        """Take some; raises ComplaintError when there is none left."""
        self.left -= work
        if self.left < 0:
            raise ComplaintError(
                "This is too much for one expression.", "Send many tasks with `celeryfleet send --count`."
            )

    def pay(self, value: Any) -> None:
        """Take the size of a value, with all that it holds."""
        match value:
            case str():
                self.spend(len(value) // 100)
            case range():
                self.spend(size(value))
            case dict():
                self.spend(len(value) if type(value) is dict else 1)  # the fields of a signature
                for item in value.values():
                    self.pay(item)
            case list() | tuple():
                self.spend(len(value))
                for item in value:
                    self.pay(item)


def size(value: range | tuple[Any, ...]) -> int:
    """Count items; so many that Python cannot are just too many."""
    try:
        return len(value)
    except OverflowError:
        return WORK + 1


def calculate(kind: ast.operator, left: object, right: object) -> int | float | str:
    """Do one operation on two numbers, or join two texts."""
    work = _ARITHMETIC.get(type(kind))
    if isinstance(kind, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return joined([left, right])
    if work is None or not isinstance(left, int | float) or not isinstance(right, int | float):
        raise ComplaintError(f"{kind_of(left)} and {kind_of(right).lower()} cannot be combined so; only numbers can.")
    if isinstance(kind, ast.Pow) and isinstance(left, int) and left.bit_length() * abs(right) > BITS:
        raise ComplaintError("This number is too large.")
    try:
        return checked(work(left, right))
    except ArithmeticError as error:
        raise ComplaintError(f"This cannot be computed: {error}.") from None


def checked(number: object) -> int | float:
    """Return a number that JSON can carry, and that is not too long; raises ComplaintError."""
    if isinstance(number, float) and math.isfinite(number):
        return number
    if isinstance(number, int) and number.bit_length() <= BITS:
        return number
    raise ComplaintError("This number is too large, or none.")


def joined(texts: list[str]) -> str:
    """Join texts to one that is not too long; raises ComplaintError."""
    if sum(map(len, texts)) > LETTERS:
        raise ComplaintError(f"A text may have {LETTERS} characters.")
    return "".join(texts)


def compare(kind: ast.cmpop, left: object, right: object, budget: Budget) -> bool:
    """Compare two plain values, or look one up in a list."""
    if isinstance(kind, ast.In | ast.NotIn) and isinstance(right, tuple | range) and _is_plain(left):
        budget.spend(size(right))
        found = any(_is_plain(item) and item == left for item in right)
        return found == isinstance(kind, ast.In)
    work = _COMPARE.get(type(kind))
    try:
        if work is not None and _is_plain(left) and _is_plain(right):
            return bool(work(left, right))
    except TypeError:
        pass
    raise ComplaintError(f"{kind_of(left)} and {kind_of(right).lower()} cannot be compared so.")


def truth(value: object) -> bool:
    """Tell whether a plain value counts as true."""
    if not _is_plain(value):
        raise ComplaintError(f"{kind_of(value)} is neither true nor false.")
    return bool(value)


def items(value: object, budget: Budget) -> tuple[Any, ...]:
    """Return the items of a list or a range, paid for."""
    if not isinstance(value, tuple | range):
        raise ComplaintError(f"A list or a range belongs here, not {kind_of(value).lower()}.")
    budget.spend(size(value))
    return tuple(value)


def argument(value: Any) -> Any:
    """Return a value in JSON's types, as the other side will see it; raises ComplaintError."""
    match value:
        case tuple() | range():
            return [argument(item) for item in value]
        case dict() if type(value) is dict:
            return {key: argument(item) for key, item in value.items()}
        case _ if _is_plain(value):
            return value
    hint = "A result goes from step to step by itself: `add.s(2, 2) | mul.s(8)`."
    raise ComplaintError(f"{kind_of(value)} cannot be an argument.", hint)


def kind_of(value: object) -> str:
    """Say what kind of thing a value is, as the start of a sentence."""
    match value:
        case None | bool():
            return str(value)
        case int() | float():
            return "A number"
        case str():
            return "A text"
        case tuple() | list() | range():
            return "A list"
        case dict():
            return "A mapping" if type(value) is dict else "A signature"
        case _:
            return str(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
