"""`$VAR` and `${VAR:-default}` in what was found, which fleet.yaml reads alike."""

from __future__ import annotations

import re
from collections.abc import Mapping

from celeryfleet.fleetfile.variables import Variable, VariableError, interpolate, segments

_BARE = re.compile(r"(?<!\$)\$([A-Za-z_][A-Za-z0-9_]*)")
_NAMED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


def normal(text: str) -> str:
    """Write `$VAR` as `${VAR}`."""
    return _BARE.sub(r"${\1}", text)


def varies(text: str) -> bool:
    """Tell whether a text holds a variable, or what a shell would replace."""
    return "${" in text or "$(" in text or "`" in text


def readable(text: str) -> bool:
    """Tell whether fleet.yaml can interpolate a text, once its variables are set."""
    try:
        interpolate(text, dict.fromkeys(_NAMED.findall(text), "1"))
    except VariableError:
        return False
    return "$(" not in text and "`" not in text


def required(text: str) -> set[str]:
    """Name the variables of a readable text that must be set."""
    found: set[str] = set()
    for part in segments(text):
        if isinstance(part, Variable):
            found |= required(part.other) if part.operator in ("-", ":-") else {part.name}
    return found


def settled(text: str, known: Mapping[str, str]) -> str | None:
    """Return a text with its variables replaced by what is known, or by their defaults; None if that is not enough."""
    try:
        return interpolate(text, known) if readable(text) else None
    except VariableError:
        return None


#: what a variable may hold that is the whole value of a key
_SAMPLES = {"app": "app", "django": "settings", "pool": "prefork", "stop_grace_period": "1s"}
_URLS = ("broker", "results")


def tried(key: str, value: str) -> str:
    """Fill in something that would do for the variables of a key's value that must be set, to try it with."""
    sample = _SAMPLES.get(key, "1") if value.endswith("}") else "1"
    if key in _URLS:
        sample = "redis://localhost" if value.startswith("${") and "}://" not in value else "redis"
    return filled(value, dict.fromkeys(required(value), sample))


def filled(text: str, known: Mapping[str, str]) -> str:
    """Replace the variables that are known, and leave the others."""
    if not readable(text) or "${" not in text:
        return text
    return "".join(part if isinstance(part, str) else _filled(part, known) for part in segments(text))


def _filled(variable: Variable, known: Mapping[str, str]) -> str:
    value = known.get(variable.name)
    if value is not None and (value or not variable.operator.startswith(":")):
        return value
    other = filled(variable.other, known)
    return f"${{{variable.name}{variable.operator}{other}}}"
