"""Whether a binding takes a routing key, by the rules of each broker; light, since `status` asks it as well."""

from __future__ import annotations

import re

#: of a binding key, for kombu: all other characters stand for themselves
_WILDCARDS = {"*": r"[^\.]+", "#": r".*?"}


def takes(exchange_type: str, binding: str, key: str, broker: str) -> bool:
    """Tell whether a queue that is bound by `binding` gets a message with this key; `broker` is its kind.

    A headers exchange looks at no key, so it takes any.
    """
    match exchange_type:
        case "direct":
            return binding == key
        case "topic":
            return _topic_of_kombu(binding, key) if broker == "redis" else _topic(binding.split("."), key.split("."))
        case "fanout" if broker == "redis":  # published under the key, and heard by patterns (fanout_patterns)
            from fnmatch import fnmatchcase

            return bool(key) and fnmatchcase(key, binding.replace("#", "*"))
        case _:
            return True


def _topic(pattern: list[str], words: list[str]) -> bool:
    """Match as RabbitMQ does: `*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    head, *rest = pattern
    if head == "#":
        return any(_topic(rest, words[start:]) for start in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and _topic(rest, words[1:])


def _topic_of_kombu(binding: str, key: str) -> bool:
    r"""Match as kombu does on Redis (kombu/transport/virtual/exchange.py): `#` is at least the dots around it.

    So `order.#` does not get `order`, as it does on RabbitMQ, and `*` is no empty word.
    """
    escaped = "".join(c if c.isalnum() or c in ".#*" else f"\\{c}" for c in binding)
    pattern = r"\.".join(_WILDCARDS.get(word, word) for word in escaped.split("."))
    try:
        return re.match(f"^{pattern}$", key) is not None
    except re.error:  # such as a**
        return False
