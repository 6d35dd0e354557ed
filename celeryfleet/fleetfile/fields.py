"""The types of fleet.yaml's values: what each accepts, and the sentence it refuses with.

A value from a file comes as a `Scalar`, so that text stays as written (`08`, `on`) and what came out of a `${VAR}` may
be a number; a value from Python comes as itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from celeryfleet.fleetfile import units
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import Scalar, resolve
from celeryfleet.text import listed

_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


def refuse(what: str, hint: str = "", at: str = "") -> PydanticCustomError:
    """Make the error of a value; `what` goes on after the value's name, `at` is a key within the value."""
    return PydanticCustomError("fleet", "{what}", {"what": what, "hint": hint, "at": at})


def kind(value: Any) -> str:
    """Name what was written, for a message."""
    match value:
        case Scalar():
            return "empty" if value.value is None else value.shown
        case None:
            return "empty"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return repr(value)


def unwrapped(value: Any) -> Any:
    """Return Python's types, at every depth."""
    match value:
        case Scalar():
            return value.value
        case dict():
            return {key: unwrapped(item) for key, item in value.items()}
        case list() | tuple():
            return [unwrapped(item) for item in value]
        case _:
            return value


# --- Text -------------------------------------------------------------------------------------------------


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Scalar) and value.value is not None:
        return value.text
    raise refuse(f"must be text, but it is {kind(value)}")


def _word(value: Any) -> Any:
    word = _text(value)
    if not word.strip():
        raise refuse("must not be empty")
    return word


def _setting(value: Any) -> Any:
    """Environment variables may be empty on purpose, and so may null."""
    return "" if isinstance(value, Scalar) and value.value is None else _text(value)


Text = Annotated[str, BeforeValidator(_text)]
#: text that says something
Word = Annotated[str, BeforeValidator(_word)]
#: the value of an environment variable
Variable = Annotated[str, BeforeValidator(_setting)]
#: anything at all
Free = Annotated[Any, BeforeValidator(unwrapped)]


def choice(*known: str) -> BeforeValidator:
    """Accept one of a few words."""

    def check(value: Any) -> Any:
        word = value.text if isinstance(value, Scalar) else value
        if word in known:
            return word
        hint = did_you_mean(word, known) if isinstance(word, str) else ""
        raise refuse(f"must be {listed(known, 'or')}, but it is {kind(value)}", hint)

    return BeforeValidator(check)


# --- Numbers and booleans ---------------------------------------------------------------------------------


def number(value: Any) -> Any:
    """Return what a scalar means where a number or boolean is wanted: a variable's value counts without quotes."""
    if isinstance(value, Scalar):
        return value.value if value.written is None else resolve(value.text.strip())
    return value


def truth(value: Any) -> bool | None:
    """Return a boolean however it is written, `yes` and `off` too, or None if it is none."""
    found = number(value)
    if isinstance(found, bool):
        return found
    word = found.lower() if isinstance(found, str) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def _flag(value: Any) -> Any:
    found = truth(value)
    if found is None:
        raise refuse(f"must be true or false, but it is {kind(value)}")
    return found


Flag = Annotated[bool, BeforeValidator(_flag)]


def _preload(value: Any) -> Any:
    found = truth(value)
    if found is not None:
        return "true" if found else "false"
    if kind(value) in ("auto", '"auto"', "'auto'"):
        return "auto"
    raise refuse(f"must be auto, true or false, but it is {kind(value)}")


Preload = Annotated[Literal["auto", "true", "false"], BeforeValidator(_preload)]


def whole(least: int, most: int, word: str = "") -> BeforeValidator:
    """Accept a whole number within these bounds, or one word."""
    wanted = f"a whole number of at least {least}" if most >= _MANY else f"a whole number from {least} to {most}"
    wanted += f" or {word}" if word else ""

    def check(value: Any) -> Any:
        found = number(value)
        if word and (value.text if isinstance(value, Scalar) else value) == word:
            return word
        if isinstance(found, int) and not isinstance(found, bool):
            if least <= found <= most:
                return found
            if found > most >= _MANY:
                raise refuse(f"must be at most {most}, but it is {kind(value)}")
        raise refuse(f"must be {wanted}, but it is {kind(value)}", _unquoted(value, found))

    return BeforeValidator(check)


#: from here on a message does not name the upper bound until it is crossed
_MANY = 1000


def _unquoted(value: Any, found: Any) -> str:
    if not isinstance(value, Scalar) or not isinstance(found, str):
        return ""
    if not value.plain and isinstance(resolve(found), int):
        return f"Write {found} without the quotes."
    digits = found.replace("_", "").replace(",", "")
    return f"Write {digits}." if digits != found and re.fullmatch("[0-9]{1,12}", digits) else ""


# --- Durations and sizes ----------------------------------------------------------------------------------


def _measured(read: Callable[[str], float], zero: bool) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found = value
        elif isinstance(value, Scalar) and value.value is not None:
            try:
                found = read(value.text)
            except ValueError as error:
                what, _, hint = str(error).partition(". ")
                raise refuse(f"is {value.shown}, which {what.rstrip('.')}", hint) from None
        else:
            wanted = "a duration, such as 30s" if read is units.duration else "a size, such as 400MB"
            raise refuse(f"must be {wanted}, but it is {kind(value)}")
        if found < 0 or not (found or zero):
            raise refuse(f"must be more than nothing, but it is {kind(value)}")
        return found

    return BeforeValidator(check)


#: seconds, may be none
Duration = Annotated[float, _measured(units.duration, zero=True)]
#: seconds, more than none
Span = Annotated[float, _measured(units.duration, zero=False)]
#: bytes, more than none
Size = Annotated[int, _measured(units.size, zero=False)]


# --- Sections ---------------------------------------------------------------------------------------------


def _section(empty: type) -> BeforeValidator:
    """A key with nothing under it, all its lines commented out, is an empty section."""

    def check(value: Any) -> Any:
        return empty() if isinstance(value, Scalar) and value.value is None else value

    return BeforeValidator(check)


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) or (isinstance(value, Scalar) and value.value is not None) else value


OneOrMore = BeforeValidator(_one_or_more)
MappingSection = _section(dict)
ListSection = _section(list)


def short(key: str) -> BeforeValidator:
    """Accept a mere text for the mapping whose one key it would be."""

    def check(value: Any) -> Any:
        written = isinstance(value, str) or (isinstance(value, Scalar) and value.value is not None)
        return {key: value} if written else value

    return BeforeValidator(check)


# --- Models -----------------------------------------------------------------------------------------------

Words = tuple[Word, ...]
Positive = Annotated[int, whole(1, 2**31 - 1)]
#: names that are the user's, or Celery's, and values that are theirs too
Arguments = Annotated[dict[str, Free], MappingSection]


class Model(BaseModel):
    """A part of a fleet; built when the whole is first validated, which saves each part its own validator."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)
