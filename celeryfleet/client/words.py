"""The words of a command line, and JSON, → the arguments of a task, in values that JSON can carry; pure."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.tree import MappingNode, Node, ScalarNode, SequenceNode

_KEYWORD = re.compile(r"(?P<name>[^\W\d]\w*)=(?P<value>.*)", re.DOTALL)
#: characters of a number, as Python reads them back; and the bits of as many digits
_DIGITS, _BITS = 4000, 13_287
#: lists and mappings within one another that the other side can still read
_DEEPEST = 100


def parse_words(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Read `4 4.5 true Bob key=value` as YAML reads scalars; `'"4"'`, quoted, stays a text, `[1, 2]` is a list."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        keyword = _KEYWORD.fullmatch(word)
        if keyword is None:
            args.append(scalar(word))
        elif keyword["name"] in kwargs:
            raise FleetError(f'The argument "{keyword["name"]}" is given twice.')
        else:
            kwargs[keyword["name"]] = scalar(keyword["value"])
    return args, kwargs


def prepare(words: Sequence[str], args_json: str = "", kwargs_json: str = "") -> tuple[list[Any], dict[str, Any]]:
    """Join words with `-a JSON` (a list, which comes first) and `-k JSON` (an object)."""
    args, kwargs = parse_words(words)
    first = _json(args_json, "-a", list) if args_json else []
    more = _json(kwargs_json, "-k", dict) if kwargs_json else {}
    twice = sorted(set(more) & set(kwargs))
    if twice:
        raise FleetError(f'The argument "{twice[0]}" is given twice.')
    return [*first, *args], {**more, **kwargs}


def scalar(word: str) -> Any:
    """Read one word as a YAML scalar, or as a list or mapping in brackets; what is neither is a text.

    Raises FleetError for what no message can carry: a number that is none, or what is no text.
    """
    if not _is_text(word):
        raise FleetError(f"{word!r:.60} is not UTF-8.")
    if word[:1] not in ("[", "{", '"', "'"):
        return _typed(word)
    root, problems = parse_yaml(word, "")
    return word if problems or root is None else _value(root)


def _value(node: Node) -> Any:
    match node:
        case ScalarNode(text, _, plain):
            return _typed(text) if plain else text
        case SequenceNode(items):
            return [_value(item) for item in items]
        case MappingNode(entries):
            return {key: _value(entry.node) for key, entry in entries.items()}


def _typed(word: str) -> Any:
    """Read a number, a date, true or null; anything else is a text."""
    import yaml

    if not word or len(word) > _DIGITS:
        return word
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
    try:
        value = loader.construct_object(yaml.ScalarNode(tag, word))
    except (yaml.YAMLError, ValueError, ArithmeticError):
        return word
    match value:
        case float() if not math.isfinite(value):
            raise FleetError(f"{word:.60} is no number that a message can carry.", hint="In quotes it is a text.")
        case bool() | float() | datetime.date() | None:
            return value
        case int() if value.bit_length() <= _BITS:
            return value
    return word


# --- JSON -------------------------------------------------------------------------------------------------


def read_json(text: str) -> Any:
    """Read JSON that a message can carry on. Raises ValueError, in words for whoever wrote it."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise ValueError(_TOO_DEEP)
    if not _is_text(json.dumps(value, ensure_ascii=False) if "\\u" in text else text):
        raise ValueError("it holds half a character, \\ud800 to \\udfff")
    return value


_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number in it has more than {_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits:.40} is too large a number")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _depth(value: Any) -> int:
    """Count the levels of a value, without a call for each."""
    level, deep = [value], 0
    while level:
        level = [item for one in level for item in _items(one)]
        deep += 1
    return deep - 1


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else ()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(text: str, option: str, kind: type) -> Any:
    shape = "a list such as [4, 4]" if kind is list else 'an object such as {"x": 4}'
    try:
        value = read_json(text)
    except ValueError as error:
        raise FleetError(f"{option} is not JSON: {error}.", hint=f"It takes {shape}.") from None
    if not isinstance(value, kind):
        raise FleetError(f"{option} takes {shape}, not {text[:40]}.")
    return value
