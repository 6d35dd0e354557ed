"""The words of a command line → the arguments of a task; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from celeryfleet.errors import FleetError

_KEYWORD = re.compile(r"(?P<name>[^\W\d]\w*)=(?P<value>.*)", re.DOTALL)


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
    """Read one word as a YAML scalar, or as a list or mapping in brackets; what is neither is a text."""
    import yaml

    if not word:
        return ""
    try:
        if word[0] in "[{\"'":
            return yaml.safe_load(word)
        loader = yaml.SafeLoader("")
        tag = loader.resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
        return loader.construct_object(yaml.ScalarNode(tag, word))
    except (yaml.YAMLError, ValueError, RecursionError):
        return word


def _json(text: str, option: str, kind: type) -> Any:
    shape = "a list such as [4, 4]" if kind is list else 'an object such as {"x": 4}'
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FleetError(f"{option} is not JSON: {error}.", hint=f"It takes {shape}.") from None
    if not isinstance(value, kind):
        raise FleetError(f"{option} takes {shape}, not {text[:40]}.")
    return value
