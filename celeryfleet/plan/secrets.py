"""Keeping credentials out of what is printed: the `${VAR}` they came from, or `***`, stands instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from celeryfleet.fleetfile.variables import segments

MASK = "***"

#: words of a setting's name that make its value a credential; `key` alone does not: routing_key, unacked_key
_SECRET_NAME = re.compile(r"passw|secret|token|credential|private|(access|account|api|security)_?key", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"([?&;])([a-z_]*(?:passw|secret|token|sig|key)[a-z_]*)=([^&;#\s]+)", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z+]+://")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def is_secret(name: str) -> bool:
    """Tell whether a setting's name says that its value is a credential."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str) -> str:
    """Return an URL, or several, without passwords; other text comes back as it is."""
    return _masked(text, lambda secret: MASK if secret else "")


def masked_origin(written: str) -> str:
    """Mask an URL as it is written: a password that is nothing but `${VAR}` stays.

    `${VAR:-default}` becomes `${VAR}`, since the default may be a credential.
    """

    def hide(secret: str) -> str:
        return MASK if _VARIABLE.sub("", secret) else secret

    return _masked(_bare(written), hide)


def secret_variables(written: str) -> set[str]:
    """Name the variables of a text that are passwords in an URL."""
    found: set[str] = set()

    def note(secret: str) -> str:
        found.update(_VARIABLE.findall(secret))
        return secret

    _masked(_bare(written), note)
    return found


def _masked(text: str, hide: Callable[[str], str]) -> str:
    """Mask each of several URLs: they have one scheme, so that `;x://` elsewhere belongs to a password."""
    scheme = _SCHEME.match(text)
    parts = re.split(f";(?={re.escape(scheme[0])})", text) if scheme else [text]
    return ";".join(_masked_one(part, hide) for part in parts)


def _masked_one(url: str, hide: Callable[[str], str]) -> str:
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    body, mark, query = rest.partition("?")
    if "@" not in body and "@" in query:  # a password with an unquoted `?`; rather hide too much
        body, mark, query = rest, "", ""
    userinfo, at, host = body.rpartition("@")
    user, between, password = userinfo.partition(":")
    tail = _SECRET_PARAMETER.sub(lambda m: f"{m[1]}{m[2]}={hide(m[3])}", mark + query)
    return f"{scheme}://{user}{between}{hide(password)}{at}{host}{tail}"


def shown(value: Any, name: str = "", origins: Mapping[str, str] | None = None, path: str = "") -> Any:
    """Return a setting's value as it may be printed.

    `origins` holds the text of values as written, where it had a `${VAR}`, by their path (`a/b/c`).
    """
    origins = origins or {}
    if path in origins:
        written = masked_origin(origins[path])
        return MASK if is_secret(name) and _VARIABLE.sub("", written) else written
    if isinstance(value, Mapping):
        return {k: shown(item, str(k), origins, f"{path}/{k}" if path else str(k)) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item, name, origins, f"{path}/{index}") for index, item in enumerate(value)]
    if isinstance(value, str) and value:
        return MASK if is_secret(name) else masked(value)
    return value


def _bare(written: str) -> str:
    return "".join(part if isinstance(part, str) else f"${{{part.name}}}" for part in segments(written))
