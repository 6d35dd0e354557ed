"""What names may look like: fleets, pools, queues, tasks, modules and URLs."""

from __future__ import annotations

import re
import warnings
from typing import Annotated

from pydantic import AfterValidator

from celeryfleet.fleetfile.fields import Text, Word, refuse
from celeryfleet.fleetfile.subjects import quoted
from celeryfleet.fleetfile.suggest import closest
from celeryfleet.text import visible

LONGEST_NAME = 200

_FLEET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_POOL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"[^=\0]+")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
#: what kombu keeps on Redis under names of its own, and what RabbitMQ and Celery keep to themselves
_RESERVED = ("_kombu.binding.", "unacked", "amq.", "celery_delayed_", "celery-task-meta-")
#: what kombu 5.7 has a transport for (kombu.transport.TRANSPORT_ALIASES), in lower case
SCHEMES = (
    "amqp",
    "amqps",
    "azureservicebus",
    "azurestoragequeues",
    "confluentkafka",
    "consul",
    "etcd",
    "filesystem",
    "gcpubsub",
    "kafka",
    "librabbitmq",
    "memory",
    "mongodb",
    "pgmq",
    "pyamqp",
    "pyro",
    "qpid",
    "redis",
    "rediss",
    "sentinel",
    "slmq",
    "sqla",
    "sqlalchemy",
    "sqs",
    "zookeeper",
)
#: schemes that are two words, for guesses: kombu looks at the one before the plus
_DOUBLE = ("redis+socket",)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*")
_COMMON = "Common kinds are redis://, rediss://, sentinel://, amqp://, amqps:// and sqs://."
_BACKENDS = ("rpc", "cache", "redis", "django-db", "django-cache", "disabled")


def fleet_problem(name: str) -> str:
    """Return what is wrong with a fleet's name, or nothing."""
    if not _FLEET.fullmatch(name):
        return "may hold letters, digits, dots, underscores and hyphens, and starts with a letter or digit"
    return "must be at most 63 characters long" if len(name) > 63 else ""


def pool_problem(name: str) -> str:
    """Return what is wrong with a pool's name, or nothing."""
    if not _POOL.fullmatch(name):
        return "may hold letters, digits, underscores and hyphens, and starts with no hyphen"
    return "must be at most 63 characters long" if len(name) > 63 else ""


def queue_problem(name: str) -> str:
    """Return what is wrong with a queue's name, or nothing."""
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
    """Return what is wrong with the name of an environment variable, or nothing."""
    return "" if _VARIABLE.fullmatch(name) else "must not be empty and must hold no ="


def broker_problem(url: str) -> tuple[str, str]:
    """Return what is wrong with the kind of a broker's URL, and a hint; of several, the first that is wrong.

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


# --- Types ------------------------------------------------------------------------------------------------


def _fleet(name: str) -> str:
    what = fleet_problem(name)
    if what:
        guess = default_fleet(name)
        raise refuse(f"is {quoted(name)}, but it {what}", f'How about "{guess}"?' if guess != "fleet" else "")
    return name


def _task(name: str) -> str:
    if any(c.isspace() or not c.isprintable() for c in name):
        raise refuse(f"is {quoted(name)}, but a task's name has no spaces")
    return name


def _module(name: str) -> str:
    if _DOTTED.fullmatch(name.replace(":", ".", 1)) is None:
        raise refuse(f"is {quoted(name)}, which Python could not import", _import_hint(name))
    return name


def _import_hint(name: str) -> str:
    dotted = name.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
    if dotted != name and _DOTTED.fullmatch(dotted):
        return f"Write it with dots: {dotted}"
    return "Write a dotted path, such as shop.celery"


def _regex(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        at = getattr(error, "pos", None)
        reason = f"{getattr(error, 'msg', error)}" + ("" if at is None else f" at character {at + 1}")
        raise refuse(f"is {quoted(pattern)}, which is no regular expression: {reason}") from None
    return pattern


def _url(url: str) -> str:
    """An URL may hold a password: only its scheme is ever shown."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        if url == "embedded":
            return url
        guess = closest(url, ["embedded"])
        hint = f'Did you mean "{guess}"?' if guess else "Write embedded, or an URL such as redis://localhost:6379/0"
        raise refuse("is neither embedded nor an URL", hint)
    if not _SCHEME.fullmatch(scheme):
        raise refuse("is neither embedded nor an URL", "Write an URL such as redis://localhost:6379/0")
    return url


def _results(name: str) -> str:
    known = ("embedded", "none", *_BACKENDS)
    if name in known or "://" in name or "." in name or ":" in name:
        return name
    near = closest(name, known)
    hint = (
        f'Did you mean "{near}"?' if near else "Write embedded, none, django-db or an URL such as redis://localhost/1"
    )
    raise refuse("is no result backend", hint)


FleetName = Annotated[Word, AfterValidator(_fleet)]
TaskName = Annotated[Word, AfterValidator(_task)]
#: a dotted path, perhaps with `:attribute`
Module = Annotated[Word, AfterValidator(_module)]
App = Module
Regex = Annotated[Text, AfterValidator(_regex)]
Url = Annotated[Word, AfterValidator(_url)]
Results = Annotated[Word, AfterValidator(_results)]
