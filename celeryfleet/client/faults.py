"""Why an expression is refused, and the line with a caret under the place."""

from __future__ import annotations

import ast

from celeryfleet.errors import FleetError

#: characters of a line shown around a fault
WINDOW = 100


class ComplaintError(Exception):
    """Something is wrong here; whoever knows the place makes a FleetError of it."""

    def __init__(self, what: str, hint: str = "", keyword: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint.strip()
        #: the keyword argument that is to blame, if one is
        self.keyword = keyword


def fault(text: str, where: str, line: int, column: int, complaint: ComplaintError) -> FleetError:
    """Place a complaint: `line` and `column` count from 1, the column in characters."""
    shown = marked(text.split("\n")[line - 1], column)
    spot = f"{where}:{line}:{column}"
    if complaint.hint:
        return FleetError(complaint.what, spot, f"{complaint.hint}\n{shown}")
    return FleetError(f"{complaint.what}\n{shown}", spot)


def place(text: str, node: ast.expr, keyword: str = "") -> tuple[int, int]:
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


def marked(line: str, column: int) -> str:
    """Return a window of the line and, under it, a caret."""
    start = max(0, column - 1 - WINDOW // 2)
    piece = line[start : start + WINDOW].replace("\t", " ")
    before = "…" if start else ""
    after = "…" if start + WINDOW < len(line) else ""
    return f"    {before}{piece}{after}\n    {' ' * (column - 1 - start + len(before))}^"
