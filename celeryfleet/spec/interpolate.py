"""`${VAR}` and its forms in text, and the variables of an env file; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from celeryfleet.spec.suggest import did_you_mean

_FORMS = "Write ${VAR}, ${VAR:-default}, ${VAR-default} or ${VAR:?message}, and $$ for a dollar."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?]")
_NEXT = re.compile(r"\$\$|\$\{|\}")
#: levels of ${A:-${B:-c}}
_DEEPEST = 10
#: characters; a value that grows past it is an error
_LONGEST = 1_000_000


class _BadError(ValueError):
    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with every `${VAR}` replaced and every `$$` a `$`; a lone `$` stays. Raises ValueError."""
    if "$" not in text:
        return text
    return _until(text, 0, variables, 0)[0]


def _until(text: str, start: int, variables: Mapping[str, str], level: int) -> tuple[str, int]:
    """Read up to the `}` that closes this level, or to the end at level 0; return what was read and where it ends."""
    if level > _DEEPEST:
        raise _BadError(f"nests ${{…}} more than {_DEEPEST} levels deep")
    parts: list[str] = []
    at = start
    while match := _NEXT.search(text, at):
        parts.append(text[at : match.start()])
        if match[0] == "}" and level:
            return "".join(parts), match.end()
        if match[0] == "${":
            value, at = _variable(text, match.end(), variables, level)
            parts.append(value)
        else:
            parts.append(match[0][0])
            at = match.end()
    if level:
        raise _BadError("holds a ${ that is not closed", _FORMS)
    return "".join(parts) + text[at:], len(text)


def _variable(text: str, start: int, variables: Mapping[str, str], level: int) -> tuple[str, int]:
    name = _NAME.match(text, start)
    if name is None:
        raise _BadError("holds a ${ that no variable's name follows", _FORMS)
    value = variables.get(name[0])
    operator = _OPERATOR.match(text, name.end())
    if operator is None:
        if not text.startswith("}", name.end()):
            closed = "}" in text[name.end() :]
            raise _BadError(f"holds a form of ${{{name[0]}…}} that is unknown" if closed else _OPEN, _FORMS)
        if value is None:
            raise _BadError(f"needs the variable {name[0]}, which is not set", _how_to_set(name[0], variables))
        return value, name.end() + 1
    given = bool(value) if operator[0].startswith(":") else value is not None
    # What is not needed may itself name variables that are not set: only its end is looked for.
    other, end = _until(text, operator.end(), _Anything() if given else variables, level + 1)
    if given:
        return value or "", end
    if operator[0].endswith("?"):
        raise _BadError(f"needs the variable {name[0]}: {other}" if other else f"needs the variable {name[0]}")
    return other, end


_OPEN = "holds a ${ that is not closed"


class _Anything(Mapping[str, str]):
    """Every variable, empty."""

    def __getitem__(self, key: str) -> str:
        return ""

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(())

    def __len__(self) -> int:
        return 0


def _how_to_set(name: str, variables: Mapping[str, str]) -> str:
    guess = did_you_mean(name, variables)
    ways = f"Set it in the environment or in an env_file, or write ${{{name}:-default}}."
    return f"{guess} {ways}" if guess else ways
