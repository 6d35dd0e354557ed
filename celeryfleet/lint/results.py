"""Rules about results and the canvases that need them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.text import quoted


@rule("CF070", "results-off", "Canvases without results", Level.WARNING)
def off(case: Case) -> Iterator[Found]:
    """Find work-flows that need the results which the fleet does not keep."""
    if case.plan.broker.results or not case.fleet.canvases:
        return
    yield Found(
        case.where(("results",), ("canvases",)),
        f"no results are kept, so nobody can wait for the canvas {quoted(case.fleet.canvases)}: `canvas` refuses it "
        "without --no-wait, and a chord never gets to its body.",
        "Name a result backend in `results:`; a Redis or embedded broker serves as one by default.",
    )


@rule("CF071", "chord-unsupported", "A chord on a backend that has none", Level.WARNING)
def chords(case: Case) -> Iterator[Found]:
    """Find work-flows that Celery refuses on RabbitMQ's rpc:// results."""
    if not case.plan.broker.results.startswith("rpc"):
        return
    for name, expression in case.fleet.canvases.items():
        if has_chord(expression):
            yield Found(
                case.fleet.where("canvases", name),
                f'the canvas "{name}" is a chord, which rpc:// results do not know (NotImplementedError).',
                "Name a backend that does, such as results: redis://localhost:6379/1",
            )


def has_chord(expression: str) -> bool:
    """Tell whether an expression surely makes a chord: one by name, or a group with something after it."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(_is_chord(node) for node in ast.walk(tree))


def _is_chord(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="chord")):
            return True
        case ast.Call(func=ast.Name(id="chain"), args=[*steps, _]):
            return any(_is_group(step) for step in steps)
        case ast.BinOp(left=left, op=ast.BitOr()):
            return _is_group(left) or (isinstance(left, ast.BinOp) and _is_group(left.right))
        case _:
            return False


def _is_group(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "group"


RULES = (off, chords)
