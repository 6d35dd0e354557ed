"""`${VAR}` and its forms in a text; the variables are an argument."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celeryfleet.fleetfile.suggest import did_you_mean

_OPEN = "holds a ${ that is not closed"
_FORMS = "Write ${VAR}, ${VAR:-default}, ${VAR-default} or ${VAR:?message}, and $$ for a dollar."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = re.compile(rf"({_NAME.pattern})(?:(:?[-?])(.*))?", re.DOTALL)
_START = re.compile(r"\$\$|\$\{")
_BRACE = re.compile(r"\$\$|\$\{|\}")
#: characters that texts may grow to
LARGEST = 1024 * 1024
#: levels of ${A:-${B:-c}}
_DEEPEST = 10


class VariableError(ValueError):
    """A `${…}` that cannot be replaced; goes on after the name of what holds it."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Variable:
    """A `${VAR}` in a text, in one of its forms."""

    name: str
    #: empty, `-`, `:-`, `?` or `:?`
    operator: str = ""
    #: the default or message, as written
    other: str = ""


def segments(written: str) -> Iterator[str | Variable]:
    """Cut a text into what stands for itself and its variables; a `$$` is a `$`. Raises VariableError."""
    at = 0
    while match := _START.search(written, at):
        yield written[at : match.start()]
        at = match.end()
        if match[0] == "$$":
            yield "$"
        else:
            start, at = at, _closing(written, at)
            form = _FORM.fullmatch(written[start : at - 1])
            if form is None:
                name = _NAME.match(written, start)
                raise VariableError(f"holds a form of ${{{name[0] if name else ''}…}} that is unknown", _FORMS)
            yield Variable(form[1], form[2] or "", form[3] or "")
    yield written[at:]


def _closing(text: str, at: int) -> int:
    """Return the end of the `}` that closes the `${` before `at`; variables may nest."""
    if not _NAME.match(text, at):
        raise VariableError("holds a ${ that no variable's name follows", _FORMS)
    level = 1
    while level:
        match = _BRACE.search(text, at)
        if match is None:
            raise VariableError(_OPEN, _FORMS)
        level += {"${": 1, "}": -1}.get(match[0], 0)
        if level > _DEEPEST:
            raise VariableError(f"nests ${{…}} more than {_DEEPEST} levels deep")
        at = match.end()
    return at


def interpolate(text: str, variables: Mapping[str, str], room: int = LARGEST) -> str:
    """Return the text with every `${VAR}` replaced and every `$$` a `$`; a lone `$` stays. Raises VariableError.

    It also does where the text grows to more than `room` characters.
    """
    parts = []
    for part in segments(text):
        parts.append(part if isinstance(part, str) else _value(part, variables))
        room -= len(parts[-1])
        if room < 0:
            raise VariableError("is too large with its variables replaced")
    return "".join(parts)


def _value(variable: Variable, variables: Mapping[str, str]) -> str:
    name, operator = variable.name, variable.operator
    value = variables.get(name)
    if not operator:
        if value is None:
            guess = did_you_mean(name, variables)
            ways = f"Set it in the environment or in an env_file, or write ${{{name}:-default}}."
            raise VariableError(f"needs the variable {name}, which is not set", f"{guess} {ways}".strip())
        return value
    given = bool(value) if operator.startswith(":") else value is not None
    # What is not needed may itself name variables that are not set: only its form is looked at.
    other = interpolate(variable.other, _Anything() if given else variables)
    if given:
        return value or ""
    if operator.endswith("?"):
        raise VariableError(f"needs the variable {name}: {other}" if other else f"needs the variable {name}")
    return other


class _Anything(dict[str, str]):
    """Every variable is set."""

    def get(self, name: str, default: Any = None) -> str:
        return name
