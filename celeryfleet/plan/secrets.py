"""Keeping credentials out of what is printed: the `${VAR}` they came from, or `***`, stands instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

#: words of a setting's name that make its value a credential; a mere `key` does not: routing_key, unacked_key
_SECRET_NAME = re.compile(r"passw|secret|token|credential|private|(access|account|api|security)_?key", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"([?&;])([a-z_]*(?:passw|secret|token|sig|key)[a-z_]*)=([^&;#\s}]+)", re.IGNORECASE)
_NEXT_URL = re.compile(r";(?=[a-z+]+://)")
_VARIABLES = re.compile(r"(?:\$\{\w+\})+")
_DEFAULTED = re.compile(r"\$\{(\w+)[^{}\w][^{}]*\}")


def is_secret(name: str) -> bool:
    """Tell whether a setting's name says that its value is a credential."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str, defaults: bool = False) -> str:
    """Return an URL, or several, without passwords; a password that is a `${VAR}` stays as it is written.

    `${VAR:-default}` becomes `${VAR}`, since the default may be a credential, unless `defaults` are wanted.
    """
    text = text if defaults else _DEFAULTED.sub(r"${\1}", text)
    return ";".join(_masked_one(part) for part in _NEXT_URL.split(text))


def _masked_one(url: str) -> str:
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    body, mark, query = rest.partition("?")
    if "@" not in body and "@" in query:  # a password with an unquoted `?`; rather hide too much
        body, mark, query = rest, "", ""
    userinfo, at, host = body.rpartition("@")
    user, between, password = userinfo.partition(":")
    tail = _SECRET_PARAMETER.sub(lambda m: f"{m[1]}{m[2]}={_veil(m[3])}", mark + query)
    return f"{scheme}://{user}{between}{_veil(password)}{at}{host}{tail}"


def _veil(secret: str) -> str:
    bare = _DEFAULTED.sub(r"${\1}", secret)
    return bare if not bare or _VARIABLES.fullmatch(bare) else MASK


def shown(value: Any, name: str = "", origins: Mapping[str, str] | None = None, path: str = "") -> Any:
    """Return a setting's value as it may be printed.

    `origins` holds the text of values as written, where it had a `${VAR}`, by their path (`a/b/c`).
    """
    origins = origins or {}
    if path in origins:
        return masked(origins[path])
    if isinstance(value, Mapping):
        return {k: shown(item, str(k), origins, f"{path}/{k}" if path else str(k)) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item, name, origins, f"{path}/{index}") for index, item in enumerate(value)]
    if isinstance(value, str) and value:
        return MASK if is_secret(name) else masked(value)
    return value
