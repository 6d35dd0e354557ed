"""What a task is called: aliases, short names and full names, and which one was meant; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from celeryfleet.errors import FleetError, Problem
from celeryfleet.fleetfile.suggest import did_you_mean

_SEPARATOR = re.compile("[.:]")


def find(name: str, registered: Collection[str], aliases: Mapping[str, str]) -> str | Problem:
    """Return the registered name that `name` stands for, or why there is none.

    An alias of fleet.yaml comes first, then a full name, then the end of just one name (`add`, `math.add`).
    """
    wanted = aliases.get(name, name)
    if wanted in registered:
        return wanted
    found = sorted(full for full in registered if _ends(full, wanted))
    if len(found) == 1:
        return found[0]
    if found:
        return Problem(f'"{wanted}" is the end of {len(found)} tasks.', hint=f"Say which: {', '.join(found)}.")
    if name in aliases:
        what = f'"{name}" stands for the task {wanted}, which is not registered.'
        return Problem(what, hint=f"{nearest(wanted, registered)}`celeryfleet tasks` lists the registered ones.")
    near = nearest(name, {*aliases, *registered, *(_SEPARATOR.split(full)[-1] for full in registered)})
    return Problem(f'No task is called "{name}".', hint=f"{near}`celeryfleet tasks` lists the registered ones.")


def resolve_name(name: str, registered: Collection[str], aliases: Mapping[str, str], force: bool = False) -> str:
    """Return the full name of a task; raises FleetError unless `force` lets an unregistered one pass as it is."""
    found = find(name, registered, aliases)
    if isinstance(found, str):
        return found
    if force and not any(_ends(full, name) for full in registered):
        return aliases.get(name, name)
    raise FleetError(found.what, hint=found.hint)


def short_names(registered: Collection[str]) -> dict[str, str]:
    """Return the shortest end of each name that no other task shares, by full name."""
    return {full: _shortest(full, registered) for full in registered}


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean "…"? ` with its closing blank, or nothing."""
    guess = did_you_mean(word, sorted(set(known)))
    return f"{guess} " if guess else ""


def _ends(full: str, name: str) -> bool:
    return full == name or full.endswith(("." + name, ":" + name))


def _shortest(full: str, registered: Collection[str]) -> str:
    for start in reversed([match.end() for match in _SEPARATOR.finditer(full)]):
        name = full[start:]
        if sum(_ends(other, name) for other in registered) == 1:
            return name
    return full
