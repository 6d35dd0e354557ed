"""Reads the option --header of send and canvas."""

from __future__ import annotations

from typing import Any

from celeryfleet.errors import FleetError


def read_headers(words: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE words; a value is a text. Raises FleetError."""
    from celeryfleet.client.faults import ComplaintError
    from celeryfleet.client.options import header

    try:
        return dict(map(header, words))
    except ComplaintError as error:
        raise FleetError(f"--header: {error.what}", hint=error.hint) from None
