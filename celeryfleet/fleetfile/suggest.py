"""Guesses the known word that a misspelt one should be; `unknown` is the error of every command that takes a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from celeryfleet.errors import FleetError
from celeryfleet.text import listed

#: how alike two words must be; difflib's own default
_CUTOFF = 0.6
#: more words would take difflib seconds
_MOST = 300


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like this one, whatever the case, if any is near enough."""
    by_lower = {name.lower(): name for name in islice(known, _MOST)}
    near = difflib.get_close_matches(word.lower()[:200], by_lower, 1, _CUTOFF)
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question, or nothing where no known word is near."""
    guess = closest(word, known)
    return f'Did you mean "{guess}"?' if guess else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> FleetError:
    """Say that there is no such pool, template or the like, with a guess, or with all that there are."""
    names = list(known)
    every = f"The {kind}s are {listed(names)}." if names else f"fleet.yaml names no {kind}."
    return FleetError(f'there is no {kind} "{name}".', hint=did_you_mean(name, names) or every)
