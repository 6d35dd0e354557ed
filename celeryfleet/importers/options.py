"""The options of `celery worker`, in the spellings of Celery 3 to 5: words → their long names with values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_SHORT = {
    "A": "app",
    "b": "broker",
    "c": "concurrency",
    "f": "logfile",
    "I": "include",
    "l": "loglevel",
    "L": "loglevel",
    "n": "hostname",
    "O": "optimization",
    "p": "pidfile",
    "P": "pool",
    "Q": "queues",
    "s": "schedule",
    "S": "statedb",
    "X": "exclude-queues",
}
_SHORT_FLAGS = {"B": "beat", "C": "no-color", "D": "detach", "E": "task-events", "q": "quiet"}
_VALUES = {
    *_SHORT.values(),
    *("autoscale", "config", "executable", "gid", "heartbeat-interval", "loader", "max-memory-per-child"),
    *("max-tasks-per-child", "pool-start-method", "prefetch-multiplier", "pythonpath", "result-backend"),
    *("scheduler", "settings", "soft-time-limit", "time-limit", "uid", "umask", "verbosity", "workdir"),
}
_FLAGS = {
    *_SHORT_FLAGS.values(),
    *("autoreload", "disable-prefetch", "no-execv", "purge", "skip-checks", "traceback", "without-gossip"),
    *("without-heartbeat", "without-mingle"),
}
#: other spellings, of older releases mostly
_ALIASES = {
    "discard": "purge",
    "events": "task-events",
    "maxmemperchild": "max-memory-per-child",
    "maxtasksperchild": "max-tasks-per-child",
    "schedule-filename": "schedule",
    "state-db": "statedb",
}
#: what is to be said of a file that a worker logs to
LOGS = ": logs are in .celeryfleet/, and `celeryfleet logs` shows them"
#: options that stand before the command
GLOBAL_VALUES = frozenset(
    ("-A", "--app", "-b", "--broker", "--config", "--loader", "--result-backend", "--workdir", "--settings")
)
#: what `CELERY_WORKER_QUEUES` and the like in the environment set, by way of click
FROM_ENVIRONMENT = {f"CELERY_WORKER_{name.upper().replace('-', '_')}": name for name in _VALUES}


@dataclass(slots=True)
class Parsed:
    """What a command line says."""

    #: long names → values; a flag's is empty
    options: dict[str, str] = field(default_factory=dict)
    #: options that Celery has not, as written
    unknown: list[str] = field(default_factory=list)
    #: words that belong to no option
    stray: list[str] = field(default_factory=list)
    #: settings after `--`
    settings: list[str] = field(default_factory=list)


def parse(words: Sequence[str]) -> Parsed:
    """Read the arguments of `celery worker`, global options among them."""
    found = Parsed()
    rest = iter(words)
    pending: list[str] = []
    last = ""
    for word in _with(pending, rest):
        if word == "--":
            found.settings += [*pending, *rest]
            break
        if word.startswith("--"):
            last = _long(word, rest, found, pending)
        elif word.startswith("-") and len(word) > 1:
            last = _short(word, rest, found)
        elif last in ("queues", "exclude-queues") and _goes_on(found.options[last], word):
            found.options[last] += f" {word}"
        else:
            found.stray.append(word)
    return found


def _with(pending: list[str], rest: Iterator[str]) -> Iterator[str]:
    """Go through the words, those that were handed back first."""
    while True:
        if pending:
            yield pending.pop()
        elif (word := next(rest, None)) is not None:
            yield word
        else:
            return


def _goes_on(value: str, word: str) -> bool:
    """`-Q a, b` without quotes: the shell made two words of it."""
    return value.rstrip().endswith(",") or word.startswith(",")


def _long(word: str, rest: Iterator[str], found: Parsed, pending: list[str]) -> str:
    written, equals, value = word[2:].partition("=")
    name = long_name(written)
    if name in _FLAGS:
        found.options[name] = ""
    elif name in _VALUES:
        found.options[name] = value if equals else next(rest, "")
    else:
        following = "" if equals else next(rest, "")
        if following.startswith("-"):
            pending.append(following)
            following = ""
        found.unknown.append(f"{word} {following}".strip())
    return name


def long_name(written: str) -> str:
    """Return an option's name of today; Celery 3 and 4 knew it by any beginning that fits no other."""
    name = written.replace("_", "-")
    name = _ALIASES.get(name, name)
    if name in _VALUES or name in _FLAGS:
        return name
    near = [known for known in (*_VALUES, *_FLAGS) if known.startswith(name)]
    return near[0] if len(near) == 1 and len(name) > 2 else name


def _short(word: str, rest: Iterator[str], found: Parsed) -> str:
    """Read `-c4`, `-c 4` or flags together, such as `-BE`."""
    name = ""
    for index, letter in enumerate(word[1:], 1):
        if letter in _SHORT:
            name = _SHORT[letter]
            glued = word[index + 1 :].removeprefix("=")
            found.options[name] = glued or next(rest, "")
            return name
        if letter not in _SHORT_FLAGS:
            found.unknown.append(word)
            return ""
        name = _SHORT_FLAGS[letter]
        found.options[name] = ""
    return name


def takes_value(word: str) -> bool:
    """Tell whether a long option, without `=`, takes the next word."""
    return word.startswith("--") and "=" not in word and long_name(word[2:].partition(":")[0]) in _VALUES
