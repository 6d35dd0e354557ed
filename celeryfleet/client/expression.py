"""Canvas expressions: text → Celery's signatures, read with `ast` against a whitelist and never evaluated by Python."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NoReturn, TypeAlias

from celeryfleet.client.calls import FUNCTIONS, Calls
from celeryfleet.client.values import (
    Budget,
    ComplaintError,
    Launched,
    Names,
    TaskName,
    calculate,
    checked,
    compare,
    items,
    joined,
    kind_of,
    truth,
)
from celeryfleet.errors import FleetError

__all__ = ["Launched", "Names", "parse"]

#: characters of the longest expression
LENGTH = 20_000
#: calls within calls
DEPTH = 50
#: characters of a line shown around a fault
WINDOW = 100
#: what stands before line and column in errors
_WHERE = "canvas"

Scope: TypeAlias = Mapping[str, Any]


def parse(text: str, names: Names, app: Any = None) -> Launched:
    """Read an expression as in Celery's documentation; raises FleetError that points at the place.

    The signatures are those of `app`, which runs nothing.
    """
    text = text.strip()
    tree = _syntax(text)
    walk = _Walk(text, names, app)
    value = walk.value(tree, {})
    return value if isinstance(value, Launched) else Launched(walk.at(tree, walk.calls.step, value))


# --- Syntax -----------------------------------------------------------------------------------------------


def _syntax(text: str) -> ast.expr:
    if not text:
        raise FleetError("This canvas is empty.", _WHERE, _EXAMPLE)
    if len(text) > LENGTH:
        raise FleetError(f"This canvas has {len(text)} characters; {LENGTH} may be read.", _WHERE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if "\n" not in text:
                return ast.parse(text, mode="eval").body
            # A `|` may open a line, as in the documentation, where brackets surround the whole.
            return ast.increment_lineno(ast.parse(f"(\n{text}\n)", mode="eval").body, -1)
    except SyntaxError as error:
        _refuse_syntax(text, error)
    except (RecursionError, MemoryError):
        raise FleetError("This canvas is nested too deeply.", _WHERE) from None
    except ValueError as error:
        raise FleetError(f"This canvas cannot be read: {error}.", _WHERE) from None


def _refuse_syntax(text: str, error: SyntaxError) -> NoReturn:
    lines = text.split("\n")
    line = min(max(1, (error.lineno or 1) - (len(lines) > 1)), len(lines))
    # At the end of a text the parser gives 0.
    column = min(error.offset or len(lines[line - 1]) + 1, len(lines[line - 1]) + 1)
    what = f"This is no expression: {error.msg}."
    if "set_int_max_str_digits" in error.msg:  # more digits than Python reads
        what = "This number is too large, or none."
    raise _fault(text, line, column, ComplaintError(what, _EXAMPLE)) from None


def _fault(text: str, line: int, column: int, complaint: ComplaintError) -> FleetError:
    """Place a complaint, with a caret under the place: `line` and `column` count from 1, the column in characters."""
    shown = text.split("\n")[line - 1]
    start = max(0, column - 1 - WINDOW // 2)
    piece = shown[start : start + WINDOW].replace("\t", " ")
    before, after = "…" if start else "", "…" if start + WINDOW < len(shown) else ""
    marked = f"    {before}{piece}{after}\n    {' ' * (column - 1 - start + len(before))}^"
    problem, spot = complaint.problems[0], f"{_WHERE}:{line}:{column}"
    if problem.hint:
        return FleetError(problem.what, spot, f"{problem.hint}\n{marked}")
    return FleetError(f"{problem.what}\n{marked}", spot)


def _place(text: str, node: ast.expr, keyword: str) -> tuple[int, int]:
    """Return line and column of what is to blame, from 1: a keyword, the name of a method, or the node's start."""
    line, offset = node.lineno, node.col_offset
    if isinstance(node, ast.Call):
        blamed = next((given for given in node.keywords if keyword and given.arg == keyword), None)
        if blamed is not None:
            line, offset = blamed.lineno, blamed.col_offset
        elif isinstance(node.func, ast.Attribute):
            line = node.func.end_lineno or line
            offset = (node.func.end_col_offset or 0) - len(node.func.attr.encode())
    before = text.split("\n")[line - 1].encode()[:offset]
    return line, len(before.decode(errors="replace")) + 1


# --- Values -----------------------------------------------------------------------------------------------


class _Walk:
    """Works out the nodes on the whitelist; every other one is refused where it stands."""

    def __init__(self, text: str, names: Names, app: Any) -> None:
        self._text = text
        self._budget = Budget()
        self.calls = Calls(names, self._budget, app)
        self._depth = 0

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """Return what a node stands for; raises FleetError that points at it."""
        self._depth += 1
        try:
            if self._depth > DEPTH:
                raise ComplaintError("This is nested too deeply.")
            self._budget.spend(1)
            value = self._value(node, scope)
            if isinstance(value, str):
                self._budget.pay(value)
            return value
        except ComplaintError as complaint:
            raise self._placed(node, complaint) from None
        finally:
            self._depth -= 1

    def at(self, node: ast.expr, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function; what it complains of is said of the node."""
        try:
            return function(*args)
        except ComplaintError as complaint:
            raise self._placed(node, complaint) from None

    def _placed(self, node: ast.expr, complaint: ComplaintError) -> FleetError:
        line, column = _place(self._text, node, complaint.keyword)
        return _fault(self._text, line, column, complaint)

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant(value=None | bool() | str() as value):
                return value
            case ast.Constant(value=int() | float() as value):
                return checked(value)
            case ast.Name() | ast.Attribute():
                return self._named(node, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.List() | ast.Tuple():
                return tuple(self._spread(node.elts, scope))
            case ast.ListComp() | ast.GeneratorExp():
                return tuple(self._loop(node.elt, node.generators, scope))
            case ast.Dict():
                return self._mapping(node, scope)
            case ast.BinOp():
                return self._operation(node, scope)
            case ast.UnaryOp():
                return self._unary(node.op, self.value(node.operand, scope))
            case ast.Compare():
                return self._comparison(node, scope)
            case ast.BoolOp():
                wanted = isinstance(node.op, ast.Or)
                return wanted is any(truth(self.value(part, scope)) is wanted for part in node.values)
            case ast.JoinedStr():
                return joined([self._piece(part, scope) for part in node.values])
        raise _unknown()

    def _named(self, node: ast.expr, scope: Scope) -> Any:
        path = _dotted(node)
        root = path.partition(".")[0]
        if path == root and root in scope:
            return scope[root]
        if path in FUNCTIONS:
            raise ComplaintError(f"{path} is a function.", f"Call it: {path}(…).")
        if not path or root in scope:
            raise _unknown()
        return self.calls.task(path)

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        func, path = node.func, _dotted(node.func)
        if path in FUNCTIONS and path not in scope:
            return self.calls.function(path, *self._arguments(node, scope))
        is_task = path.partition(".")[0] not in scope and isinstance(self.calls.find(path), TaskName)
        if isinstance(func, ast.Attribute) and not is_task:
            return self.calls.method(self.value(func.value, scope), func.attr, *self._arguments(node, scope))
        return self.calls.value(self.value(func, scope), *self._arguments(node, scope))

    def _arguments(self, node: ast.Call, scope: Scope) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif type(value) is dict:
                self._budget.spend(len(value))
                kwargs.update(value)
            else:
                raise ComplaintError(f"A mapping belongs after **, not {kind_of(value).lower()}.")
        return tuple(self._spread(node.args, scope)), kwargs

    def _spread(self, nodes: list[ast.expr], scope: Scope) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from items(self.value(node.value, scope), self._budget)
            else:
                yield self.value(node, scope)

    def _loop(self, result: ast.expr, loops: list[ast.comprehension], scope: Scope) -> Iterator[Any]:
        if not loops:
            yield self.value(result, scope)
            return
        loop = loops[0]
        if loop.is_async:
            raise _unknown()
        for item in self.at(loop.iter, items, self.value(loop.iter, scope), self._budget):
            self._budget.spend(len(scope))
            inner = {**scope, **self._bound(loop.target, item)}
            if all(truth(self.value(test, inner)) for test in loop.ifs):
                yield from self._loop(result, loops[1:], inner)

    def _bound(self, target: ast.expr, item: Any) -> dict[str, Any]:
        if isinstance(target, ast.Name):
            return {target.id: item}
        if not isinstance(target, ast.Tuple | ast.List):
            raise ComplaintError("A loop takes names only.")
        parts = items(item, self._budget)
        if len(parts) != len(target.elts):
            raise ComplaintError(f"{len(target.elts)} names for {len(parts)} items.")
        pairs = zip(target.elts, parts, strict=True)
        return {name: value for part, value in pairs for name, value in self._bound(part, value).items()}

    def _mapping(self, node: ast.Dict, scope: Scope) -> dict[str, Any]:
        keys = [self.value(key, scope) if key is not None else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise ComplaintError("The keys of a mapping are texts, as in JSON.")
        return {str(key): self.value(value, scope) for key, value in zip(keys, node.values, strict=True)}

    def _operation(self, node: ast.BinOp, scope: Scope) -> Any:
        """Work off `a | b | c` from the left, in a loop: a long chain is no deep one."""
        rest: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            rest.append(first)
            first = first.left
        rest.reverse()
        self._budget.spend(len(rest))
        if all(isinstance(part.op, ast.BitOr) for part in rest):
            nodes = [first, *(part.right for part in rest)]
            return self.calls.chained([self.at(part, self.calls.step, self.value(part, scope)) for part in nodes])
        value = self.value(first, scope)
        for part in rest:
            value = calculate(part.op, value, self.value(part.right, scope))
        return value

    def _unary(self, kind: ast.unaryop, value: Any) -> Any:
        match kind:
            case ast.Invert():
                return Launched(self.calls.step(value))
            case ast.Not():
                return not truth(value)
            case _ if isinstance(value, int | float):
                return -value if isinstance(kind, ast.USub) else value
        raise ComplaintError(f"{kind_of(value)} takes no sign.")

    def _comparison(self, node: ast.Compare, scope: Scope) -> bool:
        values = [self.value(part, scope) for part in (node.left, *node.comparators)]
        return all(
            compare(kind, left, right, self._budget)
            for kind, (left, right) in zip(node.ops, pairwise(values), strict=True)
        )

    def _piece(self, part: ast.expr, scope: Scope) -> str:
        if not isinstance(part, ast.FormattedValue):
            return str(self.value(part, scope))
        value = self.value(part.value, scope)
        if part.conversion != -1 or part.format_spec is not None or not isinstance(value, str | int | float):
            raise ComplaintError("Only plain texts and numbers go into a text.")
        return str(value)


_EXAMPLE = "Write one such as add.s(2, 2) | mul.s(8)."


def _unknown() -> ComplaintError:
    return ComplaintError(
        "This cannot be part of a canvas.",
        "It may hold signatures, group, chain, chord, chunks, map, starmap, |, "
        "range, zip, lists, mappings, comprehensions, numbers and texts.",
    )


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for names joined by dots, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
