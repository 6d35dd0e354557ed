"""Canvas expressions: text → frozen steps, read with `ast` against a whitelist and never evaluated; celery-free."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from celeryfleet.client.calls import FUNCTIONS, call_function, call_method, call_value
from celeryfleet.client.faults import ComplaintError, fault, place
from celeryfleet.client.kinds import Context, Launched, Names, step_of, task_named
from celeryfleet.client.names import find
from celeryfleet.client.steps import Step, chained
from celeryfleet.client.values import Budget, calculate, checked, compare, items, sort_of, truth
from celeryfleet.errors import FleetError

__all__ = ["Expression", "Names", "parse"]

#: characters of the longest expression
LENGTH = 20_000
#: calls within calls
DEPTH = 50

Scope: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression asks for."""

    step: Step
    #: seconds, from a closing `.get(timeout=…)`
    timeout: float | None = None


def parse(text: str, names: Names, where: str = "canvas") -> Expression:
    """Read an expression as in Celery's documentation; raises FleetError that points at the place.

    `where` stands before line and column in errors. The result knows full task names only.
    """
    text = text.strip()
    tree = _syntax(text, where)
    walk = _Walk(text, where, Context(names, Budget()))
    value = walk.value(tree, {})
    if isinstance(value, Launched):
        return Expression(value.step, value.timeout)
    return Expression(walk.placed(tree, step_of, value))


def _syntax(text: str, where: str) -> ast.expr:
    if not text:
        raise FleetError("This canvas is empty.", where, "Write one such as add.s(2, 2) | mul.s(8).")
    if len(text) > LENGTH:
        raise FleetError(f"This canvas has {len(text)} characters; {LENGTH} may be read.", where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _tree(text)
    except SyntaxError as error:
        return _unreadable(text, where, error)
    except (RecursionError, MemoryError):
        raise FleetError("This canvas is nested too deeply.", where) from None
    except ValueError as error:
        raise FleetError(f"This canvas cannot be read: {error}.", where) from None


def _tree(text: str) -> ast.expr:
    if "\n" not in text:
        return ast.parse(text, mode="eval").body
    # A `|` may open a line, as in the documentation, where brackets surround the whole.
    tree = ast.parse(f"(\n{text}\n)", mode="eval").body
    return ast.increment_lineno(tree, -1)


def _unreadable(text: str, where: str, error: SyntaxError) -> ast.expr:
    lines = text.split("\n")
    line = min(max(1, (error.lineno or 1) - (len(lines) > 1)), len(lines))
    # At the end of a text the parser gives 0.
    column = min(error.offset or len(lines[line - 1]) + 1, len(lines[line - 1]) + 1)
    complaint = ComplaintError(f"This is no expression: {error.msg}.", "Write one such as add.s(2, 2) | mul.s(8).")
    raise fault(text, where, line, column, complaint) from None


class _Walk:
    """Interprets the nodes on the whitelist; every other one is refused where it stands."""

    def __init__(self, text: str, where: str, context: Context) -> None:
        self._text = text
        self._where = where
        self._context = context
        self._depth = 0

    def value(self, node: ast.expr, scope: Scope) -> Any:
        """Return what a node stands for; raises FleetError that points at it."""
        self._depth += 1
        try:
            if self._depth > DEPTH:
                raise ComplaintError("This is nested too deeply.")
            self._context.budget.spend(1)
            return self._value(node, scope)
        except ComplaintError as complaint:
            line, column = place(self._text, node, complaint.keyword)
            raise fault(self._text, self._where, line, column, complaint) from None
        finally:
            self._depth -= 1

    def placed(self, node: ast.expr, work: Any, *args: Any) -> Any:
        """Do some work; what it complains of is blamed on the node."""
        try:
            return work(*args)
        except ComplaintError as complaint:
            line, column = place(self._text, node, complaint.keyword)
            raise fault(self._text, self._where, line, column, complaint) from None

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant():
                return self._constant(node.value)
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
                return self._text_of(node, scope)
        raise ComplaintError("This cannot be part of a canvas.", _WHAT_MAY_BE)

    def _constant(self, value: object) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            self._context.budget.spend(len(value) // 100)
            return value
        if isinstance(value, int | float):
            return checked(value)
        raise ComplaintError("This cannot be part of a canvas.", _WHAT_MAY_BE)

    def _named(self, node: ast.expr, scope: Scope) -> Any:
        path = _dotted(node)
        root = path.partition(".")[0]
        if path == root and root in scope:
            return scope[root]
        if path in FUNCTIONS:
            raise ComplaintError(f"{path} is a function.", f"Call it: {path}(…).")
        if not path or root in scope:
            raise ComplaintError("This cannot be part of a canvas.", _WHAT_MAY_BE)
        return task_named(path, self._context)

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        func, path = node.func, _dotted(node.func)
        root = path.partition(".")[0]
        if path in FUNCTIONS and path not in scope:
            args, kwargs = self._arguments(node, scope)
            return call_function(path, args, kwargs, self._context)
        if isinstance(func, ast.Attribute) and not (path and root not in scope and self._is_task(path)):
            receiver = self.value(func.value, scope)
            args, kwargs = self._arguments(node, scope)
            return call_method(receiver, func.attr, args, kwargs, self._context)
        receiver = self.value(func, scope)
        args, kwargs = self._arguments(node, scope)
        return call_value(receiver, args, kwargs, self._context)

    def _is_task(self, path: str) -> bool:
        return isinstance(find(path, self._context.names.tasks, self._context.names.aliases), str)

    def _arguments(self, node: ast.Call, scope: Scope) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, dict):
                kwargs.update(value)
            else:
                raise ComplaintError(f"A mapping belongs after **, not {sort_of(value).lower()}.")
        return tuple(self._spread(node.args, scope)), kwargs

    def _spread(self, nodes: list[ast.expr], scope: Scope) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from items(self.value(node.value, scope), self._context.budget)
            else:
                yield self.value(node, scope)

    def _loop(self, result: ast.expr, loops: list[ast.comprehension], scope: Scope) -> Iterator[Any]:
        if not loops:
            yield self.value(result, scope)
            return
        loop = loops[0]
        if loop.is_async:
            raise ComplaintError("This cannot be part of a canvas.", _WHAT_MAY_BE)
        listed = self.value(loop.iter, scope)
        for item in self.placed(loop.iter, items, listed, self._context.budget):
            inner = {**scope, **self._bound(loop.target, item)}
            if all(truth(self.value(test, inner)) for test in loop.ifs):
                yield from self._loop(result, loops[1:], inner)

    def _bound(self, target: ast.expr, item: Any) -> dict[str, Any]:
        if isinstance(target, ast.Name):
            return {target.id: item}
        if not isinstance(target, ast.Tuple | ast.List):
            raise ComplaintError("A loop takes names only.")
        parts = items(item, self._context.budget)
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
        self._context.budget.spend(len(rest))
        value = self.value(first, scope)
        if all(isinstance(part.op, ast.BitOr) for part in rest):
            steps = [self.placed(first, step_of, value)]
            for part in rest:
                steps.append(self.placed(part.right, step_of, self.value(part.right, scope)))
            return chained(tuple(steps))
        for part in rest:
            value = calculate(part.op, value, self.value(part.right, scope))
        return value

    def _unary(self, kind: ast.unaryop, value: Any) -> Any:
        match kind:
            case ast.Invert():
                return Launched(step_of(value))
            case ast.Not():
                return not truth(value)
            case _ if isinstance(value, int | float):
                return -value if isinstance(kind, ast.USub) else value
        raise ComplaintError(f"{sort_of(value)} takes no sign.")

    def _comparison(self, node: ast.Compare, scope: Scope) -> bool:
        left = self.value(node.left, scope)
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part, scope)
            if not compare(kind, left, right):
                return False
            left = right
        return True

    def _text_of(self, node: ast.JoinedStr, scope: Scope) -> str:
        pieces = [self._piece(part, scope) for part in node.values]
        text = "".join(pieces)
        self._context.budget.spend(len(text) // 100)
        return text

    def _piece(self, part: ast.expr, scope: Scope) -> str:
        if not isinstance(part, ast.FormattedValue):
            return str(self.value(part, scope))
        value = self.value(part.value, scope)
        if part.conversion != -1 or part.format_spec is not None or not isinstance(value, str | int | float):
            raise ComplaintError("Only plain texts and numbers go into a text.")
        return str(value)


_WHAT_MAY_BE = (
    "It may hold signatures, group, chain, chord, chunks, map, starmap, |, "
    "range, zip, lists, mappings, comprehensions, numbers and texts."
)


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for names joined by dots, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
