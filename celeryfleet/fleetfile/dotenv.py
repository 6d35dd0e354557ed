"""The text of an env file → its variables; no `${VAR}` within it is replaced, so a `$` in a password stays."""

from __future__ import annotations

import re
from typing import Final

from celeryfleet.errors import Problem
from celeryfleet.fleetfile.tree import quoted

_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(.*)", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'[ \t]*(?:#.*)?", re.DOTALL)
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str, file: str) -> tuple[dict[str, str], list[Problem]]:
    """Read lines of `KEY=value`, with `export`, comments and quotes; a value is never part of a problem."""
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    lines = text.removeprefix("\ufeff").splitlines()
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        match = _KEY.fullmatch(line)
        if match is None:
            problems.append(Problem(*_not_a_line(line, f"{file}:{number}:1")))
            continue
        value = match[2]
        if value[:1] in ('"', "'") and _quoted(value) is None and _open(value):
            mark, start = value[0], at
            while at < len(lines) and mark not in lines[at]:
                at += 1
            at = min(at + 1, len(lines))
            value = "\n".join([value, *lines[start:at]])
        found = _value(value)
        if found is None or "\0" in found:
            what = f"the value of {match[1]} has a quote that is not closed, or something after it."
            problems.append(Problem(what, f"{file}:{number}:1", "Close the quote."))
        else:
            variables[match[1]] = found
    return variables, problems


def _not_a_line(line: str, where: str) -> tuple[str, str, str]:
    name = line.split("=")[0].split()[0][:60] if line.split("=")[0].split() else ""
    shown = f" ({quoted(name)})" if "=" in line and name else ""
    return f"this line{shown} is not KEY=value.", where, "Write one variable in a line, and # before a comment."


def _open(value: str) -> bool:
    return not any(mark in value[1:] for mark in value[0])


def _value(value: str) -> str | None:
    if value[:1] in ('"', "'"):
        return _quoted(value)
    return _COMMENT.sub("", value).strip()


def _quoted(value: str) -> str | None:
    if match := _SINGLE.fullmatch(value):
        return match[1]
    if match := _DOUBLE.fullmatch(value):
        return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1] if m[1] in '"\\$`' else m[0]), match[1])
    return None
