"""What was found in a file, as values: the programs and workers that it starts, and what is to be said of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Words = tuple[str, ...]


def split_words(text: str) -> list[str]:
    """Split a text as a shell would; one that it could not read, at its spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


#: path of a script, as a command names it → how it is shown, and its text; None where it is not here
Open = Callable[[str], tuple[str, str] | None]


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


#: what is to be said of a folder or a user that a worker is started in or as
FOLDER = "fleet.yaml belongs there, for the app is imported from there"
USER = "the fleet runs as the user who starts it"
#: key → values that need no word, as a pattern, and what is to be said of others
Sayings = Mapping[str, tuple[str, str]]


def leftovers(values: Iterable[tuple[str, str, str]], sayings: Sayings, sign: str, who: str) -> Iterator[Note]:
    """Say of keys, each with its value and place, what a fleet has not."""
    for key, value, where in values:
        if key in sayings and not re.fullmatch(sayings[key][0], value, re.IGNORECASE):
            yield Note(Fate.LOST, where, f"`{key}{sign}{value}`: {sayings[key][1]}", who)


def grouped(notes: Iterable[Note], fate: Fate) -> Iterator[str]:
    """Write what is said with this fate, each sentence once with all its places."""
    places: dict[str, dict[str, None]] = {}
    for note in notes:
        if note.fate is fate:
            places.setdefault(note.what, {})[note.place] = None
    for what, found in places.items():
        where = list(found)
        yield f"{', '.join(where if len(where) <= 3 else [*where[:2], f'… {where[-1]}'])}: {what}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a Celery command."""

    #: worker, beat, multi, flower, inspect…; empty: a variable that is not known
    name: str
    args: Words
    #: the words before `celery`: how it is wrapped
    prefix: Words = ()
    #: options between `celery` and the name
    options: Words = ()
    #: the word that is Celery, such as /srv/venv/bin/celery
    program: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is run."""

    words: Words
    #: redirections into files, as `>> worker.log`
    files: Words
    where: str
    #: if it is Celery's
    call: Call | None
    #: what it gets from its shell
    env: Mapping[str, str]
    #: that its shell changed to
    folder: str


@dataclass(frozen=True, slots=True)
class Line:
    """A key of a pool, with its value as YAML text, and the option or key that it comes from."""

    key: str
    value: str
    comment: str = ""
    #: the place of that; empty: the worker's own
    where: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """One thing that the file starts: a service, a process, a program or a script."""

    #: empty: the file gives none
    name: str
    #: of its command
    where: str
    #: what it runs; variables as `${VAR}`
    words: Words = ()
    #: literal, or with `${VAR}`
    env: Mapping[str, str] = field(default_factory=dict)
    #: variables that it has besides, from an image or a file, which its pool need not repeat
    base: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    #: how many processes there are: a number or a `${VAR}`, and where that is said
    replicas: Line = Line("replicas", "1")
    #: of the pool, from the file rather than from the command
    lines: tuple[Line, ...] = ()
    #: what is to be said of the rest, if this starts a worker
    leftovers: tuple[Note, ...] = ()
    #: finds the scripts that it runs
    open: Open = lambda path: None
    #: variables of its env files
    known: Mapping[str, str] = field(default_factory=dict)


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
    """One `celery worker`."""

    #: as the file or -n names it
    name: str
    where: str
    #: as in -A; empty: it names none
    app: str
    #: Celery's names of its options → values as written; flags have none
    options: Mapping[str, str]
    env: Mapping[str, str]
    program: Program
    #: variables whose values are given
    known: Mapping[str, str]
    #: `manage.py celery worker`, of django-celery
    django: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """A `celery beat`, or a worker's -B."""

    where: str
    #: as in -S; empty: the app's
    scheduler: str = ""
    #: seconds, as in --max-interval; empty: the scheduler's own
    max_interval: str = ""
    #: as in -A; empty: it names none
    app: str = ""
