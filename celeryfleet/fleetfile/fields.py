"""What reads fleet.yaml's values: what each key accepts, and the sentence it refuses with.

Text stays as written (`08`, `on`), and what came out of a `${VAR}` may be a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import units
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import MappingNode, Node, ScalarNode, SequenceNode, plain, quoted, resolve, truth
from celeryfleet.text import listed

T = TypeVar("T")
#: returns the value, or raises Refused; values within it that are refused are noted and left out
Reader = Callable[[Cursor], T]

# --- Text -------------------------------------------------------------------------------------------------


def text(at: Cursor) -> str:
    """Read any text, the empty one too."""
    if not isinstance(at.node, ScalarNode) or not at.written:
        raise at.refuse(f"must be text, but it is {at.shown}")
    return at.node.text


def word(at: Cursor) -> str:
    """Read text that says something."""
    found = text(at)
    if not found.strip():
        raise at.refuse("must not be empty")
    return found


def variable(at: Cursor) -> str:
    """Read the value of an environment variable, which may be empty on purpose."""
    return text(at) if at.written else ""


def free(at: Cursor) -> Any:
    """Read anything at all."""
    return plain(at.node)


def choice(*known: str) -> Reader[Any]:
    """Accept one of a few words."""

    def read(at: Cursor) -> str:
        found = at.node.text if isinstance(at.node, ScalarNode) else None
        if found not in known:
            hint = did_you_mean(found, known) if found else ""
            raise at.refuse(f"must be {listed(known, 'or')}, but it is {at.shown}", hint)
        return found

    return read


# --- Numbers and booleans ---------------------------------------------------------------------------------


def number(node: Node) -> Any:
    """Return what a scalar means where a number or boolean is wanted: a variable's value counts without quotes."""
    if not isinstance(node, ScalarNode):
        return None
    return node.value if node.written is None else resolve(node.text.strip())


def flag(at: Cursor) -> bool:
    """Read true or false, however it is written."""
    found = truth(at.text)
    if found is None:
        raise at.refuse(f"must be true or false, but it is {at.shown}")
    return found


def preload(at: Cursor) -> Any:
    """Read auto, true or false, as that word."""
    found = truth(at.text)
    if found is None and at.text != "auto":
        raise at.refuse(f"must be auto, true or false, but it is {at.shown}")
    return "auto" if found is None else str(found).lower()


def whole(least: int, most: int, other: str = "") -> Reader[Any]:
    """Accept a whole number within these bounds, or one other word."""
    many = most >= _MANY
    wanted = f"a whole number of at least {least}" if many else f"a whole number from {least} to {most}"
    wanted += f" or {other}" if other else ""

    def read(at: Cursor) -> int | str:
        found = number(at.node)
        if other and at.text == other:
            return other
        if not isinstance(found, int) or isinstance(found, bool):
            raise at.refuse(f"must be {wanted}, but it is {at.shown}", _unquoted(at.node, found))
        if many and found > most:
            raise at.refuse(f"must be at most {most}, but it is {at.shown}")
        if not least <= found <= most:
            raise at.refuse(f"must be {wanted}, but it is {at.shown}")
        return found

    return read


#: from here on a message does not name the upper bound until it is crossed
_MANY = 1000
positive = whole(1, 2**31 - 1)


def _unquoted(node: Node, found: Any) -> str:
    if not isinstance(node, ScalarNode) or not isinstance(found, str):
        return ""
    if not node.plain and isinstance(resolve(found), int):
        return f"Write {found} without the quotes."
    digits = found.replace("_", "").replace(",", "")
    return f"Write {digits}." if digits != found and re.fullmatch("[0-9]{1,12}", digits) else ""


def _measured(measure: Callable[[str], T], wanted: str, zero: bool = False) -> Reader[T]:
    def read(at: Cursor) -> T:
        if not isinstance(at.node, ScalarNode) or not at.written:
            raise at.refuse(f"must be {wanted}, but it is {at.shown}")
        try:
            found = measure(at.node.text)
        except ValueError as error:
            what, _, hint = str(error).partition(". ")
            raise at.refuse(f"is {at.shown}, which {what}", hint) from None
        if not found and not zero:
            raise at.refuse(f"must be more than nothing, but it is {at.shown}")
        return found

    return read


#: seconds, may be none
duration = _measured(units.duration, "a duration, such as 30s", zero=True)
#: seconds, more than none
span = _measured(units.duration, "a duration, such as 30s")
#: bytes, more than none
size = _measured(units.size, "a size, such as 400MB")

# --- Lists and mappings -----------------------------------------------------------------------------------


def _each(inner: Iterable[Cursor], read: Reader[T]) -> Iterator[tuple[str, T]]:
    for at in inner:
        try:
            yield at.name, read(at)
        except Refused as refused:
            at.refused.append(refused)


def list_of(read: Reader[T], example: bool = False) -> Reader[tuple[T, ...]]:
    """Accept a list; with `example`, the message about a text shows how to write it as one (not for credentials)."""

    def read_list(at: Cursor) -> tuple[T, ...]:
        if at.written and not isinstance(at.node, SequenceNode):
            words = (
                (at.node.written or at.node.text).replace(",", " ").split() if isinstance(at.node, ScalarNode) else ()
            )
            hint = f"Write {at.name}: [{', '.join(words)}]" if example and words else ""
            raise at.refuse(f"must be a list, but it is {at.shown}", hint)
        return tuple(found for _, found in _each(at.items(), read))

    return read_list


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """Accept a list, or one of its items alone."""
    return lambda at: (read(at),) if isinstance(at.node, ScalarNode) and at.written else list_of(read)(at)


def mapping_of(
    read: Reader[T], naming: Callable[[str], str] = lambda name: "", *, example: str = ""
) -> Reader[dict[str, T]]:
    """Accept a mapping of the user's names; `naming` returns what is wrong with a name, or nothing."""

    def read_mapping(at: Cursor) -> dict[str, T]:
        if at.written and not isinstance(at.node, MappingNode):
            raise at.refuse(f"must be a mapping, but it is {at.shown}", example or _as_keys(at))
        for inner in at:
            if wrong := naming(inner.name):
                at.refused.append(Refused(inner.path, Problem(f"{inner.subject}: the name {wrong}.", str(inner.key))))
        return dict(_each(at, read))

    return read_mapping


def _as_keys(at: Cursor) -> str:
    """Show how to write as keys what was listed; only of names, since anything else might be a credential."""
    match at.node:
        case SequenceNode(items=(ScalarNode(plain=True) as first, *_)) if at.path in (("queues",), ("pools",)):
            return f"Write {first.text}: and what belongs to it, without the hyphen or bracket."
        case _:
            return ""


words = list_of(word, example=True)
#: names that are the user's, or Celery's, and values that are theirs too
arguments = mapping_of(free)

# --- Sections ---------------------------------------------------------------------------------------------


def key(read: Reader[T], default: T | Any = MISSING, *, example: str = "") -> T:
    """Declare a key of a section; without a default it must be written, and `example` shows how."""
    stands = {"default_factory": dict} if default == {} else {"default": default}
    found: T = field(**stands, metadata={"read": read, "example": example})
    return found


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a fleet, whose fields are keys of fleet.yaml."""

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Compare the keys with one another; each is right by itself, or at its default."""
        return iter(())

    @classmethod
    def known(cls) -> dict[str, Field[Any]]:
        """Return its fields that can be written; `for_` is written `for`, which Python keeps for itself."""
        return {field.name.removesuffix("_"): field for field in fields(cls) if "read" in field.metadata}

    @classmethod
    def guess(cls, name: str) -> str:
        """Say of an unknown key what it could be."""
        return did_you_mean(name, cls.known()) or f"Its keys are {listed(cls.known())}."


S = TypeVar("S", bound=Section)


def section(kind: type[S], *, short: str = "", optional: bool = False, example: str = "") -> Reader[S]:
    """Accept the mapping of a section.

    `short` is the key whose value a text alone is; an `optional` one with nothing under it has its defaults.
    """

    def read(at: Cursor) -> S:
        if short and isinstance(at.node, ScalarNode) and at.written:
            return kind(**{short: kind.known()[short].metadata["read"](at)})
        if not isinstance(at.node, MappingNode) and (at.written or not optional):
            hint = example if isinstance(at.node, ScalarNode) else ""
            raise at.refuse(f"must be a mapping, but it is {at.shown}", hint)
        return _section(kind, at)

    return read


def switched(read: Reader[S], default: S) -> Reader[S | None]:
    """Accept a section, `true` for one that says nothing more, or `false` for none."""

    def read_switched(at: Cursor) -> S | None:
        on = truth(at.text) if at.written else None
        return read(at) if on is None else default if on else None

    return read_switched


def _section(kind: type[S], at: Cursor) -> S:
    values: dict[str, Any] = {}
    wrong: set[str | int] = set()
    keys = kind.known()
    for inner in at:
        try:
            if inner.name not in keys:
                what = f"{at.subject} has no key {quoted(inner.name)}."
                raise Refused(inner.path, Problem(what, str(inner.key), kind.guess(inner.name), "CF005"))
            values[inner.name] = keys[inner.name].metadata["read"](inner)
        except Refused as refused:
            at.refused.append(refused)
            wrong.add(inner.name)
    required = [name for name, field in keys.items() if field.default is field.default_factory is MISSING]
    for name in required:
        if name not in values and name not in wrong:
            what = f'{at.subject} lacks the key "{name}".'
            at.refused.append(Refused((*at.path, name), Problem(what, str(at.key), keys[name].metadata["example"])))
    if not values.keys() >= set(required):
        raise Refused(at.path)
    found = kind(**{keys[name].name: value for name, value in values.items()})
    for contradiction in found.contradictions(at):
        # What follows from a key that is wrong by itself is not said: of that key, or that the whole lacks something.
        if not wrong.intersection(contradiction.path[len(at.path) :][:1] or wrong):
            at.refused.append(contradiction)
    return found
