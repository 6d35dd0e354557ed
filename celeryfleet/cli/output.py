"""How commands print what they have found: as one JSON document, or as lines for the terminal that stdout is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celeryfleet.errors import Exit
from celeryfleet.render.paint import screen
from celeryfleet.text import say


def say_json(document: Mapping[str, Any]) -> int:
    """Print a document; return the exit code."""
    say(json.dumps(document, indent=2))
    return Exit.OK


def show(
    as_json: bool, document: Mapping[str, Any], lines: Callable[[bool, int], Iterable[str]], nothing: str = ""
) -> int:
    """Print a document, or the lines for a terminal with colours or not and so many columns; return the exit code.

    `nothing` is said in the place of lines where nothing was found.
    """
    if as_json:
        return say_json(document)
    if nothing:
        say(nothing, sys.stderr)
    else:
        for line in lines(*screen(sys.stdout)):
            say(line)
    return Exit.OK
