"""What a task is called: aliases, short names and full names, and which one was meant; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from celeryfleet.client.values import ComplaintError
from celeryfleet.fleetfile.suggest import did_you_mean

_SEPARATOR = re.compile("[.:]")


def resolve_name(name: str, registered: Collection[str], aliases: Mapping[str, str], force: bool = False) -> str:
    """Return the registered name that `name` stands for; `force` lets an unregistered one pass as it is.

    An alias of fleet.yaml comes first, then a full name, then the end of just one name (`add`, `math.add`).
    Raises ComplaintError.
    """
    wanted = aliases.get(name, name)
    if wanted in registered:
        return wanted
    found = sorted(full for full in registered if _ends(full, wanted))
    if len(found) == 1:
        return found[0]
    if found:
        raise ComplaintError(f'"{wanted}" is the end of {len(found)} tasks.', f"Say which: {', '.join(found)}.")
    if force:
        return wanted
    if name in aliases:
        what, near = f'"{name}" stands for the task {wanted}, which is not registered.', nearest(wanted, registered)
    else:
        ends = (_SEPARATOR.split(full)[-1] for full in registered)
        what, near = f'No task is called "{name}".', nearest(name, {*aliases, *registered, *ends})
    raise ComplaintError(what, f"{near}`celeryfleet tasks` lists the registered ones.")


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
