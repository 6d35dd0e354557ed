"""Why an expression is refused, and the line with a caret under the place."""

from __future__ import annotations

import ast

from celeryfleet.errors import FleetError

#: characters of a line shown around a fault
WINDOW = 100


class Complaint(Exception):
    """Something is wrong here; whoever knows the place makes a FleetError of it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint.strip()


def fault(text: str, where: str, line: int, column: int, complaint: Complaint) -> FleetError:
    """Place a complaint: `line` and `column` count from 1, the column in characters."""
    shown = marked(text.splitlines()[line - 1] if text else "", column)
    hint = f"{complaint.hint}\n{shown}" if complaint.hint else f"\n{shown}"
    return FleetError(complaint.what, f"{where}:{line}:{column}", hint)


def place(text: str, node: ast.expr | ast.comprehension) -> tuple[int, int]:
    """Return line and column, from 1; ast counts columns in bytes."""
    spot = node.target if isinstance(node, ast.comprehension) else node
    line = text.splitlines()[spot.lineno - 1]
    return spot.lineno, len(line.encode()[: spot.col_offset].decode(errors="replace")) + 1


def marked(line: str, column: int) -> str:
    """Return a window of the line and, under it, a caret."""
    start = max(0, column - 1 - WINDOW // 2)
    piece = line[start : start + WINDOW].replace("\t", " ")
    before = "…" if start else ""
    after = "…" if start + WINDOW < len(line) else ""
    return f"    {before}{piece}{after}\n    {' ' * (column - 1 - start + len(before))}^"
