"""What was found in a file, as values: the programs that it starts, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

#: the words of one simple command
Words = tuple[str, ...]


class Fate(StrEnum):
    """What becomes of something that the file says."""

    LOST = "not taken"  #: the fleet lacks it: somebody must decide what to do
    CHANGED = "changed"  #: taken, but not to the letter
    NEEDLESS = "needless"  #: a fleet does it anyway


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be said of one thing in the file."""

    fate: Fate
    #: `docker-compose.yml:14`
    where: str
    what: str
    #: whose it is, as the file names it
    who: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"

    @property
    def place(self) -> str:
        """Return where it is, and whose it is."""
        return f"{self.where} {self.who}".rstrip()


def grouped(notes: Iterable[Note], fate: Fate) -> Iterator[str]:
    """Write what is said with this fate, each sentence once with all its places."""
    places: dict[str, list[str]] = {}
    for note in notes:
        if note.fate is fate and note.place not in places.setdefault(note.what, []):
            places[note.what].append(note.place)
    for what, where in places.items():
        shown = where if len(where) <= 3 else [*where[:2], f"… {where[-1]}"]
        yield f"{', '.join(shown)}: {what}"


@dataclass(frozen=True, slots=True)
class Line:
    """A key of a pool, with its value as YAML text."""

    key: str
    value: str
    #: where it comes from
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """One thing that the file starts: a service, a process, a program or a script."""

    #: empty: the file gives none
    name: str
    #: of its command
    where: str
    #: what it runs, one simple command after the other; variables as `${VAR}`
    commands: tuple[Words, ...]
    #: literal, or with `${VAR}`
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    #: a number or a `${VAR}`
    replicas: str = "1"
    #: why there are so many
    replicas_from: str = ""
    #: of the pool, from the file rather than from the command
    lines: tuple[Line, ...] = ()
    #: of each command, if that is not `where`
    places: tuple[str, ...] = ()
    #: what is to be said of the rest, if this starts a worker
    leftovers: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one file says."""

    programs: tuple[Program, ...]
    notes: tuple[Note, ...] = ()
    #: of the fleet, if the file has one
    name: str = ""
    #: URL of a service that looks like a broker → where it is
    brokers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Worker:
    """One `celery worker`, or several that are alike."""

    #: as the file or -n names it
    name: str
    where: str
    #: as in -A; empty: it names none
    app: str
    #: long names without the dashes → values; flags have none
    options: Mapping[str, str]
    env: Mapping[str, str]
    program: Program
    #: `manage.py celery worker`, of django-celery
    django: bool = False
