"""What names may look like: fleets, pools, queues, tasks, modules, regular expressions, crontabs and URLs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from celeryfleet.fleetfile.cursor import Cursor
from celeryfleet.fleetfile.fields import text, word
from celeryfleet.fleetfile.suggest import closest, did_you_mean
from celeryfleet.fleetfile.tree import quoted
from celeryfleet.text import visible

#: bytes of a queue's name
LONGEST_NAME = 200
#: what kombu 5.7 has a transport for (kombu.transport.TRANSPORT_ALIASES), in lower case
SCHEMES = (
    *("amqp", "amqps", "azureservicebus", "azurestoragequeues", "confluentkafka", "consul", "etcd", "filesystem"),
    *("gcpubsub", "kafka", "librabbitmq", "memory", "mongodb", "pgmq", "pyamqp", "pyro", "qpid", "redis", "rediss"),
    *("sentinel", "slmq", "sqla", "sqlalchemy", "sqs", "zookeeper"),
)

_FLEET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_POOL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
#: what kombu keeps on Redis under names of its own, and what RabbitMQ and Celery keep to themselves
_RESERVED = ("_kombu.binding.", "unacked", "amq.", "celery_delayed_", "celery-task-meta-")
#: schemes that are two words, for guesses: kombu looks at the one before the plus
_DOUBLE = ("redis+socket",)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*")
_COMMON = "Common kinds are redis://, rediss://, sentinel://, amqp://, amqps:// and sqs://."
_BACKENDS = ("embedded", "none", "rpc", "cache", "redis", "django-db", "django-cache", "disabled")

# --- Keys: what is wrong with a name, or nothing ----------------------------------------------------------


def fleet_problem(name: str) -> str:
    """Judge the name of a fleet, or of a host, the last part of its nodes' names."""
    if not _FLEET.fullmatch(name):
        return "may hold letters, digits, dots, underscores and hyphens, and starts with a letter or digit"
    return _too_long(name)


def pool_problem(name: str) -> str:
    """Judge a pool's name."""
    if not _POOL.fullmatch(name):
        return "may hold letters, digits, underscores and hyphens, and starts with no hyphen"
    return _too_long(name)


def _too_long(name: str) -> str:
    return "must be at most 63 characters long" if len(name) > 63 else ""


def queue_problem(name: str) -> str:
    """Judge a queue's name."""
    if not name:
        return "must not be empty"
    if any(c.isspace() for c in name) or "," in name:
        return "must hold no spaces and no commas, since `celery worker -Q` splits its list at them"
    if not name.isprintable():
        return "must hold no control characters; with them kombu names the priority lists of a Redis queue"
    if name.startswith("-"):
        return "must not start with a hyphen, or `celery worker -Q` takes it for an option"
    if name.startswith(_RESERVED):
        return "starts as a name that the broker or kombu keeps for itself"
    return f"must be at most {LONGEST_NAME} characters long" if len(name.encode()) > LONGEST_NAME else ""


def variable_problem(name: str) -> str:
    """Judge the name of an environment variable."""
    return "must not be empty and must hold no =" if not name or "=" in name or "\0" in name else ""


def alias_problem(name: str) -> str:
    """Judge the name of a task alias or a canvas."""
    return "" if name.strip() else "must have a name"


def broker_problem(url: str) -> tuple[str, str]:
    """Return what is wrong with the scheme of a broker's URL, and a hint; of several, the first that is wrong.

    An URL may hold a password: only its scheme is ever shown.
    """
    for one in url.split(";"):
        scheme, colon, _ = one.strip().partition("://")
        transport, plus, _ = scheme.partition("+")
        # Before a plus kombu takes the word as it stands: `Redis+socket` has no transport, but `Redis` has.
        found = (transport if plus else transport.lower()) in (*SCHEMES, *(("SQS", "SLMQ") if plus else ()))
        if colon and not found and _SCHEME.fullmatch(scheme):
            what = f"is an URL of the unknown kind {quoted(f'{scheme}://')}"
            if "." in scheme:
                return what, f"An URL names no module: write celery: {{broker_transport: {visible(scheme)}}} too."
            near = closest(scheme, (*SCHEMES, *_DOUBLE))
            return what, f'Did you mean "{near}://"?' if near else _COMMON
    return "", ""


def default_fleet(folder: str) -> str:
    """Make a fleet's name of its folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("._-")[:63] or "fleet"


# --- Values -----------------------------------------------------------------------------------------------


def fleet(at: Cursor) -> str:
    """Read a fleet's name."""
    name = word(at)
    if what := fleet_problem(name):
        guess = default_fleet(name)
        raise at.refuse(f"is {quoted(name)}, but it {what}", f'How about "{guess}"?' if guess != "fleet" else "")
    return name


def task(at: Cursor) -> str:
    """Read a task's name or a glob."""
    name = word(at)
    if any(c.isspace() or not c.isprintable() for c in name):
        raise at.refuse(f"is {quoted(name)}, but a task's name has no spaces")
    return name


def module(at: Cursor) -> str:
    """Read a dotted path, perhaps with `:attribute`."""
    name = word(at)
    if _DOTTED.fullmatch(name.replace(":", ".", 1)) is None:
        dotted = name.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
        right = dotted != name and _DOTTED.fullmatch(dotted)
        hint = f"Write it with dots: {dotted}" if right else "Write a dotted path, such as shop.celery"
        raise at.refuse(f"is {quoted(name)}, which Python could not import", hint)
    return name


def regex(at: Cursor) -> str:
    """Read a regular expression."""
    pattern = text(at)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        place = getattr(error, "pos", None)
        reason = f"{getattr(error, 'msg', error)}" + ("" if place is None else f" at character {place + 1}")
        raise at.refuse(f"is {quoted(pattern)}, which is no regular expression: {reason}") from None
    return pattern


def url(at: Cursor) -> str:
    """Read `embedded` or an URL, which may hold a password: only its scheme is ever shown."""
    found = word(at)
    if hint := url_problem(found):
        raise at.refuse("is neither embedded nor an URL", hint)
    return found


def url_problem(url: str) -> str:
    """Judge what should be `embedded` or an URL; return how to write it."""
    scheme, colon, _ = url.partition("://")
    if url == "embedded" or (colon and _SCHEME.fullmatch(scheme)):
        return ""
    guess = "" if colon else did_you_mean(url, ["embedded"])
    return guess or f"Write {'' if colon else 'embedded, or '}an URL such as redis://localhost:6379/0"


def results(at: Cursor) -> str:
    """Read a result backend, which may hold a password."""
    found = word(at)
    if hint := results_problem(found):
        raise at.refuse("is no result backend", hint)
    return found


def results_problem(name: str) -> str:
    """Judge what should be a result backend; return how to write it."""
    if name in _BACKENDS or "." in name or ":" in name:
        return ""
    return did_you_mean(name, _BACKENDS) or "Write embedded, none, django-db or an URL such as redis://localhost/1"


# --- Crontabs ---------------------------------------------------------------------------------------------

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PART = re.compile(r"(?:\*|(\w{1,9})(?:-(\w{1,9}))?)(?:/([1-9][0-9]?))?", re.ASCII)
#: lowest, highest, names of the lowest and on
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def crontab(at: Cursor) -> str:
    """Read the five fields that Celery's `crontab` would take; found without importing Celery."""
    found = word(at)
    parts = found.split()
    if len(parts) != len(_FIELDS) or not all(map(_crontab_field, parts, _FIELDS)):
        hint = "Write minute, hour, day of month, month and day of week, such as 0 3 * * *"
        raise at.refuse(f"is {quoted(found)}, which is no crontab", hint)
    return found


def _crontab_field(text: str, field: tuple[int, int, Sequence[str]]) -> bool:
    low, high, names = field
    matches = [_PART.fullmatch(part) for part in text.split(",")]
    return all(
        match and all(_crontab_number(word, low, names) in range(low, high + 1) for word in match.groups()[:2] if word)
        for match in matches
    )


def _crontab_number(word: str, low: int, names: Sequence[str]) -> int:
    if word.isdecimal():
        return int(word)
    short = word[:3].lower()
    return low + names.index(short) if short in names else -1
